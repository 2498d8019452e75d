"""Values and drawings of the section on precision and recall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from gaussian_yolo_node.evaluation.protocols import ALL, ClassCurve, ProtocolResult
from gaussian_yolo_node.evaluation.threshold_curves import ThresholdCurve
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.assess import RESAMPLED, Assessment, Intervals, headline_curves
from gaussian_yolo_node.report.comparison import FrameFigures, measure_of
from gaussian_yolo_node.report.page import percent
from gaussian_yolo_node.report.plots import Line

# More lines than this cannot be distinguished; the classes with the most objects are drawn.
_MOST_LINES = 7
_DIFFICULTIES = ["easy", "moderate", "hard"]


def accuracy_values(
    assessment: Assessment, intervals: Intervals, figures: Mapping[str, FrameFigures]
) -> dict[str, Any]:
    """Values of accuracy.html.j2.

    Args:
        assessment: of a run with truth.
        intervals: of its figures.
        figures: of the run and of the baseline, if there is one, by display name.
    """
    result = assessment.result
    assert result is not None
    headline = headline_curves(result)
    drawn = [curve for curve in headline if curve.curve is not None and curve.truths]
    drawn = sorted(drawn, key=lambda curve: -curve.truths)[:_MOST_LINES]
    curves = {name: curve for name, each in figures.items() if (curve := each.threshold_curve) is not None}
    ious = list(dict.fromkeys(iou for by_iou in result.ap.values() for iou in by_iou))
    counted = {(curve.name, curve.iou) for curve in headline}
    return {
        "result": result,
        "answered": assessment.answered,
        "threshold": assessment.threshold,
        "ious": ious,
        "ap_headings": [f"AP@{iou}" for iou in ious],
        "headline": {curve.name: curve for curve in headline},
        "intervals": {
            name: intervals.estimates[f"ap/{name}"]
            for name in result.ap
            if result.protocol in RESAMPLED and f"ap/{name}" in intervals.estimates
        },
        "measure": measure_of("map"),
        "block": intervals.block,
        "timed": any(np.isfinite(each.stamps).all() and np.diff(each.stamps).any() for each in figures.values()),
        "levels": _DIFFICULTIES,
        "difficulties": _by_difficulty(result),
        "interpolations": list(dict.fromkeys(name for curve in result.curves for name in curve.interpolations)),
        "drawn": drawn,
        "objects": next(iter(curves.values())).truths if curves else 0,
        "at_threshold": {name: curve.at(assessment.threshold) for name, curve in curves.items()},
        "drawings": _drawings(drawn, curves, assessment.threshold),
        "counts": [row for row in result.counts if (row.name, row.iou) in counted],
        "count_levels": any(row.difficulty != ALL for row in result.counts),
        "count_scores": sorted({f"{row.score:g}" for row in result.counts}),
    }


def _by_difficulty(result: ProtocolResult) -> dict[str, dict[str, ClassCurve]]:
    """The curves by class and difficulty; empty for a protocol without difficulties."""
    by_class: dict[str, dict[str, ClassCurve]] = {}
    for level in _DIFFICULTIES:
        for curve in result.curves:
            if curve.difficulty == level:
                by_class.setdefault(curve.name, {}).setdefault(level, curve)
    return by_class


def _drawings(drawn: list[ClassCurve], curves: Mapping[str, ThresholdCurve], threshold: float) -> dict[str, Markup]:
    drawings = {}
    if drawn:
        lines = [
            Line(f"{curve.name} {percent(curve.ap)} %", curve.curve.recall, curve.curve.precision)
            for curve in drawn
            if curve.curve is not None
        ]
        drawings["precision_recall"] = plots.precision_recall("precision-recall", lines)
    if curves:
        wrong = {name: curve.false_positives.astype(np.float64) for name, curve in curves.items()}
        drawings["false_positives"] = plots.false_positives(
            "false-positives", [Line(name, curves[name].thresholds, of) for name, of in wrong.items()], threshold
        )
        drawings["found_against_false"] = plots.found_against_false(
            "found-against-false",
            [Line(name, of, curves[name].true_positives.astype(np.float64)) for name, of in wrong.items()],
        )
    return drawings
