"""A training run from recipe to checkpoint: `gaussian-yolo train CONFIG`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gaussian_yolo_node.lab.training.checkpoint import CheckpointError
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.initialise import find_start
from gaussian_yolo_node.lab.training.loader import BatchLoader, EpochSampler, first_images, make_loader
from gaussian_yolo_node.lab.training.progress import History, RunProgress
from gaussian_yolo_node.lab.training.session import Device, on_signals, started
from gaussian_yolo_node.lab.training.trainer import Trainer, TrainingError
from gaussian_yolo_node.lab.training.validate import check_sources
from gaussian_yolo_node.labels import load_sources
from gaussian_yolo_node.labels.sources import missing_paths

__all__ = ["BEST", "CHECKPOINT", "Trainer", "TrainingError", "run"]

log = logging.getLogger("gaussian_yolo.train")
CHECKPOINT = "last.pt"
BEST = "best.pt"


def run(
    config_path: Path,
    output: Path,
    *,
    resume: bool = False,
    data_root: Path | None = None,
    threads: int = 0,
    device: Device = "auto",
    seed: int | None = None,
    console: Console | None = None,
) -> Path:
    """Train a recipe; distributed when started by `torchrun`.

    Args:
        config_path: YAML recipe.
        output: folder for the checkpoints, the history and the TensorBoard log.
        resume: continue from `output/last.pt`; the result equals that of an uninterrupted run.
        data_root: replaces the config's `data.root`.
        threads: torch threads; 0 for torch's default.
        device: "auto" uses CUDA if available.
        seed: replaces the config's.
        console: for the progress bar, shown on terminals only; default standard error.

    Returns:
        the path of the latest checkpoint, `output/last.pt`; `output/best.pt` is that of the best validation.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: stopped by SIGINT or SIGTERM; the checkpoint holds the current step.
    """
    config = TrainConfig.load(config_path)
    if seed is not None:
        config = replace(config, schedule=replace(config.schedule, seed=seed))
    check_sources(config)
    with started(output, device, threads) as (processes, place):
        return _run(config, output, data_root, resume, place, processes, console or Console(stderr=True))


def _run(
    config: TrainConfig,
    output: Path,
    data_root: Path | None,
    resume: bool,
    device: torch.device,
    processes: Processes,
    console: Console,
) -> Path:
    schedule = config.schedule
    root = data_root or Path(config.data.root)
    torch.manual_seed(schedule.seed)
    check_files(config, root)
    images = load_sources(root, config.data.train, config.model.classes)
    loader, sampler = make_loader(images, config, processes)
    checkpoint = output / CHECKPOINT
    trainer = Trainer(
        config,
        sampler.steps,
        device=device,
        processes=processes,
        output=output,
        root=root,
        frames=lambda: () if resume else first_images(images, config),
    )
    if resume:
        trainer.restore(checkpoint)
    if processes.main:
        log.info(
            "%d images, %d steps an epoch, from epoch %d step %d, on %s",
            len(images), sampler.steps, trainer.epoch, trainer.done,
            f"{processes.count} processes ({device.type})" if processes.count > 1 else device.type,
        )  # fmt: skip
    progress = RunProgress(console, schedule.epochs, sampler.steps, shown=processes.main)
    validated = trainer.validation.get("epoch", 0)
    history = History(output, {"train": trainer.epoch, "validation": validated}) if processes.main else None
    with closing(loader), _board(output, processes.main, trainer.epoch) as board, progress:

        def record(kind: str, figures: dict[str, float]) -> None:
            if history is not None:
                history.add(kind, trainer.epoch, figures)
                for name, value in figures.items():
                    if name == "epoch":
                        continue
                    board.add_scalar(f"{kind}/{name}", value, trainer.epoch)
                board.flush()

        while True:
            if config.data.validation and _validation_due(trainer):
                trainer.validate(root)
                record("validation", trainer.validation)
                progress.validation(trainer.validation)
                if trainer.is_best():
                    trainer.save(output / BEST)
                trainer.save(checkpoint)
            if trainer.epoch >= schedule.epochs:
                return checkpoint
            if schedule.patience and trainer.stale >= schedule.patience:
                log.info("no better %s in %d validations: stopped", config.best_metric, trainer.stale)
                return checkpoint
            _train_epoch(trainer, loader, sampler, progress, checkpoint)
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            means = trainer.finish_epoch()
            record("train", {**means, "rate": rate})
            progress.epoch(trainer.epoch, means, rate)
            trainer.save(checkpoint)


def check_files(config: TrainConfig, root: Path) -> None:
    """Raises ConfigError naming all missing files and folders of a recipe."""
    missing = [str(path) for path in missing_paths(root, [*config.data.train, *config.data.validation])]
    if config.model.init:
        try:
            find_start(config.model, root)
        except CheckpointError:
            missing.append(f"model.init {config.model.init}")
    if missing:
        raise ConfigError(f"{config.name} lacks {', '.join(missing)}: set data.root in the config or pass --data")


def _validation_due(trainer: Trainer) -> bool:
    schedule = trainer.config.schedule
    last = trainer.epoch == schedule.epochs
    regular = trainer.epoch > 0 and trainer.done == 0 and trainer.epoch % schedule.validate_every == 0
    return (last or regular) and trainer.validation.get("epoch") != trainer.epoch


def _train_epoch(
    trainer: Trainer, loader: BatchLoader, sampler: EpochSampler, progress: RunProgress, checkpoint: Path
) -> None:
    """Train the rest of the epoch; save periodically and when a signal stops the run."""
    sampler.epoch, sampler.start = trainer.epoch, trainer.done
    progress.begin(trainer.epoch, trainer.done)
    interval = 60 * trainer.config.schedule.checkpoint_minutes
    saved = time.monotonic()
    with on_signals(lambda: setattr(trainer, "stop_requested", True)):
        for _ in trainer.steps(loader):
            rate = max(group["lr"] for group in trainer.optimizer.param_groups)
            progress.step(trainer.epoch, trainer.done, trainer.means(), rate)
            if trainer.stopped or (interval and time.monotonic() - saved > interval):
                trainer.save(checkpoint)
                saved = time.monotonic()
    if trainer.stopped:
        log.info("stopped at epoch %d, step %d: --resume goes on from %s", trainer.epoch, trainer.done, checkpoint)
        raise KeyboardInterrupt


@contextmanager
def _board(output: Path, wanted: bool, epoch: int) -> Iterator[Any]:
    """The TensorBoard log, without entries of a killed run after `epoch`."""
    if not wanted:
        with nullcontext() as nothing:
            yield nothing
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(output / "tensorboard"), purge_step=epoch + 1) as board:
        yield board
