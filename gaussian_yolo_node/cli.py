"""The command `gaussian-yolo`: parses, delegates, and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node import (
    cli_bag,
    cli_data,
    cli_engine,
    cli_evaluate,
    cli_fixres,
    cli_label,
    cli_machine,
    cli_models,
    cli_noisy_student,
    cli_replay,
    cli_report,
    cli_robustness,
    cli_stylize,
    cli_train,
)
from gaussian_yolo_node.errors import GaussianYoloError

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    help="Object detection with localization uncertainty.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class MissingExtraError(GaussianYoloError):
    """A command needs packages that are not installed."""


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


class Criterion(str, Enum):
    gaussian = "gaussian"
    confidence = "confidence"


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


@app.command()
@_exit_codes()
def detect(
    source: Annotated[
        str,
        typer.Argument(
            help="Camera index, video, image or image folder, ROS bag, URL (rtsp://...), or GStreamer pipeline."
        ),
    ],
    model: Annotated[
        str | None, typer.Option(help="Name of a shipped model, or path of an ONNX file with a card.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")] = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto computes in bf16 where the processor has it.")
    ] = Precision.auto,
    threads: Annotated[int, typer.Option(help="Processor threads; 0 takes all cores.")] = 0,
    rebuild_engine: Annotated[
        bool, typer.Option("--rebuild-engine", help="Build the TensorRT engine again where it is missing or stale.")
    ] = False,
    score_threshold: Annotated[
        float | None,
        typer.Option(help="Least detection criterion, 0 up to but not 1.", show_default="the model's"),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(
            help="IoU above which the lesser of two boxes goes, 0 up to but not 1.",
            show_default="the model's",
        ),
    ] = None,
    variance_vote: Annotated[
        bool | None,
        typer.Option(
            "--variance-vote/--no-variance-vote",
            help="Let suppressed boxes vote on the one that is kept.",
            show_default="the model's",
        ),
    ] = None,
    criterion: Annotated[
        Criterion, typer.Option(help="What a score is: with the uncertainty term (gaussian), or without (confidence).")
    ] = Criterion.gaussian,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write detections, a record a frame.")
    ] = None,
    video_path: Annotated[
        Path | None, typer.Option("--video", metavar="OUT", help="Write annotated frames as .mp4.")
    ] = None,
) -> None:
    """Detect objects in a source."""
    from rich.console import Console

    from gaussian_yolo_node.detect_run import detect_source
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.detector.model import DEFAULT_MODEL
    from gaussian_yolo_node.runtime import RuntimeOptions
    from gaussian_yolo_node.sources import open_source

    frames = open_source(source)
    try:
        with Detector.open(
            model or DEFAULT_MODEL,
            runtime,
            options=RuntimeOptions(threads, precision.value, rebuild_engine),
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            variance_vote=variance_vote,
            criterion=criterion.value,
        ) as detector:
            console = Console(stderr=True)
            summary = detect_source(frames, detector, console, json_path=json_path, video_path=video_path)
            print(f"{summary}; {detector.card.name} on {detector.runtime.description}")
    finally:
        frames.close()
    if frames.message:
        print(f"note: {frames.message}", file=sys.stderr)
    if summary.interrupted:
        raise KeyboardInterrupt


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """Turn a missing third-party package into an error that names the extra that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gaussian_yolo_node"):
            raise
        raise MissingExtraError(
            f"this command needs {error.name}, which is not installed: pip install 'gaussian_yolo[{name}]'"
        ) from error


for _name, _command in (
    ("calibrate", cli_evaluate.calibrate),
    ("train", cli_train.train),
    ("export", cli_models.export),
    ("import-darknet", cli_models.import_darknet),
    ("models", cli_models.models),
    ("quantize", cli_models.quantize),
    ("anchors", cli_data.anchors),
    ("stylize", cli_stylize.stylize),
    ("fixres", cli_fixres.fixres),
):
    app.command(_name)(_exit_codes()(_extra("train")(_command)))

app.command("evaluate")(_exit_codes()(_extra("evaluate")(cli_evaluate.evaluate)))
app.command("replay")(_exit_codes()(_extra("evaluate")(cli_replay.replay)))
app.command("report")(_exit_codes()(_extra("evaluate")(cli_report.report)))
app.command("robustness")(_exit_codes()(_extra("robustness")(cli_robustness.robustness)))
app.command("build-engine")(_exit_codes()(cli_engine.build_engine))
app.command("doctor")(_exit_codes()(cli_machine.doctor))
app.command("benchmark")(_exit_codes()(cli_machine.benchmark))

_data = typer.Typer(help="Data sets for training.", no_args_is_help=True)
_data.command("check")(_exit_codes()(_extra("train")(cli_data.check)))
app.add_typer(_data, name="data")

_student = typer.Typer(help="Noisy Student: a teacher labels what nobody has, a student learns.", no_args_is_help=True)
_student.command("label")(_exit_codes()(_extra("scale")(cli_label.label)))
_student.command("select")(_exit_codes()(_extra("train,scale")(cli_noisy_student.select)))
_student.command("train")(_exit_codes()(_extra("train,scale")(cli_noisy_student.train)))
_student.command("iterate")(_exit_codes()(_extra("train,scale")(cli_noisy_student.iterate)))
app.add_typer(_student, name="noisy-student")

_bag = typer.Typer(help="ROS bags, without ROS.", no_args_is_help=True)
_bag.command("make")(_exit_codes()(_extra("bags")(cli_bag.make)))
_bag.command("info")(_exit_codes()(_extra("bags")(cli_bag.info)))
app.add_typer(_bag, name="bag")


if __name__ == "__main__":
    main()
