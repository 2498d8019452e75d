"""The command `gaussian-yolo build-engine`."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.errors import SettingError


class EnginePrecisionName(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def parse_capabilities(text: str) -> tuple[str, ...]:
    """Parse compute capabilities such as "86,8.9"; returns them without dots.

    Raises:
        SettingError: the text has another form.
    """
    parts = [part.strip().replace(".", "") for part in text.split(",")]
    if any(re.fullmatch(r"\d{2,3}", part) is None for part in parts):
        raise SettingError(f"--compute-capability is {text!r}; give them with commas, 86,89 for instance")
    return tuple(dict.fromkeys(parts))


def build_engine(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or path of an ONNX file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Engine to write, NAME.engine.")],
    precision: Annotated[
        EnginePrecisionName | None,
        typer.Option(help="What the network computes in.", show_default="int8 for a quantised model, else fp16"),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAMES",
            help="Source of frames to observe ranges on, as `detect` takes it; may be given again. int8 of a float "
            "model needs it; fp16 then leaves to nvidia-modelopt what stays in float.",
        ),
    ] = None,
    dla: Annotated[
        int | None,
        typer.Option(metavar="N", help="Deep-learning accelerator for the layers it can do.", show_default="none"),
    ] = None,
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Build with TensorRT for RTX for these GPUs, 86,89 for instance; none need be here.",
            show_default="the GPU here",
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(metavar="N", help="Most images at once, where the batch is open.")] = 4,
    score_threshold: Annotated[float | None, typer.Option(help="To build in.", show_default="the model's")] = None,
    iou_threshold: Annotated[float | None, typer.Option(help="To build in.", show_default="the model's")] = None,
    variance_vote: Annotated[
        bool | None, typer.Option("--variance-vote/--no-variance-vote", help="To build in.", show_default="the model's")
    ] = None,
    criterion: Annotated[flags.Criterion, typer.Option(help="What a detection's score is.")] = flags.Criterion.gaussian,
    max_detections: Annotated[int, typer.Option(metavar="K", help="Most detections of an image.")] = 300,
    plugin: Annotated[
        Path | None,
        typer.Option(metavar="LIB", help="The plugin's library.", show_default="found as the runtime finds it"),
    ] = None,
    save_onnx: Annotated[
        Path | None, typer.Option(metavar="F", help="Write the graph that TensorRT gets, for trtexec.")
    ] = None,
    input_size: flags.InputSize = None,
    operating_points: Annotated[
        bool,
        typer.Option(
            "--operating-points",
            help="Build an engine for each operating point of the card, between which the node changes to keep its "
            "rate: NAME.engine, and NAME.HxW.engine for other canvases.",
        ),
    ] = False,
    frame: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Size of the frames in px; canvases then have their shape.",
            show_default="the card's canvases",
        ),
    ] = None,
) -> None:
    """Build a TensorRT engine from a model for this machine's GPU; takes minutes.

    Example: gaussian-yolo build-engine model.onnx -o model.engine --operating-points --frame 720x1280
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.export.tensorrt.builder import build_engine as build
    from gaussian_yolo_node.lab.export.tensorrt.canvases import plan_builds
    from gaussian_yolo_node.lab.export.tensorrt.options import BuildOptions
    from gaussian_yolo_node.runtime.base import parse_size, show_size

    options = BuildOptions(
        precision=precision.value if precision is not None else None,
        calibration=tuple(calibration or ()),
        dla=dla,
        compute_capabilities=parse_capabilities(compute_capability) if compute_capability is not None else (),
        max_batch=max_batch,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        variance_vote=variance_vote,
        criterion=criterion.value,
        max_detections=max_detections,
        plugin=plugin,
        save_onnx=save_onnx,
        input_size=flags.parse_input_size(input_size),
    )
    frame_size = None if frame is None else parse_size(frame, "--frame")
    for engine in plan_builds(model, output, options, operating_points=operating_points, frame_size=frame_size):
        sidecar = build(model, engine.output, engine.options, Console(stderr=True))
        print(
            f"built: {engine.output}, {sidecar.model} in {sidecar.precision} for SM {sidecar.compute_capability}, "
            f"canvas {show_size(sidecar.input_size)}, TensorRT{' for RTX' if sidecar.flavor == 'tensorrt_rtx' else ''} "
            f"{sidecar.tensorrt}"
        )
