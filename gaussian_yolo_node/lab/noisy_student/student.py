"""Noisy Student for classifiers and, with sigmas, for detectors (Xie et al., CVPR 2020).

Each step can be run alone: `labelling` (a teacher without noise labels unlabelled images), `select` (select labels for
the student), `train` (train the student with noise); `iterate` chains them with a manifest. See docs/paper_facts.md,
section 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.lab.noisy_student.iterate import steps_of
from gaussian_yolo_node.lab.noisy_student.tables import read_labels
from gaussian_yolo_node.lab.training.config import ConfigError


def select(labels: Path, output: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Select labels for a student from a folder of labels; returns counts.

    Args:
        labels: folder written by `label`.
        output: JSON file, a source for training.
        options: of `select_boxes.BoxRules` for detections, of `select_classes.select_classification` for classes.

    Raises:
        GaussianYoloError: one sentence naming the labels or options that cannot be used.
    """
    return dict(steps_of(read_labels(labels).kind, None).select(labels, output, options))


def train(recipe: Path, output: Path, **options: Any) -> Path:
    """Train the student of a recipe; `kind: classification` marks a classifier's, a detector's recipe has no kind.

    Args:
        options: see `training.train.run`.

    Returns:
        the latest checkpoint.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: `resume` continues.
    """
    document = read_yaml(recipe, "recipe", ConfigError)
    kind = document.get("kind", "detection") if isinstance(document, dict) else "detection"
    if kind == "classification":
        from gaussian_yolo_node.lab.classification.config import ClassifierConfig
        from gaussian_yolo_node.lab.classification.train import train_classifier

        return train_classifier(ClassifierConfig.load(recipe), output, **options)
    if kind != "detection":
        raise ConfigError(f"{recipe}: kind must be classification or detection, not {kind!r}")
    from gaussian_yolo_node.lab.training.train import run

    return run(recipe, output, **options)
