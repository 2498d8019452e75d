"""The command `import-darknet`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer


class BatchNorm(str, Enum):
    gpu = "gpu"
    cpu = "cpu"


def import_darknet(
    cfg: Annotated[Path, typer.Argument(help="Network, .cfg.")],
    weights: Annotated[Path, typer.Argument(help="Its weights, .weights.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ONNX file to write.")],
    classes: Annotated[
        Path | None,
        typer.Option(help="Class names, one per line.", show_default="the published network's, if it is one"),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas height and width, px.", show_default="the cfg's")
    ] = None,
    batch_norm: Annotated[
        BatchNorm, typer.Option(help="Which of Darknet's two batch norms to compute: of its GPU or of its CPU code.")
    ] = BatchNorm.gpu,
) -> None:
    """Convert a Darknet network, Gaussian YOLOv3 or YOLOv3, to an ONNX model (needs the extra `train`).

    Example: gaussian-yolo import-darknet yolov3.cfg yolov3.weights --classes names.txt -o model.onnx
    """
    from gaussian_yolo_node.lab.export import darknet_import
    from gaussian_yolo_node.runtime.base import parse_size

    canvas = parse_size(size) if size is not None else None
    card = darknet_import.import_darknet(cfg, weights, output, classes=classes, size=canvas, norm_form=batch_norm.value)
    height, width = card.input_size
    print(f"imported: {output}, {height}x{width} px, classes {', '.join(card.classes)}")
