"""Random detection calls whose results do not depend on rounding, and the reference results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plugin_kernels import Call
from postprocessing_cases import STRIDES, Options, candidates_of, reference

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.nms import iou_matrix, nms

ANCHORS = [
    np.array(row, np.float32)
    for row in (
        [(116, 90), (156, 198), (240, 180)],
        [(30, 61), (62, 45), (59, 119)],
        [(10, 13), (16, 30), (33, 23)],
    )
]
BACKGROUND = -8.0
KINDS = ("few", "none", "one", "many", "all", "ties", "overlapping", "nan", "infinity")
FAILING = ("nan", "infinity")
SHARE = {"few": 0.02, "none": 0.0, "one": 0.0, "many": 0.3, "nan": 0.02, "infinity": 0.02}

Rng = np.random.Generator
Head = NDArray[np.float64]

# Decisions within these margins may differ between single and double precision.
SCORE_MARGIN = 1e-6
IOU_MARGIN = 3e-8  # times the canvas side in px, which scales the rounding of corners; the smallest boxes have 10 px


@dataclass(frozen=True)
class Shape:
    """Properties of a random call, except for the values of its heads."""

    kind: str
    size: tuple[int, int]
    classes: int
    batch: int
    half: bool
    options: Options


def random_shape(number: int) -> Shape:
    """Alternating kinds, mostly small sizes; one in 20 has the largest canvas."""
    rng = np.random.default_rng(number)
    large = number % 20 == 4
    # The minimum of five draws per side, so that most canvases are small.
    height, width = (608, 608) if large else (32 * rng.integers(3, 20, (5, 2)).min(axis=0)).tolist()
    return Shape(
        kind=KINDS[number % len(KINDS)],
        size=(height, width),
        classes=int(rng.integers(1, 4 if large else 21)),
        batch=1 if large else int(rng.integers(1, 5)),
        half=bool(rng.integers(2)),
        options=Options(
            score_threshold=float(np.float32(rng.choice([0.05, 0.25, 0.4]))),
            iou_threshold=float(np.float32(rng.choice([0.1, 0.3, 0.45, 0.7]))),
            max_candidates=int(rng.choice([1000, 1000, 37, 300, 2500])),
            max_detections=int(rng.choice([300, 300, 1, 20, 1200])),
            variance_vote=bool(rng.integers(2)),
            criterion="confidence" if rng.random() < 0.25 else "gaussian",
        ),
    )


def random_call(shape: Shape, seed: int) -> Call:
    """A call of that shape, redrawn until its results do not depend on rounding."""
    for attempt in range(100):
        call = _draw(shape, np.random.default_rng([seed, attempt]))
        if all(_is_decided(call, image, ties=shape.kind == "ties") for image in range(call.batch)):
            return call
    raise AssertionError(f"{shape} has no draw that rounding does not decide")


def expected(call: Call, image: int) -> Detections:
    """The float64 reference on the heads given to the kernels."""
    return reference(_heads_of(call, image), call.anchors, call.strides, call.options)


def _heads_of(call: Call, image: int) -> list[Head]:
    return [head[image : image + 1].astype(np.float64) for head in call.heads]


def _draw(shape: Shape, rng: Rng) -> Call:
    heads = []
    for stride, anchors in zip(STRIDES, ANCHORS, strict=True):
        rows, columns = shape.size[0] // stride, shape.size[1] // stride
        head = np.zeros((shape.batch, 3, 9 + shape.classes, rows, columns))
        for image in head:
            _fill(image, anchors, shape.kind, rng)
        heads.append(head)
    if shape.kind == "one":
        for image in range(shape.batch):
            _place(heads[rng.integers(3)][image], rng)[8:10] = 3.0
    if shape.kind in FAILING:
        wrong = _place(heads[rng.integers(3)][rng.integers(shape.batch)], rng)
        wrong[rng.integers(len(wrong))] = np.nan if shape.kind == "nan" else rng.choice([np.inf, -np.inf])
    dtype = np.float16 if shape.half else np.float32
    flat = [head.reshape(shape.batch, -1, *head.shape[3:]).astype(dtype) for head in heads]
    return Call(flat, ANCHORS, STRIDES, shape.options)


def _fill(head: Head, anchors: NDArray[np.float32], kind: str, rng: Rng) -> None:
    """Entries [A, 9+C, h, w] of one image."""
    if kind == "ties":
        head[:] = np.array([0.5, -1.0] * 4 + [2.0] + [1.5] * (head.shape[1] - 9))[:, np.newaxis, np.newaxis]
        return
    head[:, 0:4:2] = rng.normal(0, 1.5, head[:, 0:4:2].shape)
    head[:, 4:8:2] = rng.normal(0, 0.4, head[:, 4:8:2].shape)
    head[:, 1:8:2] = rng.normal(-2, 1, head[:, 1:8:2].shape)
    head[:, 8] = rng.normal(2, 1, head[:, 8].shape)
    head[:, 9:] = rng.normal(1, 2, head[:, 9:].shape)
    if kind == "one":
        head[:, 9:] = BACKGROUND
    if kind == "overlapping":
        head[:, 4:8:2] += np.log(600 / anchors)[:, :, np.newaxis, np.newaxis]
        return
    if kind == "all":
        head[:, 8:] = np.abs(head[:, 8:])
    else:
        head[:, 8][rng.random(head[:, 8].shape) >= SHARE[kind]] = BACKGROUND


def _place(head: Head, rng: Rng) -> Head:
    """A writable view of the entries of one cell of [A, 9+C, h, w]."""
    return head[rng.integers(head.shape[0]), :, rng.integers(head.shape[2]), rng.integers(head.shape[3])]


def _is_decided(call: Call, image: int, ties: bool) -> bool:
    """True if float32 makes the same decisions as float64, i.e. no decision is within a margin.

    Args:
        call: the call.
        image: index in the batch.
        ties: equal scores result from equal logits, so they are equal in any precision.
    """
    heads = _heads_of(call, image)
    if not all(np.isfinite(head).all() for head in heads):
        return True
    options = call.options
    everything = candidates_of(heads, call.anchors, call.strides, replace(options, max_candidates=10**9))
    for shift in (-SCORE_MARGIN, SCORE_MARGIN):
        shifted = replace(options, max_candidates=10**9, score_threshold=options.score_threshold + shift)
        if len(candidates_of(heads, call.anchors, call.strides, shifted)) != len(everything):
            return False
    is_near: Callable[[Any], Any] = lambda gap: (np.abs(gap) < SCORE_MARGIN) & ~(ties & (gap == 0))  # noqa: E731
    falling = np.sort(everything.scores)[::-1]
    if is_near(np.diff(falling[options.max_candidates - 1 : options.max_candidates + 1])).any():
        return False
    candidates = candidates_of(heads, call.anchors, call.strides, options)
    if not len(candidates):
        return True
    plain = nms(candidates, options.iou_threshold, len(candidates))
    if is_near(np.diff(plain.scores[options.max_detections - 1 : options.max_detections + 1])).any():
        return False
    iou = iou_matrix(plain.boxes, candidates.boxes)
    rivals = plain.class_ids[:, np.newaxis] == candidates.class_ids
    margin = IOU_MARGIN * max(call.params.input_height, call.params.input_width)
    if (rivals & (np.abs(iou - options.iou_threshold) < margin) & (iou > 0)).any():
        return False
    rivals &= iou > options.iou_threshold
    # The winner itself is the rival with its score and an IoU of 1.
    near = rivals & is_near(plain.scores[:, np.newaxis] - candidates.scores)
    if (near.sum(axis=1) > (0 if ties else 1)).any():
        return False
    if not options.variance_vote:
        return True
    # A box votes for the first box that suppresses it, so no two of its possible winners may have similar scores.
    next_one, voters = np.nonzero(rivals.T)[::-1]
    same_voter = np.diff(voters) == 0
    return not (same_voter & is_near(np.diff(plain.scores[next_one]))).any()


def with_options(call: Call, **changes: Any) -> Call:
    """The call with other options."""
    return replace(call, options=replace(call.options, **changes))
