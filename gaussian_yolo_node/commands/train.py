"""The command `train`."""

from __future__ import annotations

import logging
from typing import Annotated

import typer
from rich.console import Console

from gaussian_yolo_node.commands import flags


def log_to(console: Console) -> None:
    """Show the training log on `console`, above a progress bar if it is a terminal."""
    from rich.logging import RichHandler

    form = "%(asctime)s %(message)s"
    handler: logging.Handler = logging.StreamHandler()
    if console.is_terminal:
        form, handler = "%(message)s", RichHandler(console=console, show_path=False, show_level=False)
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=[handler])


def train(
    config: Annotated[str, typer.Argument(help="YAML recipe, or the name of one that comes with the program.")],
    output: flags.TrainOutput,
    resume: flags.Resume = False,
    data: flags.TrainData = None,
    device: flags.TrainDevice = flags.Device.auto,
    seed: flags.TrainSeed = None,
    threads: flags.TrainThreads = 0,
) -> None:
    """Train a model (needs the extra `train`).

    Ctrl-C saves the position first; a second Ctrl-C does not. Several processes:
    torchrun --nproc-per-node N -m gaussian_yolo_node.commands train ...

    Example: gaussian-yolo train recipe.yaml --data data -o out/run
    """
    from gaussian_yolo_node.lab.training.recipes import find_recipe
    from gaussian_yolo_node.lab.training.train import run

    console = Console(stderr=True)
    log_to(console)
    checkpoint = run(
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
