"""The command `export`: write a detector as a model file."""

from __future__ import annotations

import re
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


class CpuRuntime(str, Enum):
    openvino = "openvino"
    onnxruntime = "onnxruntime"


def export(
    source: Annotated[
        str, typer.Argument(metavar="NAME_OR_CHECKPOINT", help="Built-in detector, or checkpoint of a training run.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="its own")
    ] = None,
    batch: Annotated[str, typer.Option(metavar="N|dynamic", help="Batch size. The node and `detect` need 1.")] = "1",
    runtime: Annotated[
        CpuRuntime, typer.Option(help="Runtime to optimise for; every runtime runs the file.")
    ] = CpuRuntime.openvino,
) -> None:
    """Write a detector as an ONNX model with its card (needs the extra `train`).

    `gaussian-yolo models` lists the built-in detectors; they are exported with untrained weights.

    Example: gaussian-yolo export out/run/best.pt -o model.onnx --size 512x1664
    """
    from gaussian_yolo_node.lab.export.built_in import export_built_in
    from gaussian_yolo_node.lab.export.onnx import ExportOptions
    from gaussian_yolo_node.lab.networks.factory import BUILT_INS
    from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
    from gaussian_yolo_node.runtime.base import parse_size

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


def parse_batch(text: str) -> int | None:
    """Batch size; None for "dynamic".

    Raises:
        SettingError: the text has another form.
    """
    if text == "dynamic":
        return None
    if re.fullmatch(r"[1-9]\d{0,3}", text) is None:
        raise SettingError(f"--batch is {text!r}; give a number of images from 1, or dynamic")
    return int(text)
