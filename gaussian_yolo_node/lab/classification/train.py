"""Train a classifier, as teacher or noised student: `gaussian-yolo noisy-student train CONFIG`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.task import ClassificationTask, Data
from gaussian_yolo_node.lab.training.loop import CHECKPOINT, train

__all__ = ["CHECKPOINT", "train_classifier"]


def train_classifier(config: ClassifierConfig, output: Path, *, data_root: Path | None = None, **options: Any) -> Path:
    """Train a recipe.

    Args:
        data_root: replaces the recipe's `data.root`.
        output, options, return value, errors: see `training.loop.train`.
    """
    return train(lambda processes: ClassificationTask(config, Data(config, data_root), processes), output, **options)
