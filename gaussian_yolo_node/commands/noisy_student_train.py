"""The command `noisy-student train`."""

from __future__ import annotations

from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.commands.train import train_by


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
    from gaussian_yolo_node.lab.noisy_student.iterate import train as run

    train_by(run, config, output, device, resume=resume, data_root=data, threads=threads, seed=seed)
