"""The command `transfer`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags
from gaussian_yolo_node.commands.train import training_console


def transfer(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Classifier's checkpoint (.pt), or efficientnet_lite0 of ImageNet.")
    ],
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA", help="Folder with train and test, a folder a class in each; or CIFAR's binary version."
        ),
    ],
    output: flags.TrainOutput,
    frozen: Annotated[bool, typer.Option("--frozen", help="Keep the features: only the last layer learns.")] = False,
    size: Annotated[int, typer.Option(help="Side of the network's square, px.")] = 224,
    epochs: Annotated[float, typer.Option(help="Passes over the training pictures.")] = 10.0,
    batch_size: Annotated[int, typer.Option(help="Pictures a step.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Peak.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the run.")] = 0,
    resume: flags.Resume = False,
    device: flags.TrainDevice = flags.Device.auto,
    threads: flags.TrainThreads = 0,
) -> None:
    """Bring a classifier to another set of classes, and test it there.

    Example: gaussian-yolo transfer efficientnet_lite0 cifar-10-batches-bin --frozen -o out/cifar10
    """
    from gaussian_yolo_node.lab.classification.transfer import Transfer
    from gaussian_yolo_node.lab.classification.transfer import transfer as run

    console = training_console()
    options = Transfer(frozen, size, epochs, batch_size, learning_rate, seed)
    figures = run(model, data, output, options, resume=resume, threads=threads, device=device.value, console=console)
    top = ", ".join(f"{name} {100 * figures[name]:.1f} %" for name in ("top1", "top5"))
    print(f"{figures['images']:.0f} test pictures: {top}; written: {output}")
