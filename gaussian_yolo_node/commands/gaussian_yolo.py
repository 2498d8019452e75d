"""The command `gaussian-yolo`: parses, delegates, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from gaussian_yolo_node.display import guard_terminal
from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.processes import EXIT_INTERRUPTED

EXIT_ERROR = 2
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)
BAG_PACKAGES = ("lz4", "mcap", "rosbags", "zstandard")


_GROUPS = {
    "data": "Data sets for training.",
    "noisy-student": "Noisy Student: a teacher labels images, a student learns from them.",
    "bag": "ROS bags, without ROS.",
}
# Commands, and the extra whose packages each needs, or several with commas.
_COMMANDS = {
    "detect": "",
    "view": "",
    **dict.fromkeys(("calibrate", "operating-points", "train", "export", "import-darknet", "models"), "train"),
    **dict.fromkeys(("quantize", "anchors", "stylize", "fixres", "transfer"), "train"),
    **dict.fromkeys(("evaluate", "replay", "report"), "evaluate"),
    "robustness": "robustness",
    **dict.fromkeys(("build-engine", "doctor", "benchmark"), ""),
    "data check": "train",
    "noisy-student label": "scale",
    **dict.fromkeys(("noisy-student select", "noisy-student train", "noisy-student iterate"), "train,scale"),
    "bag make": "bags",
    "bag info": "bags",
}


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


def _register() -> None:
    """Add all commands, each from the file of its name."""
    groups = {name: _group(text) for name, text in _GROUPS.items()}
    for name, extra in _COMMANDS.items():
        group, _, last = name.rpartition(" ")
        file = import_module(f"gaussian_yolo_node.commands.{re.sub('[ -]', '_', name)}")
        command = _with_hints(getattr(file, last.replace("-", "_")))
        (groups[group] if group else app).command(last)(_exit_codes()(_extra(extra)(command) if extra else command))
    for name, each in groups.items():
        app.add_typer(each, name=name)


_register()
