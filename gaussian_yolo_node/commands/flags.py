"""Arguments and options that several commands share: the source, the model, how it runs, and how one is trained."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gaussian_yolo_node.errors import SettingError


class Criterion(str, Enum):
    gaussian = "gaussian"
    confidence = "confidence"


class Device(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Source = Annotated[
    str,
    typer.Argument(
        help="Camera index, video, image or image folder, ROS bag, URL (rtsp://...), or GStreamer pipeline."
    ),
]
ModelArgument = Annotated[str, typer.Argument(help="Name of a shipped model, or path of an ONNX file with a card.")]
Model = Annotated[str | None, typer.Option(help="Name of a shipped model, or path of an ONNX file with a card.")]
Runtime = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or tensorrt.")]
Threads = Annotated[int, typer.Option(help="Processor threads; 0 uses all cores.")]
RebuildEngine = Annotated[
    bool, typer.Option("--rebuild-engine", help="Build the TensorRT engine if it is missing or stale.")
]
InputSize = Annotated[
    str | None,
    typer.Option(
        "--input-size",
        metavar="HxW",
        help="Canvas height and width in px, for a model with a free input size.",
        show_default="the model's",
    ),
]
TrainOutput = Annotated[Path, typer.Option("--output", "-o", help="Folder for checkpoints and logs.")]
Resume = Annotated[bool, typer.Option(help="Resume from the checkpoint in the output folder.")]
TrainData = Annotated[Path | None, typer.Option(help="Folder of the data sets.", show_default="the recipe's")]
TrainDevice = Annotated[Device, typer.Option(help="auto uses CUDA if there is a CUDA device.")]
TrainSeed = Annotated[int | None, typer.Option(min=0, help="Seed of the run.", show_default="the recipe's")]
TrainThreads = Annotated[int, typer.Option(min=0, help="Processor threads; 0 is PyTorch's default.")]


def parse_input_size(text: str | None) -> tuple[int, int] | None:
    """The value of `InputSize`. Raises SettingError for any other form."""
    from gaussian_yolo_node.runtime.base import parse_size

    return None if text is None else parse_size(text, "--input-size")


def words(text: str) -> tuple[str, ...]:
    """The words of an option that takes them with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def numbers(option: str, text: str, kind: type = float) -> tuple[Any, ...]:
    """The numbers of an option that takes them with commas. Raises SettingError for anything else."""
    try:
        return tuple(kind(word) for word in words(text))
    except ValueError:
        raise SettingError(f"{option} {text!r} must be numbers with commas between, such as 1,2,5") from None
