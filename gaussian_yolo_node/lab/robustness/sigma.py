"""Average precision and sigmas of one cell relative to the clean frames: does sigma grow as the error grows?

mPC and rPC are those of Michaelis et al., "Benchmarking Robustness in Object Detection", 2019: the mean AP over
corruptions and severities, and its share of the clean AP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, LOOSE_IOU, evaluate, match_boxes
from gaussian_yolo_node.evaluation.average_precision import ClassCurve
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.evaluation.uncertainty import absolute_z, box_uncertainty, spearman
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CellFigures:
    """Figures of the detections of one cell.

    Attributes:
        ap50, ap: class -> all-point AP at IoU 0.5 and at KITTI's IoU, 0..1; for classes with objects.
        matched, above: number of boxes that match an object at IoU 0.5, and of all boxes, from the minimum score.
        sigma: median over matched boxes of the mean sigma relative to the box's size; `sigma_px` is the same in px.
        sigma_all: like `sigma`, over all boxes from the minimum score.
        coverage: share of matched boxes' errors within one sigma (0.683 for a Gaussian); `coverage_loose`: the same for
            boxes that match at IoU 0.1 or more, to include the worst errors.
        paired: number of objects detected both here and on the clean frames.
        sigma_ratio, error_ratio: over the paired objects, median ratio of the relative sigma, and ratio of the median
            relative errors, here to clean.
        ratios: [paired], the individual sigma ratios.
    """

    ap50: Mapping[str, float]
    ap: Mapping[str, float]
    matched: int
    above: int
    sigma: float | None
    sigma_px: float | None
    sigma_all: float | None
    coverage: float | None
    coverage_loose: float | None
    paired: int
    sigma_ratio: float | None
    error_ratio: float | None
    ratios: Floats

    @property
    def map50(self) -> float:
        """Mean of `ap50`; NaN without objects."""
        return float(np.mean(list(self.ap50.values()))) if self.ap50 else float("nan")

    @property
    def map(self) -> float:
        """Mean of `ap`; NaN without objects."""
        return float(np.mean(list(self.ap.values()))) if self.ap else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the individual ratios."""
        fields = {name: value for name, value in vars(self).items() if name != "ratios"}
        return {"map50": self.map50, "map": self.map, **fields}


def cell_figures(
    truths: GroundTruth, cell: Sequence[FramePredictions], clean: Sequence[FramePredictions], least_score: float
) -> CellFigures:
    """Figures of a cell.

    Args:
        cell, clean: predictions of the same frames, corrupted and not.
        least_score: minimum score of boxes in the sigma figures; AP uses all boxes.

    Raises:
        DatasetError: labels and predictions do not match.
    """
    paired, before = pair(truths, cell), pair(truths, clean)
    result = evaluate(paired, least_score)
    matched = match_boxes(paired, COMMON_IOU, least_score)
    loose = match_boxes(paired, LOOSE_IOU, least_score)
    ratios, errors = _against(matched, match_boxes(before, COMMON_IOU, least_score))
    seen = paired.detections.scores >= least_score
    return CellFigures(
        _by_class(result.at_common_iou),
        _by_class(result.at_kitti_iou),
        len(matched),
        int(seen.sum()),
        _median(_relative(matched)),
        None if matched.sigmas is None else _median(matched.sigmas.ravel()),
        _median(_relative_detected(paired, seen)),
        _coverage(matched),
        _coverage(loose),
        len(ratios),
        _median(ratios),
        errors,
        ratios,
    )


def severity_correlation(figures: Mapping[int, CellFigures]) -> float | None:
    """Spearman correlation of the severity with the sigma ratios of single objects; severity 0 is clean, ratio 1."""
    severities = [np.full(len(cell.ratios), float(severity)) for severity, cell in figures.items()]
    if not severities:
        return None
    return spearman(np.concatenate(severities), np.concatenate([cell.ratios for cell in figures.values()]))


def _against(here: MatchedBoxes, before: MatchedBoxes) -> tuple[Floats, float | None]:
    """Sigma ratios [N] of the objects in both, and the ratio of their median errors."""
    rows = {_key(before, row): row for row in range(len(before))}
    both = [(row, rows[_key(here, row)]) for row in range(len(here)) if _key(here, row) in rows]
    if not both or here.sigmas is None or before.sigmas is None:
        return np.empty(0), None
    now, then = (of[np.array(each, np.intp)] for of, each in zip((here, before), zip(*both, strict=True), strict=True))
    error, clean = (np.median(np.abs(each.errors / np.maximum(each.sizes, 1e-6))) for each in (now, then))
    ratios: Floats = _relative(now) / np.maximum(_relative(then), 1e-9)
    return ratios, float(error / clean) if clean > 0 else None


def _key(matched: MatchedBoxes, row: int) -> tuple[Any, ...]:
    return int(matched.frames[row]), str(matched.classes[row]), tuple(matched.truths[row].tolist())


def _relative(matched: MatchedBoxes) -> Floats:
    return np.empty(0) if matched.sigmas is None else box_uncertainty(matched.boxes, matched.sigmas)


def _relative_detected(paired: Paired, rows: NDArray[np.bool_]) -> Floats:
    detections = paired.detections[rows]
    return box_uncertainty(detections.boxes, detections.sigmas) if paired.has_sigmas else np.empty(0)


def _coverage(matched: MatchedBoxes) -> float | None:
    if matched.sigmas is None or not len(matched):
        return None
    return float((absolute_z(matched.errors, matched.sigmas) <= 1).mean())


def _by_class(results: Sequence[ClassCurve]) -> dict[str, float]:
    return {row.name: row.ap for row in results if row.truths}


def _median(values: Floats) -> float | None:
    return float(np.median(values)) if len(values) else None
