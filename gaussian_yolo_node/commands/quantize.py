"""The command `quantize`: write the int8 version of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    """Quantize a model to int8 (needs the extras `cpu` and `train`).

    The first layer and the heads stay in float. Measure the loss of accuracy with `detect` and `evaluate`.

    Example: gaussian-yolo quantize model.onnx --frames drive/image -o model_int8.onnx
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.export.quantize import quantize_model

    card, calibration = quantize_model(model, frames, output, limit=limit, console=Console(stderr=True))
    skipped = f", skipped {calibration.skipped} unreadable" if calibration.skipped else ""
    print(f"quantised: {output}, {card.name}, calibrated on {len(calibration.canvases)} frames{skipped}")
