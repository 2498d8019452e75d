"""The commands `noisy-student select`, `train` and `iterate`."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from gaussian_yolo_node.commands.train import TrainDevice, log_to


class Weights(str, Enum):
    sigma = "sigma"
    none = "none"


def select(
    labels: Annotated[Path, typer.Argument(help="Folder that noisy-student label wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.json", help="File of the selected labels.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Least score of a pseudo label.", show_default="0.5 of boxes, 0.3 of classes"),
    ] = None,
    ignore: Annotated[
        float | None, typer.Option(help="Boxes: least score of a region to be ignored.", show_default="0.1")
    ] = None,
    max_sigma: Annotated[
        float | None,
        typer.Option(
            help="Boxes: greatest sigma of a pseudo label, as share of its width and height.", show_default="none"
        ),
    ] = None,
    weights: Annotated[
        Weights | None,
        typer.Option(help="Boxes: weigh each coordinate by 1/sigma^2, or not.", show_default="sigma"),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(
            min=1, help="Images a class: the surest of common ones, rare ones repeated.", show_default="as they come"
        ),
    ] = None,
    keep_empty: Annotated[
        bool, typer.Option("--keep-empty", help="Boxes: keep images without a pseudo label.")
    ] = False,
    hard: Annotated[
        bool, typer.Option("--hard", help="Classes: the likeliest class instead of probabilities.")
    ] = False,
) -> None:
    """Select what a student is to learn from a teacher's labels.

    Example: gaussian-yolo noisy-student select out/labels --max-sigma 0.25 -o out/selected.json
    """
    from gaussian_yolo_node.lab.noisy_student.student import select as select_labels
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


def train(
    config: Annotated[Path, typer.Argument(help="YAML recipe; a classifier's says 'kind: classification'.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for checkpoints and logs.")],
    resume: Annotated[bool, typer.Option(help="Go on from the checkpoint in the output folder.")] = False,
    data: Annotated[Path | None, typer.Option(help="Folder of the data.", show_default="the recipe's")] = None,
    device: Annotated[TrainDevice, typer.Option(help="auto takes CUDA where there is one.")] = TrainDevice.auto,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.", show_default="the recipe's")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves PyTorch's choice.")] = 0,
) -> None:
    """Train a student (or a first teacher) by its recipe.

    Selected labels are a source of it: {format: pseudo, labels: out/selected.json}. Ctrl-C saves the position.
    Several processes: torchrun --nproc-per-node N -m gaussian_yolo_node.commands noisy-student train ...

    Example: gaussian-yolo noisy-student train student.yaml --data data -o out/student
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.noisy_student.student import TrainOptions
    from gaussian_yolo_node.lab.noisy_student.student import train as train_student

    console = Console(stderr=True)
    log_to(console)
    options = TrainOptions(resume, data, threads, device.value, seed)
    print(f"trained: {train_student(config, output, options, console=console)}")


def iterate(
    config: Annotated[Path, typer.Argument(help="YAML file of the chain: teacher, unlabelled images, students.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of all results, with a manifest.")],
) -> None:
    """Run a chain of teachers and students; repeated, it goes on where it was.

    The file, for one student of a shipped detector:

        kind: detection
        teacher: efficientnet_lite0_kitti
        data: data
        unlabelled:
          - drives/monday
        rounds:
          - name: lite0
            recipe: student.yaml
            select: {positive: 0.5, max_sigma: 0.25}

    Example: gaussian-yolo noisy-student iterate chain.yaml -o out/chain
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.noisy_student.student import iterate as run_chain

    console = Console(stderr=True)
    log_to(console)
    logging.getLogger("gaussian_yolo").setLevel(logging.INFO)
    for student in run_chain(config, output, console=console):
        print(f"{student.name}: {student.model}")
