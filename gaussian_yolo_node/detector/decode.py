"""Raw heads of Gaussian YOLOv3 to candidates.

Choi et al., "Gaussian YOLOv3", ICCV 2019; where the paper and its official code differ, this follows the
code.

Almost all anchors are background, so the objectness logit is compared with the logit of the threshold first,
and only survivors are gathered and pass through logistic and exponential.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.errors import GaussianYoloError

# Entries of one anchor: mu_x s_x mu_y s_y mu_w s_w mu_h s_h objectness, then the classes.
MEANS = slice(0, 8, 2)
SIGMAS = slice(1, 8, 2)
OBJECTNESS = 8
CLASSES = slice(9, None)
BOX_ENTRIES = 9

Criterion = Literal["gaussian", "confidence"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

Floats = NDArray[np.floating[Any]]


class NonFiniteOutputError(GaussianYoloError):
    """The network gave NaN or infinity."""


def decode(
    heads: Sequence[Floats],
    anchors: Sequence[NDArray[np.float32]],
    strides: Sequence[int],
    score_threshold: float,
    max_candidates: int = 1000,
    criterion: Criterion = "gaussian",
) -> Detections:
    """Find every (cell, class) pair above the threshold.

    A cell is a candidate if its objectness is above the threshold, and counts for each class whose score is. The score
    is the detection criterion.

    Args:
        heads: raw heads [1, A*(9+C), h, w], float32, or float64 to compute in that.
        anchors: width and height of each head's anchors in canvas px, [A, 2], in the order of `heads`.
        strides: canvas px per cell of each head.
        score_threshold: 0 <= t < 1.
        max_candidates: if more pairs pass, those with the best scores are kept; of equal ones, the first.
        criterion: "gaussian" is the paper's `objectness * class * (1 - mean of the four s)`; "confidence" is YOLOv3's
            `objectness * class`, to see what the uncertainty term is worth.

    Returns:
        Candidates in canvas px, not clipped, in the order of head, anchor, row, column, class.

    Raises:
        NonFiniteOutputError: a head holds NaN or infinity, or a box is too large for a float.
        ValueError: a head's shape does not fit its anchors.
    """
    objectness_logit = _logit(score_threshold)
    parts: list[tuple[Floats, Floats]] = []
    for head, head_anchors, stride in zip(heads, anchors, strides, strict=True):
        _check_finite(head, stride)
        parts.append(_survivors(head, head_anchors, stride, objectness_logit))
    raw = np.concatenate([part[0] for part in parts])
    if not len(raw):
        return Detections.empty()
    with np.errstate(over="ignore"):  # exp(-raw) may overflow to infinity, which rightly gives 0
        activated = 1 / (1 + np.exp(-raw))
    certainty = activated[:, OBJECTNESS]
    if criterion == "gaussian":
        certainty = certainty * (1 - activated[:, SIGMAS].mean(axis=1))
    by_class = activated[:, CLASSES] * certainty[:, np.newaxis]
    rows, class_ids = np.nonzero(by_class > score_threshold)
    scores = by_class[rows, class_ids]
    if len(scores) > max_candidates:
        best = _best(scores, max_candidates)
        rows, class_ids, scores = rows[best], class_ids[best], scores[best]
    places = np.concatenate([part[1] for part in parts])[rows]
    boxes, sigmas = _boxes(raw[rows], activated[rows], places)
    return Detections(
        centres_to_corners(boxes).astype(np.float32),
        scores.astype(np.float32),
        class_ids.astype(np.int32),
        sigmas.astype(np.float32),
    )


def _survivors(
    head: Floats, anchors: NDArray[np.float32], stride: int, objectness_logit: float
) -> tuple[Floats, Floats]:
    """Of the anchors whose objectness passes: entries [n, 9+C], places [n, 5] (col row stride anchor w h)."""
    _, channels, height, width = head.shape
    if channels % len(anchors) or channels // len(anchors) <= BOX_ENTRIES:
        raise ValueError(f"a head of {channels} channels does not hold {len(anchors)} anchors of 9 + classes entries")
    by_anchor = head.reshape(len(anchors), channels // len(anchors), height * width)
    anchor, cell = np.divmod(np.flatnonzero(by_anchor[:, OBJECTNESS] > objectness_logit), height * width)
    places = np.empty((len(cell), 5), head.dtype)
    places[:, 1], places[:, 0] = np.divmod(cell, width)
    places[:, 2] = stride
    places[:, 3:] = anchors[anchor]
    return by_anchor[anchor, :, cell], places


def _boxes(raw: Floats, activated: Floats, places: Floats) -> tuple[Floats, Floats]:
    """Boxes and standard deviations [n, 4] of centre x, centre y, width, height in canvas px."""
    stride = places[:, 2:3]
    with np.errstate(over="ignore"):  # looked for below
        sizes = np.exp(raw[:, MEANS][:, 2:]) * places[:, 3:]
    if not np.isfinite(sizes).all():
        raise NonFiniteOutputError(
            "the network gives boxes of infinite size; train it further, or run it in precision fp32"
        )
    centres = (places[:, :2] + activated[:, MEANS][:, :2]) * stride
    # Delta method: a standard deviation of t times the derivative of the pixel coordinate by t.
    per_unit = np.concatenate([np.broadcast_to(stride, centres.shape), sizes], axis=1)
    return np.concatenate([centres, sizes], axis=1), activated[:, SIGMAS] * per_unit


def _check_finite(head: Floats, stride: int) -> None:
    # A sum is finite only if all its terms are, and takes one quick pass; the slow look is for the sum that
    # is not.
    with np.errstate(over="ignore", invalid="ignore"):
        total = head.sum()
    if np.isfinite(total):
        return
    wrong = head.size - int(np.isfinite(head).sum())
    if wrong:
        raise NonFiniteOutputError(
            f"the head of stride {stride} holds {wrong} NaN or infinite values of {head.size}; run the model "
            "in precision fp32, or export it again from a sound checkpoint"
        )


def _best(scores: Floats, count: int) -> NDArray[np.intp]:
    """Indices of the `count` best scores in rising order; of equal scores, the first."""
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > last)
    equal = np.flatnonzero(scores == last)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _logit(probability: float) -> float:
    if not 0 <= probability < 1:
        raise ValueError(f"score_threshold is {probability}; it must be at least 0 and below 1")
    return math.log(probability / (1 - probability)) if probability else -math.inf
