"""Train a classifier, as teacher or noised student: `gaussian-yolo noisy-student train CONFIG`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.task import ClassificationTask, Data
from gaussian_yolo_node.lab.training.loop import CHECKPOINT, train

__all__ = ["CHECKPOINT", "train_classifier"]


def train_classifier(
    config: ClassifierConfig, output: Path, *, data_root: Path | None = None, seed: int | None = None, **options: Any
) -> Path:
    """Train a recipe.

    Args:
        data_root: replaces the recipe's `data.root`.
        seed: replaces the recipe's.
        output, options, return value, errors: see `training.loop.train`.
    """
    if data_root is not None:
        config = replace(config, data=replace(config.data, root=str(data_root)))
    if seed is not None:
        config = config.seeded(seed)
    return train(lambda processes: ClassificationTask(config, Data(config), processes), output, **options)
