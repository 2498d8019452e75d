"""The command `fixres`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.commands.train import training_console
from gaussian_yolo_node.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping


def fixres(
    checkpoint: Annotated[
        Path, typer.Argument(help="Training checkpoint (.pt); of a detector also a shipped model or model file.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA_OR_RECIPE",
            help="Recipe whose data is used, a classifier's pictures (one folder per class), or a detector's data.",
        ),
    ],
    size: Annotated[str, typer.Option(help="Side of a classifier's square, or a detector's HEIGHTxWIDTH, px.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new checkpoint.")],
    epochs: Annotated[
        float | None, typer.Option(min=0.0, help="Epochs.", show_default="1.5 of a classifier, 2 of a detector")
    ] = None,
    last_stages: Annotated[
        int, typer.Option(min=0, help="Stages of the backbone that learn too; 0: only what follows it.")
    ] = 0,
    learning_rate: Annotated[
        float | None, typer.Option(min=0.0, help="Peak.", show_default="a tenth of the recipe's")
    ] = None,
    resume: flags.Resume = False,
    device: flags.TrainDevice = flags.Device.auto,
    threads: flags.TrainThreads = 0,
) -> None:
    """Fine-tune a network at the larger size of its later use, with shallow layers frozen and without augmentation.

    Example: gaussian-yolo fixres out/student/last.pt data/train --size 288 -o out/student_288
    """
    from gaussian_yolo_node.lab.fixres import FixRes
    from gaussian_yolo_node.lab.fixres import fixres as fine_tune

    console = training_console()
    options = FixRes(parse_sides(size), epochs, last_stages, learning_rate)
    outcome = fine_tune(
        checkpoint, data, options, output, resume=resume, threads=threads, device=device.value, console=console
    )
    for name, figures in (("before", outcome.before), (f"before, at {size}", outcome.larger), ("after", outcome.after)):
        if figures:
            print(f"{name}: {_line(figures)}")
    print(f"trained: {outcome.checkpoint}")


def parse_sides(text: str) -> tuple[int, int]:
    """`288` as (288, 288), `352x1120` as (352, 1120): height and width, px. Raises SettingError for any other form."""
    match = re.fullmatch(r"([1-9]\d{0,4})(?:x([1-9]\d{0,4}))?", text)
    if match is None:
        raise SettingError(f"size {text!r} is neither a side such as 288 nor HEIGHTxWIDTH such as 352x1120")
    return int(match[1]), int(match[2] or match[1])


def _line(figures: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in figures.items() if name != "images")
