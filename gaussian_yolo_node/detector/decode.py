"""Decode the raw heads of Gaussian YOLOv3 into candidates.

Source: Choi et al., "Gaussian YOLOv3", ICCV 2019. Where the paper and its official code differ, this follows the
code.

Almost all anchors are background. So the objectness logit is compared with the logit of the threshold first, and
logistic and exponential are computed for the remaining anchors only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.errors import GaussianYoloError

# Channels per anchor: mu_x s_x mu_y s_y mu_w s_w mu_h s_h objectness, then the classes.
MEANS = slice(0, 8, 2)
SIGMAS = slice(1, 8, 2)
OBJECTNESS = 8
CLASSES = slice(9, None)
BOX_ENTRIES = 9

Criterion = Literal["gaussian", "confidence"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

Floats = NDArray[np.floating[Any]]


class NonFiniteOutputError(GaussianYoloError):
    """The network's output contains NaN or infinity."""


def decode(
    heads: Sequence[Floats],
    anchors: Sequence[NDArray[np.float32]],
    strides: Sequence[int],
    score_threshold: float | NDArray[np.float32],
    max_candidates: int = 1000,
    criterion: Criterion = "gaussian",
) -> Detections:
    """Return one candidate per (anchor, class) pair above the threshold.

    An anchor passes if its objectness is above the threshold. It gives one candidate per class whose score is above
    the threshold. The score is the detection criterion.

    Args:
        heads: raw heads [1, A*(9+C), h, w], float32 or float64; the computation uses the same type.
        anchors: width and height of each head's anchors in canvas px, [A, 2], in the order of `heads`.
        strides: canvas px per cell of each head.
        score_threshold: 0 <= t < 1; or float32 [C], one for each class, where 1 leaves a class out.
        max_candidates: if more pairs pass, those with the best scores are kept; of equal scores, the first.
        criterion: "gaussian" is the paper's `objectness * class * (1 - mean of the four s)`. "confidence" is YOLOv3's
            `objectness * class`, to measure the effect of the uncertainty term.

    Returns:
        Candidates in canvas px, not clipped, in the order of head, anchor, row, column, class.

    Raises:
        NonFiniteOutputError: a head contains NaN or infinity, or a box size overflows.
        ValueError: the shape of a head does not match its anchors.
    """
    objectness_logit = _logit(float(np.min(score_threshold)))
    parts: list[tuple[Floats, Floats]] = []
    for head, head_anchors, stride in zip(heads, anchors, strides, strict=True):
        _check_finite(head, stride)
        parts.append(_survivors(head, head_anchors, stride, objectness_logit))
    raw = np.concatenate([part[0] for part in parts])
    if not len(raw):
        return Detections.empty()
    with np.errstate(over="ignore"):  # exp(-raw) may overflow to infinity; the result 0 is correct
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
    """Anchors whose objectness passes: channels [n, 9+C] and positions [n, 5] (column row stride anchor-w anchor-h)."""
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
    """Boxes [n, 4] and standard deviations [n, 4]: centre x, centre y, width, height in canvas px."""
    stride = places[:, 2:3]
    with np.errstate(over="ignore"):  # checked below
        sizes = np.exp(raw[:, MEANS][:, 2:]) * places[:, 3:]
    if not np.isfinite(sizes).all():
        raise NonFiniteOutputError("the network gives boxes of infinite size: it is untrained or damaged")
    centres = (places[:, :2] + activated[:, MEANS][:, :2]) * stride
    # Delta method: the standard deviation of t times the derivative of the pixel coordinate with respect to t.
    per_unit = np.concatenate([np.broadcast_to(stride, centres.shape), sizes], axis=1)
    return np.concatenate([centres, sizes], axis=1), activated[:, SIGMAS] * per_unit


def _check_finite(head: Floats, stride: int) -> None:
    # The sum is finite only if all terms are, and costs one fast pass. Only a non-finite sum needs the slow check.
    with np.errstate(over="ignore", invalid="ignore"):
        total = head.sum()
    if np.isfinite(total):
        return
    wrong = head.size - int(np.isfinite(head).sum())
    if wrong:
        raise NonFiniteOutputError(
            f"the head of stride {stride} holds {wrong} NaN or infinite values of {head.size}: export the model again "
            "from a sound checkpoint"
        )


def _best(scores: Floats, count: int) -> NDArray[np.intp]:
    """Indices of the `count` best scores in ascending order of index; of equal scores, the first."""
    last = np.partition(scores, len(scores) - count)[len(scores) - count]
    above = np.flatnonzero(scores > last)
    equal = np.flatnonzero(scores == last)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _logit(probability: float) -> float:
    if not 0 <= probability < 1:
        raise ValueError(f"score_threshold is {probability}; it must be at least 0 and below 1")
    return math.log(probability / (1 - probability)) if probability else -math.inf
