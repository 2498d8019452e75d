"""Devices, processes and signals of a run, for detectors and classifiers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Literal

import torch

from gaussian_yolo_node.lab.threads import use_threads
from gaussian_yolo_node.lab.training.config import ConfigError
from gaussian_yolo_node.lab.training.distributed import Processes, join
from gaussian_yolo_node.processes import note_signal, on_end_signals, restore

Device = Literal["auto", "cpu", "cuda"]


@contextmanager
def started(output: Path, device: Device, threads: int) -> Iterator[tuple[Processes, torch.device]]:
    """Create the output folder; yields the processes of the run and the device of this one.

    Args:
        device: "auto" uses CUDA if available.
        threads: torch threads; 0 for torch's default.

    Raises:
        ConfigError: the device is not available, or the folder cannot be created.
    """
    use_threads(threads)
    kind = device_kind(device)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"output folder {output} cannot be made: {error.strerror}") from error
    with join(kind) as processes:
        if kind == "cuda":
            if processes.local_rank >= torch.cuda.device_count():
                raise ConfigError(
                    f"process {processes.rank} has no GPU of its own, there are {torch.cuda.device_count()}: "
                    "give torchrun that many as --nproc-per-node, or train with --device cpu"
                )
            torch.cuda.set_device(processes.local_rank)
        yield processes, torch.device(kind, processes.local_rank) if kind == "cuda" else torch.device(kind)


def device_kind(device: Device) -> str:
    """ "cpu" or "cuda". Raises ConfigError if CUDA is requested but not available."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no CUDA device; use cpu, or install a CUDA build of torch")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


@contextmanager
def on_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` on the first signal that ends a program; a second one has its previous effect."""

    def handle(number: int, frame: FrameType | None) -> None:
        restore(before)
        note_signal(number)
        stop()

    with on_end_signals(handle) as before:
        yield
