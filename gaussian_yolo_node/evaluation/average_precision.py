"""Average precision of one class, from the scores of its detections and which of them are correct.

Three interpolations are in use: all points of the curve (VOC since 2010, BDD100K), 11 recalls (VOC 2007, and KITTI
until 2019), 40 recalls (KITTI since; Simonelli et al., "Disentangling Monocular 3D Object Detection", ICCV 2019). In
each, the precision at a recall is the best at that recall or a higher one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.matching import Floats

ALL = "all"  # the one difficulty of protocols without difficulty levels


@dataclass(frozen=True, eq=False)
class PrecisionRecall:
    """Precision and recall as the score threshold falls past each detection in turn.

    Attributes:
        scores: [N], falling.
        precision, recall: [N], 0..1; recall does not fall.
        truths: number of objects. With none, recall and average precision are NaN.
    """

    scores: Floats
    precision: Floats
    recall: Floats
    truths: int

    @classmethod
    def of(cls, scores: Floats, correct: NDArray[np.bool_], truths: int) -> PrecisionRecall:
        """Curve of N detections.

        Args:
            scores: [N]; equal scores keep their order.
            correct: [N], whether a detection matches an object that no earlier detection matched.
            truths: number of objects, >= `correct.sum()`.
        """
        order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
        matches = np.cumsum(np.asarray(correct, bool)[order], dtype=np.float64)
        recall = matches / truths if truths else np.full(matches.shape, np.nan)
        precision = matches / np.arange(1, len(order) + 1)
        return cls(np.asarray(scores, np.float64)[order], precision, recall, truths)


@dataclass(frozen=True, eq=False)
class ClassCurve:
    """One class at one IoU, and at one difficulty if the protocol has difficulties.

    Attributes:
        iou: IoU threshold of a detection with its object.
        difficulty: "easy", "moderate", "hard", or "all".
        truths: number of objects that count.
        detections: number of detections of the class that count.
        ignored: number of detections that do not count, if the protocol reports it.
        ap: AP as the protocol defines it, 0..1; NaN without truths.
        interpolations: AP of the same curve by other interpolations, by name.
    """

    name: str
    iou: float
    difficulty: str
    truths: int
    detections: int
    ignored: int
    ap: float
    interpolations: Mapping[str, float]
    curve: PrecisionRecall | None

    @classmethod
    def of(cls, name: str, iou: float, curve: PrecisionRecall, ignored: int) -> ClassCurve:
        """A curve without difficulties, with AP over all of its points."""
        area = all_point_ap(curve)
        ways = {"all_point": area, "eleven_point": eleven_point_ap(curve), "forty_point": forty_point_ap(curve)}
        return cls(name, iou, ALL, curve.truths, len(curve.scores), ignored, area, ways, curve)


def all_point_ap(curve: PrecisionRecall) -> float:
    """Area under the interpolated curve; 0 without detections."""
    if not curve.truths:
        return math.nan
    steps = np.diff(curve.recall, prepend=0.0)
    return float(np.sum(steps * _envelope(curve.precision)))


def eleven_point_ap(curve: PrecisionRecall) -> float:
    """Mean interpolated precision at recalls 0, 0.1 .. 1."""
    return _mean_precision_at(curve, np.arange(11) / 10)


def forty_point_ap(curve: PrecisionRecall) -> float:
    """Mean interpolated precision at recalls 1/40, 2/40 .. 1."""
    return _mean_precision_at(curve, np.arange(1, 41) / 40)


def mean_ap(values: Iterable[float]) -> float:
    """Mean over the classes with truths; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def finite(value: float) -> float | None:
    """None for NaN, which JSON lacks."""
    return None if math.isnan(value) else value


def _mean_precision_at(curve: PrecisionRecall, recalls: Floats) -> float:
    if not curve.truths:
        return math.nan
    reached = np.searchsorted(curve.recall, recalls, side="left")
    envelope = np.append(_envelope(curve.precision), 0.0)  # precision is 0 at recalls never reached
    return float(envelope[reached].mean())


def _envelope(precision: Floats) -> Floats:
    """Best precision at each point of the curve or any later one."""
    return np.maximum.accumulate(precision[::-1])[::-1]
