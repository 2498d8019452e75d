"""The command `gaussian-yolo`: parses, delegates, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from gaussian_yolo_node.commands import (
    anchors,
    bag_info,
    bag_make,
    benchmark,
    build_engine,
    calibrate,
    data_check,
    detect,
    doctor,
    evaluate,
    export,
    fixres,
    import_darknet,
    models,
    noisy_student_iterate,
    noisy_student_label,
    noisy_student_select,
    noisy_student_train,
    operating_points,
    quantize,
    replay,
    report,
    robustness,
    stylize,
    train,
    transfer,
    view,
)
from gaussian_yolo_node.display import guard_terminal
from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.processes import EXIT_INTERRUPTED

EXIT_ERROR = 2
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
BAG_PACKAGES = ("lz4", "mcap", "rosbags", "zstandard")


def _group(text: str, **options: Any) -> typer.Typer:
    """A group of commands. Plain help: rich would cut the names of options at 80 columns."""
    return typer.Typer(help=text, no_args_is_help=True, rich_markup_mode=None, **options)


# Ubuntu 24.04's typer 0.9 has no choice of plain help, and reads neither unions written with | nor hints in text.
_OLD_TYPER = [int(part) for part in typer.__version__.split(".")[:2]] < [0, 12]
if _OLD_TYPER:
    import typer.core

    typer.core.rich = None  # type: ignore[attr-defined]

app = _group(
    "Object detection with localization uncertainty.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)


class MissingExtraError(GaussianYoloError):
    """A command needs packages that are not installed."""


def main() -> None:
    """Run the command that the arguments name, and exit."""
    guard_terminal()
    app(prog_name="gaussian-yolo")


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
        sys.stdout.flush()  # a full disk is an error here, and a traceback when Python exits
    except GaussianYoloError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR) from None
    except OSError as error:
        if error.errno not in _DISK_ERRORS:
            raise
        if error.filename is None:  # what is left in Python's buffer must go somewhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        print(f"error: {error.filename or 'standard output'} cannot be written: {error.strerror}", file=sys.stderr)
        raise typer.Exit(EXIT_ERROR) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            print(f"gaussian-yolo {version('gaussian_yolo')}")
        except PackageNotFoundError:
            print("gaussian-yolo (not installed: run from a checkout)")
        raise typer.Exit


def _with_hints(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with hints that an old typer reads."""
    if _OLD_TYPER:
        hints = get_type_hints(command, include_extras=True)
        command.__annotations__ = {parameter: _with_old_union(hint) for parameter, hint in hints.items()}
    return command


def _with_old_union(hint: Any) -> Any:
    """Annotated[X | None, ...] as Annotated[Optional[X], ...]."""
    if get_origin(hint) is not Annotated or not isinstance(hint.__origin__, UnionType):
        return hint
    return Annotated[(Union[get_args(hint.__origin__)], *hint.__metadata__)]  # noqa: UP007


@app.callback()
@_with_hints
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Turn a missing third-party package into an error that names the extra that provides it.

    That is `name`, or the extra of bags, because any source of images may be a bag.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "gaussian_yolo_node":
            raise
        extra = "bags" if missing in BAG_PACKAGES else name
        raise MissingExtraError(
            f"this command needs {missing}, which is not installed: {install_line(*extra.split(','))}"
        ) from error


def _add(group: typer.Typer, name: str, command: Callable[..., None], extra: str = "") -> None:
    """Register a command that may need the packages of an extra."""
    command = _with_hints(command)
    group.command(name)(_exit_codes()(_extra(extra)(command) if extra else command))


_add(app, "detect", detect.detect)
_add(app, "view", view.view)

for _name, _command in (
    ("calibrate", calibrate.calibrate),
    ("operating-points", operating_points.operating_points),
    ("train", train.train),
    ("export", export.export),
    ("import-darknet", import_darknet.import_darknet),
    ("models", models.models),
    ("quantize", quantize.quantize),
    ("anchors", anchors.anchors),
    ("stylize", stylize.stylize),
    ("fixres", fixres.fixres),
    ("transfer", transfer.transfer),
):
    _add(app, _name, _command, "train")

_add(app, "evaluate", evaluate.evaluate, "evaluate")
_add(app, "replay", replay.replay, "evaluate")
_add(app, "report", report.report, "evaluate")
_add(app, "robustness", robustness.robustness, "robustness")
_add(app, "build-engine", build_engine.build_engine)
_add(app, "doctor", doctor.doctor)
_add(app, "benchmark", benchmark.benchmark)

_data = _group("Data sets for training.")
_add(_data, "check", data_check.check, "train")
app.add_typer(_data, name="data")

_student = _group("Noisy Student: a teacher labels images, a student learns from them.")
_add(_student, "label", noisy_student_label.label, "scale")
_add(_student, "select", noisy_student_select.select, "train,scale")
_add(_student, "train", noisy_student_train.train, "train,scale")
_add(_student, "iterate", noisy_student_iterate.iterate, "train,scale")
app.add_typer(_student, name="noisy-student")

_bag = _group("ROS bags, without ROS.")
_add(_bag, "make", bag_make.make, "bags")
_add(_bag, "info", bag_info.info, "bags")
app.add_typer(_bag, name="bag")
