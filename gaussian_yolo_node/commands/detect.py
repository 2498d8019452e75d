"""The command `detect`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"


def detect(
    source: flags.Source,
    model: flags.Model = None,
    runtime: flags.Runtime = "auto",
    precision: Annotated[
        Precision, typer.Option(help="auto computes in bf16 if the processor supports it.")
    ] = Precision.auto,
    input_size: flags.InputSize = None,
    threads: flags.Threads = 0,
    rebuild_engine: flags.RebuildEngine = False,
    score_threshold: Annotated[
        float | None,
        typer.Option(help="Minimum detection criterion, at least 0 and below 1.", show_default="the model's"),
    ] = None,
    iou_threshold: Annotated[
        float | None,
        typer.Option(
            help="IoU above which the lower-scoring of two boxes is suppressed, at least 0 and below 1.",
            show_default="the model's",
        ),
    ] = None,
    variance_vote: Annotated[
        bool | None,
        typer.Option(
            "--variance-vote/--no-variance-vote",
            help="Average each kept box with the boxes it suppresses, weighted by inverse variance.",
            show_default="the model's",
        ),
    ] = None,
    criterion: Annotated[
        flags.Criterion,
        typer.Option(help="What a score is: with the uncertainty term (gaussian), or without (confidence)."),
    ] = flags.Criterion.gaussian,
    json_path: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Write detections, one record per frame.")
    ] = None,
    video_path: Annotated[
        Path | None, typer.Option("--video", metavar="OUT", help="Write annotated frames as .mp4 or .webm.")
    ] = None,
) -> None:
    """Detect objects in a source.

    Example: gaussian-yolo detect drive.mp4 --json found.json --video annotated.mp4
    """
    from rich.console import Console

    from gaussian_yolo_node.commands.detect_run import detect_source
    from gaussian_yolo_node.detector.detector import Detector
    from gaussian_yolo_node.detector.model import DEFAULT_MODEL
    from gaussian_yolo_node.frames import open_source
    from gaussian_yolo_node.runtime import RuntimeOptions

    frames = open_source(source)
    try:
        with Detector.open(
            model or DEFAULT_MODEL,
            runtime,
            options=RuntimeOptions(threads, precision.value, rebuild_engine, flags.parse_input_size(input_size)),
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
