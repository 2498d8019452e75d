"""Select and weight a teacher's detections for a student (docs/paper_facts.md, section 4, applied to detection).

A detection becomes a pseudo label if its score *and* its sigmas are good enough. A detection that is uncertain by
either becomes an ignore region, neither object nor background. Each coordinate of a pseudo label is weighted by
1 / sigma^2, so an uncertain edge contributes little to the loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.uncertainty import relative_sigmas
from gaussian_yolo_node.lab.noisy_student.balance import balance
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.settings import Count, Probability, bounds, check

Weights = Literal["sigma", "none"]


class SelectionError(GaussianYoloError):
    """Selection failed; the message names the option or the file."""


@dataclass(frozen=True)
class BoxRules:
    """Rules for pseudo labels.

    Attributes:
        positive: minimum score of a pseudo label.
        ignore: minimum score of an ignore region; a detection below it is background.
        max_sigma: maximum relative sigma of a pseudo label, see `relative_sigmas`; a detection above it is an ignore
            region. Infinity disables the filter.
        weights: "sigma" weights coordinates by 1 / sigma^2, "none" weights all equally.
        least_weight: minimum weight of a coordinate.
        per_class: target number of images per class, reached by dropping the least and repeating the most confident
            ones; None does not balance.
        keep_empty: keep images without pseudo labels as background examples.
    """

    positive: Probability = 0.5
    ignore: Probability = 0.1
    max_sigma: Annotated[float, bounds(above=0, most=math.inf)] = math.inf
    weights: Weights = "sigma"
    least_weight: Probability = 0.05
    per_class: Count | None = None
    keep_empty: bool = False

    def __post_init__(self) -> None:
        """Raises SelectionError for the first invalid rule."""
        check(self, SelectionError)
        if self.ignore > self.positive:
            raise SelectionError(f"ignore, {self.ignore:g}, is above positive, {self.positive:g}: exchange them")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a disabled filter is null."""
        values = asdict(self)
        return {**values, "max_sigma": None if math.isinf(self.max_sigma) else self.max_sigma}


@dataclass(frozen=True, eq=False)
class PseudoLabels:
    """The selection for one image: boxes `[M,4]`, class names, weights of their coordinates `[M,4]`, ignore-region
    flags `[M]`, and the number of repetitions in training (0: left out)."""

    boxes: NDArray[np.float32]
    classes: tuple[str, ...]
    weights: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    copies: int

    def to_dict(self, path: str) -> dict[str, Any]:
        """The record of `labels.pseudo`."""
        return {
            "path": path,
            "copies": self.copies,
            "boxes": [[round(float(value), 3) for value in box] for box in self.boxes],
            "classes": list(self.classes),
            "weights": [[round(float(value), 4) for value in row] for row in self.weights],
            "ignored": self.ignored.tolist(),
        }


def select_boxes(images: Sequence[FramePredictions], rules: BoxRules) -> list[PseudoLabels]:
    """Pseudo labels of each image, in the order of `images`; images with `copies` 0 are left out of training.

    The weight of a coordinate is `(median / sigma)^2`, at most 1. Sigma is relative to the box, and the median is taken
    over this coordinate of all pseudo labels. So half of them count in full, like a human label.
    """
    relative = [
        relative_sigmas(of.boxes.astype(np.float64), of.sigmas.astype(np.float64))
        for of in (predicted.detections for predicted in images)
    ]
    positives = [
        np.asarray((predicted.detections.scores >= rules.positive) & (rows <= rules.max_sigma).all(axis=1))
        for predicted, rows in zip(images, relative, strict=True)
    ]
    kept = [rows[mask] for rows, mask in zip(relative, positives, strict=True)]
    pooled = np.concatenate(kept) if kept else np.zeros((0, 4))
    medians = np.median(pooled, axis=0) if len(pooled) else np.ones(4)
    copies = _copies(images, positives, rules)
    return [
        _labels(predicted, mask, rows, medians, rules, count)
        for predicted, mask, rows, count in zip(images, positives, relative, copies, strict=True)
    ]


def _labels(
    predicted: FramePredictions,
    positive: NDArray[np.bool_],
    relative: NDArray[np.float64],
    medians: NDArray[np.float64],
    rules: BoxRules,
    copies: int,
) -> PseudoLabels:
    shown = positive | (predicted.detections.scores >= rules.ignore)
    weights = np.ones_like(relative)
    if rules.weights == "sigma":
        weights = np.clip(np.square(medians / np.maximum(relative, 1e-9)), rules.least_weight, 1.0)
        weights[~positive] = 1.0
    return PseudoLabels(
        predicted.detections.boxes[shown],
        tuple(predicted.class_names[shown].tolist()),
        weights[shown].astype(np.float32),
        ~positive[shown],
        copies,
    )


def _copies(images: Sequence[FramePredictions], positives: Sequence[NDArray[np.bool_]], rules: BoxRules) -> list[int]:
    """Repetitions of each image: the maximum over its classes."""
    best = [_best_scores(predicted, mask) for predicted, mask in zip(images, positives, strict=True)]
    empty = int(rules.keep_empty)
    if rules.per_class is None:
        return [1 if scores else empty for scores in best]
    names = sorted({name for scores in best for name in scores})
    pairs = [(index, names.index(name), score) for index, scores in enumerate(best) for name, score in scores.items()]
    counts = balance(
        np.array([class_id for _, class_id, _ in pairs], np.int64),
        np.array([score for _, _, score in pairs], np.float64),
        rules.per_class,
        len(names),
    )
    copies = [0 if scores else empty for scores in best]
    for (index, _, _), count in zip(pairs, counts, strict=True):
        copies[index] = max(copies[index], int(count))
    return copies


def _best_scores(predicted: FramePredictions, positive: NDArray[np.bool_]) -> dict[str, float]:
    """Class -> best score of its pseudo labels on the image."""
    best: dict[str, float] = {}
    for name, score, wanted in zip(predicted.class_names.tolist(), predicted.detections.scores, positive, strict=True):
        if wanted:
            best[name] = max(best.get(name, 0.0), float(score))
    return best
