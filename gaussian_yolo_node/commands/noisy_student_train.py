"""The command `noisy-student train`."""

from __future__ import annotations

from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.commands.train import log_to


def train(
    config: Annotated[
        str, typer.Argument(help="YAML recipe, or the name of one; a classifier's says 'kind: classification'.")
    ],
    output: flags.TrainOutput,
    resume: flags.Resume = False,
    data: flags.TrainData = None,
    device: flags.TrainDevice = flags.Device.auto,
    seed: flags.TrainSeed = None,
    threads: flags.TrainThreads = 0,
) -> None:
    """Train a student (or a first teacher) by its recipe.

    The recipe takes selected labels as a source: {format: pseudo, labels: out/selected.json}. Ctrl-C saves the
    position.
    Several processes: torchrun --nproc-per-node N -m gaussian_yolo_node.commands noisy-student train ...

    Example: gaussian-yolo noisy-student train student.yaml --data data -o out/student
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.noisy_student.iterate import train as train_student
    from gaussian_yolo_node.lab.training.recipes import find_recipe

    console = Console(stderr=True)
    log_to(console)
    checkpoint = train_student(
        find_recipe(config),
        output,
        resume=resume,
        data_root=data,
        threads=threads,
        device=device.value,
        seed=seed,
        console=console,
    )
    print(f"trained: {checkpoint}")
