"""A training run of any task: epochs, validation, checkpoints, history, TensorBoard, progress, signals."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import WriteError
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.progress import History, RunProgress
from gaussian_yolo_node.lab.training.session import Device, on_signals, started
from gaussian_yolo_node.lab.training.task import Means, Task
from gaussian_yolo_node.lab.training.trainer import Trainer

log = logging.getLogger("gaussian_yolo.train")
CHECKPOINT = "last.pt"
BEST = "best.pt"


class RunExistsError(GaussianYoloError):
    """A new run would overwrite another."""


def train(
    make: Callable[[Processes], Task],
    output: Path,
    *,
    resume: bool = False,
    threads: int = 0,
    device: Device = "auto",
    console: Console | None = None,
) -> Path:
    """Train a task; distributed when started by `torchrun`.

    Args:
        make: makes the task of one of the processes.
        output: folder for the checkpoints, the history and the TensorBoard log.
        resume: continue from `output/last.pt`; the result equals that of an uninterrupted run.
        threads: torch threads; 0 for torch's default.
        device: "auto" uses CUDA if available.
        console: for the progress bar, shown on terminals only; default standard error.

    Returns:
        the path of the latest checkpoint, `output/last.pt`; `output/best.pt` is that of the best validation.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: stopped by SIGINT, SIGTERM or SIGHUP; the checkpoint holds the current step.
    """
    refuse_run(output, resume=resume)
    with started(output, device, threads) as (processes, place), closing(make(processes)) as task:
        torch.manual_seed(task.config.schedule.seed)
        trainer = Trainer(task, device=place, processes=processes, output=output)
        if resume:
            trainer.restore(output / CHECKPOINT)
        if processes.main:
            where = f"{processes.count} processes ({place.type})" if processes.count > 1 else place.type
            position = f"from epoch {trainer.epoch} step {trainer.done}"
            log.info("%s, %d steps an epoch, %s, on %s", task, trainer.steps_per_epoch, position, where)
        progress = RunProgress(
            console or Console(stderr=True), trainer.epochs, trainer.steps_per_epoch, shown=processes.main
        )
        with _recorder(output, trainer) as record, progress:
            _run(trainer, output, record, progress)
    return output / CHECKPOINT


def refuse_run(output: Path, *, resume: bool) -> None:
    """Raises RunExistsError if a new run would overwrite the one in `output`; call it before anything is written."""
    there = [name for name in (CHECKPOINT, BEST) if (output / name).exists()]
    if there and not resume:
        raise RunExistsError(
            f"{output} holds a run already ({there[0]}): add --resume to go on, or name another folder"
        )


def _run(trainer: Trainer, output: Path, record: Callable[[str, Means], None], progress: RunProgress) -> None:
    checkpoint, patience = output / CHECKPOINT, trainer.schedule.patience
    while True:
        if trainer.validation_due():
            trainer.validate()
            record("validation", trainer.validation)
            progress.validation(trainer.validation)
            if trainer.is_best():
                trainer.save(output / BEST)
            trainer.save(checkpoint)
        if trainer.epoch >= trainer.epochs:
            return
        if patience and trainer.stale >= patience:
            log.info("no better %s in %d validations: stopped", trainer.task.best_metric, trainer.stale)
            return
        with on_signals(lambda: setattr(trainer, "stop_requested", True)):
            _train_epoch(trainer, progress, checkpoint)
            means = trainer.finish_epoch()
            record("train", {**means, "rate": trainer.rate})
            progress.epoch(trainer.epoch, means, trainer.rate)
            trainer.save(checkpoint)
        if trainer.stop_requested:  # after the epoch's last step
            raise KeyboardInterrupt


def _train_epoch(trainer: Trainer, progress: RunProgress, checkpoint: Path) -> None:
    """Train the rest of the epoch; save periodically and when a signal stops the run."""
    progress.begin(trainer.epoch, trainer.done)
    interval = 60 * trainer.schedule.checkpoint_minutes
    saved = time.monotonic()
    for _ in trainer.steps():
        progress.step(trainer.epoch, trainer.done, trainer.means(), trainer.rate)
        if trainer.stopped or (interval and time.monotonic() - saved > interval):
            trainer.save(checkpoint)
            saved = time.monotonic()
    if trainer.stopped:
        log.info("stopped at epoch %d, step %d: --resume goes on from %s", trainer.epoch, trainer.done, checkpoint)
        raise KeyboardInterrupt


@contextmanager
def _recorder(output: Path, trainer: Trainer) -> Iterator[Callable[[str, Means], None]]:
    """Writes figures to the history and the TensorBoard log, without entries of a killed run after the checkpoint."""
    if not trainer.processes.main:
        yield lambda kind, figures: None
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from torch.utils.tensorboard import SummaryWriter

    history = History(output, {"train": trainer.epoch, "validation": trainer.validation.get("epoch", 0)})
    folder = output / "tensorboard"
    board: Any
    hook = threading.excepthook
    # TensorBoard's thread hands its error to the next call; its traceback is of no use.
    threading.excepthook = lambda end: None if type(end.thread).__module__.startswith("tensorboard") else hook(end)
    with _board_errors(folder):
        board = SummaryWriter(str(folder), purge_step=trainer.epoch + 1)

    def record(kind: str, figures: Means) -> None:
        history.add(kind, trainer.epoch, figures)
        with _board_errors(folder):
            for name, value in figures.items():
                if name != "epoch":
                    board.add_scalar(f"{kind}/{name}", value, trainer.epoch)
            board.flush()

    try:
        yield record
    finally:
        try:
            with _board_errors(folder):
                board.close()
        finally:
            threading.excepthook = hook


@contextmanager
def _board_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the thread that writes for TensorBoard into WriteError."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"{folder} cannot be written: {error.strerror or error}") from error
