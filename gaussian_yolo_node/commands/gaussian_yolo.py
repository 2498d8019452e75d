"""The command `gaussian-yolo`: parses, delegates, and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

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
)
from gaussian_yolo_node.errors import GaussianYoloError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
BAG_PACKAGES = ("lz4", "mcap", "rosbags", "zstandard")

app = typer.Typer(
    help="Object detection with localization uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class MissingExtraError(GaussianYoloError):
    """A command needs packages that are not installed."""


def main() -> None:
    """Entry point of the console script."""
    app(prog_name="gaussian-yolo")


@contextmanager
def _exit_codes() -> Iterator[None]:
    try:
        yield
    except GaussianYoloError as error:
        print(f"error: {error}", file=sys.stderr)
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


@app.callback()
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
            f"this command needs {missing}, which is not installed: pip install 'gaussian_yolo[{extra}]'"
        ) from error


app.command("detect")(_exit_codes()(detect.detect))

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
):
    app.command(_name)(_exit_codes()(_extra("train")(_command)))

app.command("evaluate")(_exit_codes()(_extra("evaluate")(evaluate.evaluate)))
app.command("replay")(_exit_codes()(_extra("evaluate")(replay.replay)))
app.command("report")(_exit_codes()(_extra("evaluate")(report.report)))
app.command("robustness")(_exit_codes()(_extra("robustness")(robustness.robustness)))
app.command("build-engine")(_exit_codes()(build_engine.build_engine))
app.command("doctor")(_exit_codes()(doctor.doctor))
app.command("benchmark")(_exit_codes()(benchmark.benchmark))

_data = typer.Typer(help="Data sets for training.", no_args_is_help=True)
_data.command("check")(_exit_codes()(_extra("train")(data_check.check)))
app.add_typer(_data, name="data")

_student = typer.Typer(help="Noisy Student: a teacher labels what nobody has, a student learns.", no_args_is_help=True)
_student.command("label")(_exit_codes()(_extra("scale")(noisy_student_label.label)))
_student.command("select")(_exit_codes()(_extra("train,scale")(noisy_student_select.select)))
_student.command("train")(_exit_codes()(_extra("train,scale")(noisy_student_train.train)))
_student.command("iterate")(_exit_codes()(_extra("train,scale")(noisy_student_iterate.iterate)))
app.add_typer(_student, name="noisy-student")

_bag = typer.Typer(help="ROS bags, without ROS.", no_args_is_help=True)
_bag.command("make")(_exit_codes()(_extra("bags")(bag_make.make)))
_bag.command("info")(_exit_codes()(_extra("bags")(bag_info.info)))
app.add_typer(_bag, name="bag")
