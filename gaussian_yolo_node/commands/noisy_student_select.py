"""The command `noisy-student select`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Weights(str, Enum):
    sigma = "sigma"
    none = "none"


def select(
    labels: Annotated[Path, typer.Argument(help="Folder that noisy-student label wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.json", help="File of the selected labels.")],
    threshold: Annotated[
        float | None, typer.Option(help="Minimum score of a pseudo label.", show_default="0.5 of boxes, 0.3 of classes")
    ] = None,
    ignore: Annotated[
        float | None, typer.Option(help="Boxes: minimum score of a region to be ignored.", show_default="0.1")
    ] = None,
    max_sigma: Annotated[
        float | None,
        typer.Option(
            help="Boxes: maximum sigma of a pseudo label, as a share of its width and height.", show_default="none"
        ),
    ] = None,
    weights: Annotated[
        Weights | None, typer.Option(help="Boxes: weigh each coordinate by 1/sigma^2, or not.", show_default="sigma")
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images per class: the most confident of common classes, rare ones repeated.",
            show_default="as they come",
        ),
    ] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Boxes: keep images without a pseudo label.")
    ] = False,
    hard: Annotated[
        bool, typer.Option("--hard", help="Classes: the likeliest class instead of probabilities.")
    ] = False,
) -> None:
    """Select the teacher's labels that a student learns from.

    Example: gaussian-yolo noisy-student select out/labels --max-sigma 0.25 -o out/selected.json
    """
    from gaussian_yolo_node.lab.noisy_student.iterate import select as select_labels
    from gaussian_yolo_node.lab.noisy_student.tables import read_labels

    given: dict[str, Any] = {
        "ignore": ignore,
        "max_sigma": max_sigma,
        "weights": weights.value if weights else None,
        "per_class": per_class,
        "keep_empty": keep_empty or None,
        "hard": hard or None,
    }
    boxes = read_labels(labels).kind == "detection"
    given["positive" if boxes else "threshold"] = threshold
    counts = select_labels(labels, output, {key: value for key, value in given.items() if value is not None})
    for name, value in counts.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print(f"selected: {output}")
