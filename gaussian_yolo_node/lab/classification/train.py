"""Train a classifier, as teacher or noised student: `gaussian-yolo noisy-student train CONFIG`."""

from __future__ import annotations

import logging
import math
import time
from contextlib import closing
from pathlib import Path

import torch
from rich.console import Console

from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.data import (
    Batches,
    Items,
    Share,
    Stream,
    View,
    read_labelled,
    read_pseudo,
    steps_of,
)
from gaussian_yolo_node.lab.classification.trainer import ClassifierTrainer
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.progress import History, RunProgress
from gaussian_yolo_node.lab.training.session import Device, on_signals, started
from gaussian_yolo_node.lab.training.train import CHECKPOINT

__all__ = ["CHECKPOINT", "check_data", "train_classifier"]

log = logging.getLogger("gaussian_yolo.train")


def train_classifier(
    config: ClassifierConfig,
    output: Path,
    *,
    resume: bool = False,
    data_root: Path | None = None,
    threads: int = 0,
    device: Device = "auto",
    console: Console | None = None,
) -> Path:
    """Train a recipe; distributed when started by `torchrun`.

    Args:
        config: the recipe.
        output: folder for the checkpoint and the history.
        resume: continue from `output/last.pt`; the result equals that of an uninterrupted run.
        data_root: replaces the recipe's `data.root`.
        threads: torch threads; 0 for torch's default.
        device: "auto" uses CUDA if available.
        console: for the progress bar, shown on terminals only; default standard error.

    Returns:
        the checkpoint, `output/last.pt`.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM; the checkpoint holds the current step.
    """
    with started(output, device, threads) as (processes, place):
        data = _Data(config, data_root or Path(config.data.root))
        return _run(config, data, output, resume, place, processes, console or Console(stderr=True))


def check_data(config: ClassifierConfig, data_root: Path | None = None) -> None:
    """Decode every image of a recipe. Raises DatasetError naming an unreadable one."""
    data = _Data(config, data_root or Path(config.data.root))
    for items in (data.labelled, data.pseudo, data.validation):
        if items is not None:
            items.check()


class _Data:
    """The images of a recipe; paths are relative to `root`."""

    def __init__(self, config: ClassifierConfig, root: Path) -> None:
        data = config.data
        self.labelled, self.classes = read_labelled(root / data.train, config.model.classes)
        self.pseudo: Items | None = read_pseudo(root / data.pseudo, self.classes) if data.pseudo else None
        self.validation: Items | None = None
        if data.validation:
            self.validation, _ = read_labelled(root / data.validation, self.classes)


def _run(
    config: ClassifierConfig,
    data: _Data,
    output: Path,
    resume: bool,
    device: torch.device,
    processes: Processes,
    console: Console,
) -> Path:
    schedule = config.schedule
    each, total = steps_of(schedule.epochs, len(data.labelled), schedule.batch_size)
    torch.manual_seed(schedule.seed)
    trainer = ClassifierTrainer(config, data.classes, each, total, device=device, processes=processes)
    checkpoint = output / CHECKPOINT
    if resume:
        trainer.restore(checkpoint)
    if processes.main:
        log.info(
            "%d labelled and %d pseudo-labelled pictures, %d classes, %d steps an epoch, from step %d, on %s",
            len(data.labelled.paths), len(data.pseudo.paths) if data.pseudo else 0, len(data.classes), each,
            trainer.step, f"{processes.count} processes ({device.type})" if processes.count > 1 else device.type,
        )  # fmt: skip
    progress = RunProgress(console, math.ceil(total / each), each, shown=processes.main)
    finished = {"train": trainer.epochs, "validation": trainer.epochs}
    history = History(output, finished) if processes.main else None
    with closing(_batches(config, data, processes)) as batches, progress:
        while trainer.step < total or trainer.at_end_of_epoch:
            if not trainer.at_end_of_epoch:  # a signal may have stopped the run here
                _train_epoch(trainer, batches, progress, checkpoint)
            means = trainer.finish_epoch()
            epoch = trainer.epochs
            progress.epoch(epoch, means, trainer.rate)
            if history is not None:
                history.add("train", epoch, {**means, "rate": trainer.rate})
            due = trainer.step == total or epoch % schedule.validate_every == 0
            if due and data.validation is not None:
                trainer.validate(data.validation)
                progress.validation({**trainer.validation, "epoch": epoch})
                if history is not None:
                    history.add("validation", epoch, trainer.validation)
            trainer.save(checkpoint)
    return checkpoint


def _batches(config: ClassifierConfig, data: _Data, processes: Processes) -> Batches:
    noise, network, schedule = config.noise, config.model, config.schedule
    view = View(
        network.image_size, noise.least_crop, noise.flip, noise.ops, noise.rand_augment_magnitude, noise.names,
        network.crop_fraction,
    )  # fmt: skip
    counts = {0: (data.labelled, schedule.batch_size)}
    if data.pseudo is not None and config.unlabelled_batch:
        counts[1] = (data.pseudo, config.unlabelled_batch)
    shares = [
        Share(Stream(items, view, schedule.seed, number), count, processes.rank, processes.count)
        for number, (items, count) in counts.items()
    ]
    return Batches(shares, config.data.workers)


def _train_epoch(trainer: ClassifierTrainer, batches: Batches, progress: RunProgress, checkpoint: Path) -> None:
    """Train the rest of the epoch; save periodically and when a signal stops the run."""
    epoch, done = divmod(trainer.step, trainer.steps_per_epoch)
    progress.begin(epoch, done)
    interval = 60 * trainer.config.schedule.checkpoint_minutes
    saved = time.monotonic()
    end = min((epoch + 1) * trainer.steps_per_epoch, trainer.total_steps)
    with on_signals(lambda: setattr(trainer, "stop_requested", True)):
        for batch in batches.steps(trainer.step, end):
            trainer.learn(batch)
            progress.step(epoch, trainer.step - epoch * trainer.steps_per_epoch, trainer.means(), trainer.rate)
            if trainer.stopped or (interval and time.monotonic() - saved > interval):
                trainer.save(checkpoint)
                saved = time.monotonic()
            if trainer.stopped:
                log.info("stopped at step %d: --resume goes on from %s", trainer.step, checkpoint)
                raise KeyboardInterrupt
