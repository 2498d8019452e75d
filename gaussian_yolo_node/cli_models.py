"""Commands about networks: what they come from."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


class BatchNorm(str, Enum):
    gpu = "gpu"
    cpu = "cpu"


def parse_size(text: str) -> tuple[int, int]:
    """Height and width from "HxW", px.

    Raises:
        SettingError: the text is something else.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise SettingError(f"--size is {text!r}; give HEIGHTxWIDTH in px, 256x832 for instance")
    return int(match[1]), int(match[2])


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
    """Turn a Darknet network, Gaussian YOLOv3 or YOLOv3, into an ONNX model (needs the extra `train`)."""
    from gaussian_yolo_node.models import darknet_import

    canvas = parse_size(size) if size is not None else None
    card = darknet_import.import_darknet(cfg, weights, output, classes=classes, size=canvas, norm_form=batch_norm.value)
    height, width = card.input_size
    print(f"imported: {output}, {height}x{width} px, classes {', '.join(card.classes)}")
