"""Commands about networks: what there is, what they come from, and the model files they become."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands.sizes import parse_size
from gaussian_yolo_node.errors import SettingError


class BatchNorm(str, Enum):
    gpu = "gpu"
    cpu = "cpu"


class CpuRuntime(str, Enum):
    openvino = "openvino"
    onnxruntime = "onnxruntime"


def parse_batch(text: str) -> int | None:
    """Images of one inference, None for "dynamic".

    Raises:
        SettingError: the text is something else.
    """
    if text == "dynamic":
        return None
    if re.fullmatch(r"[1-9]\d{0,3}", text) is None:
        raise SettingError(f"--batch is {text!r}; give a number of images from 1, or dynamic")
    return int(text)


def export(
    source: Annotated[
        str, typer.Argument(metavar="NAME_OR_CHECKPOINT", help="Built-in detector, or checkpoint of a training run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="its own")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N|dynamic", help="Images of one inference. The node and `detect` take 1.")
    ] = "1",
    runtime: Annotated[
        CpuRuntime, typer.Option(help="Whose measured choices to take; every runtime runs the file.")
    ] = CpuRuntime.openvino,
) -> None:
    """Write a detector as an ONNX model with its card (needs the extra `train`).

    `gaussian-yolo models` lists the built-in ones; their weights are fresh.

    Example: gaussian-yolo export out/run/best.pt -o model.onnx --size 512x1664
    """
    from gaussian_yolo_node.lab.export.built_in import export_built_in
    from gaussian_yolo_node.lab.export.onnx import ExportOptions
    from gaussian_yolo_node.lab.networks.factory import BUILT_INS
    from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint

    canvas = parse_size(size) if size is not None else None
    options = ExportOptions(parse_batch(batch), runtime.value)
    checkpoint = Path(source)
    if checkpoint.is_file():
        card = export_checkpoint(checkpoint, output, canvas, options)
    elif source in BUILT_INS:
        card = export_built_in(source, output, canvas, options)
        print("note: its weights are fresh, so it detects nothing; train it first", file=sys.stderr)
    else:
        raise SettingError(
            f"{source} is neither a checkpoint nor a built-in detector; built in are {', '.join(BUILT_INS)}"
        )
    height, width = card.input_size
    print(f"exported: {output}, {height}x{width} px, batch {batch}, classes {', '.join(card.classes)}")


def import_darknet(
    cfg: Annotated[Path, typer.Argument(help="Network, .cfg.")],
    weights: Annotated[Path, typer.Argument(help="Its weights, .weights.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    classes: Annotated[
        Path | None, typer.Option(help="Class names, one a line.", show_default="the published network's, if it is one")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="the cfg's")
    ] = None,
    batch_norm: Annotated[
        BatchNorm, typer.Option(help="Which of Darknet's two batch norms to compute: of its GPU or of its CPU code.")
    ] = BatchNorm.gpu,
) -> None:
    """Turn a Darknet network, Gaussian YOLOv3 or YOLOv3, into an ONNX model (needs the extra `train`).

    Example: gaussian-yolo import-darknet yolov3.cfg yolov3.weights --classes names.txt -o model.onnx
    """
    from gaussian_yolo_node.lab.export import darknet_import

    canvas = parse_size(size) if size is not None else None
    card = darknet_import.import_darknet(cfg, weights, output, classes=classes, size=canvas, norm_form=batch_norm.value)
    height, width = card.input_size
    print(f"imported: {output}, {height}x{width} px, classes {', '.join(card.classes)}")


def quantize(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or path of an ONNX file.")],
    frames: Annotated[
        list[str],
        typer.Option(
            help="Source of frames like those to come, as `detect` takes it; may be given again. None to judge it by.",
            metavar="SOURCE",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    limit: Annotated[
        int, typer.Option(min=1, help="Most frames to take, spread evenly where the sources have an end.")
    ] = 128,
) -> None:
    """Write the int8 version of a model (needs the extras `cpu` and `train`).

    Its first layer and its heads stay in float. Measure what it costs in accuracy with `detect` and `evaluate`.

    Example: gaussian-yolo quantize model.onnx --frames drive/image -o model_int8.onnx
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.export.quantize import quantize_model

    card, taken = quantize_model(model, frames, output, limit=limit, console=Console(stderr=True))
    skipped = f", skipped {taken.skipped} unreadable" if taken.skipped else ""
    print(f"quantised: {output}, {card.name}, calibrated on {len(taken.canvases)} frames{skipped}")


def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Built-in or shipped models.", show_default="all")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time one image in each runtime that is installed; takes minutes for all.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads to measure with; 0 takes all cores.")] = 0,
) -> None:
    """List shipped models and built-in detectors, with size and cost (needs the extra `train`).

    Example: gaussian-yolo models efficientnet_lite0_kitti_int8 --measure
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.catalogue import catalogue, print_catalogue
    from gaussian_yolo_node.runtime import RuntimeOptions

    print_catalogue(catalogue(names), Console(), RuntimeOptions(threads) if measure else None)
