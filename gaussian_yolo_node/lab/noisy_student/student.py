"""Noisy Student (Xie et al., CVPR 2020; SPEC section 4), for classifiers and, with sigmas, for detectors.

The steps can each be run alone: `label` (a teacher, not noised, labels what nobody has), `select` (which of its labels
a student learns from), `train` (the student, under noise), and `iterate`, the chain of them with a manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from gaussian_yolo_node.lab.noisy_student.chain_config import TrainOptions
from gaussian_yolo_node.lab.noisy_student.iterate import Student, iterate
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.tables import read_labels
from gaussian_yolo_node.lab.training.config import ConfigError, mapping_of, read_yaml

__all__ = ["Student", "TrainOptions", "iterate", "label", "select", "train"]


def select(labels: Path, output: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a student is to learn from a folder of labels; counts.

    Args:
        labels: folder that `label` wrote.
        output: JSON file, a source for training.
        options: of `select_boxes.BoxRules` for detections, of `select_classes.select_classification` for classes.

    Raises:
        GaussianYoloError: labels or options cannot be used; one sentence that names which.
    """
    if read_labels(labels).kind == "classification":
        from gaussian_yolo_node.lab.noisy_student.classifier_steps import select_probabilities

        return dict(select_probabilities(labels, output, options))
    from gaussian_yolo_node.lab.noisy_student.detector_steps import rules_of, select_detections

    return select_detections(labels, output, rules_of(options))


def train(recipe: Path, output: Path, options: TrainOptions, *, console: Console | None = None) -> Path:
    """Train the student of a recipe: a classifier's says `kind: classification` at its top, a detector's has no kind.

    Returns:
        the latest checkpoint.

    Raises:
        GaussianYoloError: one sentence that names what is wrong.
        KeyboardInterrupt: `resume` goes on.
    """
    document = mapping_of(read_yaml(recipe, "recipe"), str(recipe), "the document")
    kind = document.get("kind", "detection")
    if kind == "classification":
        from gaussian_yolo_node.lab.noisy_student.classifier_steps import train_student

        return train_student(recipe, output, options, console)
    if kind != "detection":
        raise ConfigError(f"{recipe}: kind must be classification or detection, not {kind!r}")
    from gaussian_yolo_node.lab.training.train import run

    return run(
        recipe,
        output,
        resume=options.resume,
        data_root=options.data,
        threads=options.threads,
        device=options.device,
        seed=options.seed,
        console=console,
    )
