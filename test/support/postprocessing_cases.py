"""Post-processing as a table of cases; every implementation (numpy, GPU kernels) is tested on the same rows.

A case plants cells in background heads and lists the resulting (cell, class) pairs, best first. Logits are chosen so
that equality holds in any precision: objectness 0 is 0.5, s of -200 is 0, a class of 40 is 1, and sizes equal the
anchors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from factories import BACKGROUND_LOGIT, STRIDES
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.nms import nms

CANVAS = (64, 96)
CLASSES = 3
_ANCHORS = ((8.0, 8.0), (24.0, 8.0), (160.0, 160.0))
ANCHOR_SIZES = [np.array(_ANCHORS, np.float32)] * len(STRIDES)
CERTAIN = -200.0
SURE = 40.0


@dataclass(frozen=True)
class Options:
    """Parameters of post-processing, as in `decode` and `nms`."""

    score_threshold: float = 0.25
    iou_threshold: float = 0.5
    max_candidates: int = 1000
    max_detections: int = 300
    variance_vote: bool = False
    criterion: Literal["gaussian", "confidence"] = "gaussian"


@dataclass(frozen=True)
class Cell:
    """One anchor of one cell of the stride 8 head, 8 rows and 12 columns of 8 px.

    Attributes:
        row, column: of the cell, whose centre is the box's.
        size: width and height in px.
        objectness: logit.
        classes: logits by class; the others are background.
        s: logits of s of x, y, w, h.
        anchor: index among the three.
    """

    row: int
    column: int
    size: tuple[float, float] = (8.0, 8.0)
    objectness: float = 2.0
    classes: tuple[tuple[int, float], ...] = ((0, SURE),)
    s: tuple[float, float, float, float] = (CERTAIN,) * 4
    anchor: int = 0

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x1 y1 x2 y2 in px."""
        x, y = 8 * self.column + 4, 8 * self.row + 4
        return x - self.size[0] / 2, y - self.size[1] / 2, x + self.size[0] / 2, y + self.size[1] / 2


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        name: the tested behaviour.
        cells: planted cells.
        expected: (index of the cell, class) of each detection, in order; None if the output must be rejected.
        options: parameters.
        voted: for variance voting: the box and the sigma of the centre x of each detection, in px.
    """

    name: str
    cells: tuple[Cell, ...]
    expected: tuple[tuple[int, int], ...] | None
    options: Options = Options()
    voted: tuple[tuple[tuple[float, float, float, float], float], ...] | None = None


def _vote() -> tuple[tuple[float, float, float, float], float]:
    """Hand-worked vote of two boxes of 24x8 px, 8 px apart, IoU 0.5, s of 0.5 and 1/(1+e), in centre x and sizes."""
    first, second = 0.5, 1 / (1 + math.e)
    weight = math.exp(-(0.5**2) / 0.05) * (first / second) ** 2
    x = 20 + 8 * weight / (1 + weight)
    return (x - 12, 0.0, x + 12, 8.0), first * 8 / math.sqrt(1 + weight)


_SURE_TWICE = ((0, SURE), (2, SURE))
_WIDE = (24.0, 8.0)
_FIRST, _SHIFTED = Cell(0, 2, _WIDE, anchor=1), Cell(0, 3, _WIDE, 1.0, anchor=1)  # IoU 0.5
_ROW = tuple(Cell(1, column, _WIDE, 2.0 - column / 8, anchor=1) for column in range(1, 6))

CASES = (
    Case("nothing", (), ()),
    Case("one", (Cell(3, 4),), ((0, 0),)),
    Case("best first", (Cell(3, 4, objectness=1), Cell(3, 8, objectness=2)), ((1, 0), (0, 0))),
    Case("of ties, the first cell", (Cell(3, 4), Cell(3, 8), Cell(1, 8)), ((2, 0), (0, 0), (1, 0))),
    Case("of ties, the first anchor", (Cell(1, 4, _WIDE, anchor=1), Cell(3, 8)), ((1, 0), (0, 0))),
    Case(
        "of ties in one place, the first anchor stays",
        (Cell(1, 4, _WIDE, anchor=1), Cell(1, 4)),  # IoU 1/3
        ((1, 0),),
        Options(iou_threshold=0.3),
    ),
    Case(
        "several classes of a box, which do not suppress each other",
        (Cell(3, 4, classes=_SURE_TWICE),),
        ((0, 0), (0, 2)),
    ),
    Case(
        "several classes, the better first",
        (Cell(3, 4, classes=((0, 0.5), (1, 1.5))),),
        ((0, 1), (0, 0)),
    ),
    Case("objectness of the threshold is not above it", (Cell(3, 4, objectness=0),), (), Options(score_threshold=0.5)),
    Case(
        "objectness just above the threshold",
        (Cell(3, 4, objectness=0.002),),
        ((0, 0),),
        Options(score_threshold=0.5),
    ),
    Case(
        "a score of the threshold is not above it",
        (Cell(3, 4, objectness=0, classes=((0, 0.0),)),),
        (),
        Options(score_threshold=0.25),
    ),
    Case(
        "a score just above the threshold",
        (Cell(3, 4, objectness=0, classes=((0, 0.004),)),),
        ((0, 0),),
        Options(score_threshold=0.25),
    ),
    Case("uncertainty counts against the score", (Cell(3, 4, s=(0.0,) * 4),), (), Options(score_threshold=0.45)),
    Case(
        "the criterion confidence leaves uncertainty out",
        (Cell(3, 4, s=(0.0,) * 4),),
        ((0, 0),),
        Options(score_threshold=0.45, criterion="confidence"),
    ),
    Case(
        "the criterion gaussian prefers the certain",
        (Cell(3, 4, objectness=2.5, s=(0.0,) * 4), Cell(3, 8)),
        ((1, 0), (0, 0)),
    ),
    Case(
        "the criterion confidence prefers the confident",
        (Cell(3, 4, objectness=2.5, s=(0.0,) * 4), Cell(3, 8)),
        ((0, 0), (1, 0)),
        Options(criterion="confidence"),
    ),
    Case("an IoU of the threshold is not above it", (_FIRST, _SHIFTED), ((0, 0), (1, 0)), Options(iou_threshold=0.5)),
    Case("an IoU above the threshold", (_FIRST, _SHIFTED), ((0, 0),), Options(iou_threshold=0.49)),
    Case(
        "overlap of different classes",
        (_FIRST, replace(_SHIFTED, classes=((1, SURE),))),
        ((0, 0), (1, 1)),
        Options(iou_threshold=0.1),
    ),
    Case("what is suppressed suppresses nothing", _ROW, ((0, 0), (2, 0), (4, 0)), Options(iou_threshold=0.45)),
    Case("at most so many detections, the best", _ROW, ((0, 0), (2, 0)), Options(iou_threshold=0.45, max_detections=2)),
    Case("at most one detection", _ROW, ((0, 0),), Options(iou_threshold=0.45, max_detections=1)),
    Case(
        "at most so many candidates, the best",
        _ROW,
        ((0, 0), (2, 0)),
        Options(iou_threshold=0.45, max_candidates=4),
    ),
    Case(
        "at most so many candidates, of ties the first",
        tuple(Cell(2, column) for column in (7, 1, 5, 3)),
        ((1, 0), (3, 0)),
        Options(max_candidates=2),
    ),
    Case(
        "at most so many candidates, counting classes",
        (Cell(2, 3, classes=_SURE_TWICE), Cell(2, 7, classes=_SURE_TWICE)),
        ((0, 0), (0, 2), (1, 0)),
        Options(max_candidates=3),
    ),
    Case("boxes without area", (Cell(2, 2, (0.0, 8.0)), Cell(2, 2, (0.0, 0.0), anchor=1)), ((0, 0), (1, 0))),
    Case(
        "boxes without area with a vote",
        (Cell(2, 2, (0.0, 8.0), s=(0.0,) * 4), Cell(2, 2, (0.0, 0.0), s=(0.0,) * 4, anchor=1)),
        ((0, 0), (1, 0)),
        Options(variance_vote=True),
        voted=(((20.0, 16.0, 20.0, 24.0), 4.0), ((20.0, 20.0, 20.0, 20.0), 4.0)),
    ),
    Case("boxes that reach over the canvas are not clipped", (Cell(0, 0, (160.0, 160.0), anchor=2),), ((0, 0),)),
    Case("boxes of infinite size", (Cell(2, 2, (math.inf, 8.0)),), None),
    Case(
        "of what is not a candidate, the size does not matter",
        (Cell(2, 2, (math.inf, 8.0), objectness=1.0), Cell(4, 4)),
        ((1, 0),),
        Options(max_candidates=1),
    ),
    Case(
        "two boxes vote",
        (replace(_FIRST, s=(0.0,) * 4), replace(_SHIFTED, s=(-1.0,) * 4, objectness=0.25)),
        ((0, 0),),
        Options(iou_threshold=0.4, variance_vote=True),
        voted=(_vote(),),
    ),
    Case(
        "without uncertainty, one box has nothing to vote",
        (_FIRST,),
        ((0, 0),),
        Options(variance_vote=True),
        voted=((_FIRST.box, 0.0),),
    ),
)


def heads_of(cells: Sequence[Cell], dtype: Any = np.float32) -> list[NDArray[Any]]:
    """Raw heads [1, A*(9+C), h, w] in the order of `STRIDES`: background except for the cells."""
    heads = []
    for stride in STRIDES:
        head = np.zeros((3, 9 + CLASSES, CANVAS[0] // stride, CANVAS[1] // stride), dtype)
        head[:, 8:] = BACKGROUND_LOGIT
        heads.append(head)
    for cell in cells:
        entries = heads[-1][cell.anchor, :, cell.row, cell.column]
        anchor = _ANCHORS[cell.anchor]
        entries[4], entries[6] = (_log_ratio(side, of) for side, of in zip(cell.size, anchor, strict=True))
        entries[1:8:2] = cell.s
        entries[8] = cell.objectness
        for class_id, logit in cell.classes:
            entries[9 + class_id] = logit
    return [head.reshape(1, -1, *head.shape[2:]) for head in heads]


def _log_ratio(side: float, anchor: float) -> float:
    if math.isinf(side):
        return 500.0  # finite, but its float exponential is not
    return math.log(side / anchor) if side else -500.0


def candidates_of(
    heads: Sequence[NDArray[Any]], anchors: Sequence[NDArray[np.float32]], strides: Sequence[int], options: Options
) -> Detections:
    """Candidates decoded by numpy from the heads of one image."""
    # The default is omitted, for versions of decode with a single criterion.
    criterion = {} if options.criterion == "gaussian" else {"criterion": options.criterion}
    return decode(heads, anchors, strides, options.score_threshold, options.max_candidates, **criterion)


def reference(
    heads: Sequence[NDArray[Any]], anchors: Sequence[NDArray[np.float32]], strides: Sequence[int], options: Options
) -> Detections:
    """Detections by numpy from the heads of one image."""
    candidates = candidates_of(heads, anchors, strides, options)
    return nms(candidates, options.iou_threshold, options.max_detections, options.variance_vote)


def check(case: Case, detections: Detections) -> None:
    """Assert that the detections are those of the case; boxes to 1e-3 px, scores to 1e-5."""
    assert case.expected is not None
    cells = [case.cells[index] for index, _ in case.expected]
    np.testing.assert_array_equal(detections.class_ids, [class_id for _, class_id in case.expected])
    boxes = [cell.box for cell in cells] if case.voted is None else [box for box, _ in case.voted]
    np.testing.assert_allclose(detections.boxes, np.array(boxes).reshape(-1, 4), rtol=0, atol=1e-3)
    if case.voted is not None:
        np.testing.assert_allclose(detections.sigmas[:, 0], [sigma for _, sigma in case.voted], rtol=1e-4)
    assert (np.diff(detections.scores) <= 0).all()
    for cell, (_, class_id), score in zip(cells, case.expected, detections.scores, strict=True):
        s = np.mean([_logistic(value) for value in cell.s]) if case.options.criterion == "gaussian" else 0.0
        expected = _logistic(cell.objectness) * _logistic(dict(cell.classes)[class_id]) * (1 - s)
        np.testing.assert_allclose(score, expected, rtol=0, atol=1e-5)


def _logistic(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
