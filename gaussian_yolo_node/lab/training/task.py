"""What the training loop asks of a task; detection and classification are the two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaussian_yolo_node.lab.training.config import Recipe

Means = dict[str, float]


class Task(ABC):
    """A network to train, its batches, loss and validation; `str` of it says what the training data are.

    Attributes:
        config: the recipe.
        steps_per_epoch: optimiser steps.
        best_metric: validation figure that selects the best checkpoint.
        validates: whether there are validation data.
        accumulate: batches per step.
        autocast: half precision in the network.
    """

    config: Recipe
    steps_per_epoch: int
    best_metric: str
    validates: bool
    accumulate: int = 1
    autocast: bool = False

    @abstractmethod
    def network(self, device: torch.device) -> nn.Module:
        """The network with its initial weights, to be moved to `device`."""

    @abstractmethod
    def batches(self, epoch: int, start: int, end: int) -> Iterable[Any]:
        """The batches of the steps `start` to `end`, exclusive, of an epoch: named tuples for checkpoints."""

    @abstractmethod
    def inputs(self, batch: Any, device: torch.device) -> Tensor:
        """The network's input for a batch."""

    @abstractmethod
    def losses(self, outputs: Any, batch: Any) -> tuple[Tensor, Tensor]:
        """The total loss, a sum over the batch, and a vector of sums for `divisor` and `means`."""

    @abstractmethod
    def divisor(self, sums: Sequence[float]) -> float:
        """Divisor of the gradient, from the sums over all parts and processes."""

    @abstractmethod
    def means(self, sums: Sequence[float]) -> Means:
        """Mean losses by name, from the sums over all parts and processes."""

    @abstractmethod
    def validate(self, weights: Mapping[str, Tensor], device: torch.device) -> Means:
        """Validation figures of the averaged weights."""

    @abstractmethod
    def close(self) -> None:
        """End the workers."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of the task besides the recipe."""
        return {}

    def accept(self, document: dict[str, Any], path: Path) -> dict[str, Any]:
        """The contents of the checkpoint `path` in today's format. Raises CheckpointError for another task's."""
        return document
