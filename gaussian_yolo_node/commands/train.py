"""The command `train`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from gaussian_yolo_node.commands import flags


def training_console() -> Console:
    """Standard error for progress, with the training log above a progress bar if it is a terminal."""
    from rich.logging import RichHandler

    console = Console(stderr=True)
    form = "%(asctime)s %(message)s"
    handler: logging.Handler = logging.StreamHandler()
    if console.is_terminal:
        form, handler = "%(message)s", RichHandler(console=console, show_path=False, show_level=False)
    logging.basicConfig(level=logging.INFO, format=form, datefmt="%H:%M:%S", handlers=[handler])
    return console


def train_by(run: Callable[..., Path], config: str, output: Path, device: flags.Device, **options: Any) -> None:
    """Train by a recipe with `run`, and print where the checkpoint is."""
    from gaussian_yolo_node.lab.training.recipes import find_recipe

    print(f"trained: {run(find_recipe(config), output, device=device.value, console=training_console(), **options)}")


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
    from gaussian_yolo_node.lab.training.train import run

    train_by(run, config, output, device, resume=resume, data_root=data, threads=threads, seed=seed)
