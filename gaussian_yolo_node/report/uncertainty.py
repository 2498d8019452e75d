"""Values and drawings of the section on how far scores and sigmas can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from gaussian_yolo_node.evaluation.all_objects import LOOSE_IOU
from gaussian_yolo_node.evaluation.risk_coverage import RiskCoverage
from gaussian_yolo_node.evaluation.uncertainty_report import UncertaintyReport
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.plots import Line

_SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_COORDINATES = {"cx": "centre x", "cy": "centre y", "w": "width", "h": "height", "all": "all four"}


def uncertainty_values(report: UncertaintyReport) -> dict[str, Any]:
    """Values of uncertainty.html.j2."""
    correlations = () if report.sigma is None else report.sigma.correlations
    return {
        "report": report,
        "coordinates": _COORDINATES,
        "box_risks": report.box_risks.get("1 - IoU", {}),
        "loose_iou": LOOSE_IOU,
        "loose_correlation": next((each.rho for each in correlations if each.least_iou == LOOSE_IOU), None),
        "term_effects": {
            iou: [row for row in rows if round(row.with_term.threshold, 3) in _SHOWN_THRESHOLDS]
            for iou, rows in (report.term_effects or {}).items()
        },
        "drawings": _drawings(report),
    }


def _drawings(report: UncertaintyReport) -> dict[str, Markup]:
    """The drawings by name; those without data are left out."""
    drawings = {}
    if bins := report.score.bins:
        drawings["reliability"] = plots.reliability(
            "reliability",
            np.array([each.score for each in bins]),
            np.array([each.precision for each in bins]),
            np.array([each.detections for each in bins], np.intp),
        )
    if (curve := report.coverage) is not None and report.sigma is not None:
        observed = {_COORDINATES[name]: values for name, values in curve.observed.items()}
        drawings["coverage"] = plots.sigma_coverage("sigma-coverage", curve.expected, observed)
    if (against := report.iou_against_sigma) is not None:
        spread = ([getattr(each, name) for each in against.by_sigma] for name in ("centre", "mean", "p10", "p90"))
        drawings["iou_against_sigma"] = plots.iou_against_sigma(
            "iou-sigma", against.sigmas, against.ious, *map(np.array, spread)
        )
    if boxes := report.box_risks.get("1 - IoU"):
        drawings["box_risks"] = _risks("risk-boxes", boxes, "mean 1 − IoU of the boxes kept")
    if report.detection_risks:
        drawings["detection_risks"] = _risks("risk-detections", report.detection_risks, "mean risk of what is kept")
    return drawings


def _risks(figure: str, curves: Mapping[str, RiskCoverage], ylabel: str) -> Markup:
    """The curves by ranking, and their bounds."""
    first = next(iter(curves.values()))
    lines = [Line(f"by {name}", curve.coverage, curve.risk) for name, curve in curves.items()]
    at_random = Line("at random", np.array([0.0, 1.0]), np.full(2, first.random_area))
    return plots.risk_coverage(figure, lines, [at_random, Line("oracle", first.coverage, first.oracle)], ylabel)
