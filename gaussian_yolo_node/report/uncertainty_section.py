"""The report's section on how far scores and sigmas can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gaussian_yolo_node.evaluation.all_objects import LOOSE_IOU
from gaussian_yolo_node.evaluation.risk_coverage import RiskCoverage
from gaussian_yolo_node.evaluation.threshold_curves import AtThreshold, TermEffect
from gaussian_yolo_node.evaluation.uncertainty_report import UncertaintyReport
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.drawing import captioned, side_by_side
from gaussian_yolo_node.report.page import (
    MISSING,
    Html,
    Section,
    count,
    join,
    number,
    percent,
    table,
    tag,
)
from gaussian_yolo_node.report.plots import Line

_SHOWN_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
_COORDINATES = {"cx": "centre x", "cy": "centre y", "w": "width", "h": "height", "all": "all four"}


def uncertainty_section(report: UncertaintyReport) -> Section:
    """Drawings and tables of one run."""
    intro = (
        f"Of detections from score {report.least_score:g} on; right is a detection with IoU {report.iou:g} or more "
        f"with an object of its class, which {count(report.boxes)} have. Errors and sigmas are of centre x, "
        "centre y, width and height."
    )
    drawings = [_reliability(report), _coverage(report), _iou_against_sigma(report), *_risks(report)]
    shown = [drawing for drawing in drawings if drawing is not None]
    parts: list[Html] = [tag("p", intro)]
    if report.sigma is None:
        parts.append(tag("p", "The detections have no sigmas, or none found its object: the scores alone are judged."))
    if shown:
        parts.append(side_by_side(*shown))
    if report.sigma is not None:
        parts += [_calibration(report), _sharpness(report), _correlations(report)]
    if report.term_effects is not None:
        parts += _terms(report.term_effects)
    return Section("uncertainty", "Uncertainty", join(*parts))


def _reliability(report: UncertaintyReport) -> Html | None:
    bins = report.score.bins
    if not bins:
        return None
    drawing = plots.reliability(
        "reliability",
        np.array([each.score for each in bins]),
        np.array([each.precision for each in bins]),
        np.array([each.detections for each in bins], np.intp),
    )
    return captioned(
        drawing,
        "Reliability of the scores",
        f"Share of the detections that are right, against their mean score, in {len(bins)} bins of score; "
        f"{count(report.score.detections)} detections, larger dots have more. On the diagonal a score is the "
        "probability to be right; above it the detector is better than it says, below it worse. Expected calibration "
        f"error {percent(report.score.calibration_error)} %.",
    )


def _coverage(report: UncertaintyReport) -> Html | None:
    curve = report.coverage
    if curve is None or report.sigma is None:
        return None
    drawing = plots.sigma_coverage(
        "sigma-coverage", curve.expected, {_COORDINATES[name]: values for name, values in curve.observed.items()}
    )
    return captioned(
        drawing,
        "Coverage of the sigmas",
        f"Share of the errors of {count(report.boxes)} boxes that lie inside the central interval which a Gaussian of "
        "the predicted sigma gives that share. On the diagonal the sigmas are honest; above it they are too large, "
        "below it too small, which is the dangerous side. Expected calibration error "
        f"{percent(report.sigma.overall.calibration_error)} %.",
    )


def _iou_against_sigma(report: UncertaintyReport) -> Html | None:
    against = report.iou_against_sigma
    if against is None:
        return None
    bins = against.by_sigma
    drawing = plots.iou_against_sigma(
        "iou-sigma",
        against.sigmas,
        against.ious,
        np.array([each.centre for each in bins]),
        np.array([each.mean for each in bins]),
        np.array([each.p10 for each in bins]),
        np.array([each.p90 for each in bins]),
    )
    rho = {each.least_iou: each.rho for each in report.sigma.correlations} if report.sigma is not None else {}
    return captioned(
        drawing,
        "IoU against sigma",
        f"A dot is a box (of {count(len(against.sigmas))} with IoU {LOOSE_IOU:g} or more; at most 5,000 are drawn): "
        "its IoU with its object against its mean sigma as a share of its size. The line is the mean IoU in bins of "
        "about as many boxes, the band goes from the 10th to the 90th percentile. A line that falls means that boxes "
        f"which are less sure do lie worse. Rank correlation {number(rho.get(LOOSE_IOU))}.",
    )


def _risks(report: UncertaintyReport) -> list[Html]:
    figures = []
    boxes = report.box_risks.get("1 - IoU")
    if boxes:
        figures.append(
            captioned(
                plots.risk_coverage("risk-boxes", *_lines(boxes), "mean 1 − IoU of the boxes kept"),
                "Dropping the most uncertain boxes",
                f"Mean 1 − IoU of what is left of {count(report.boxes)} boxes on their objects, when the most "
                "uncertain are dropped. The lower the better: the oracle drops the worst first, at random nothing is "
                f"gained. {_gains(boxes)} Sigma must do better than the size of the box alone does.",
            )
        )
    if report.detection_risks:
        first = next(iter(report.detection_risks.values()))
        figures.append(
            captioned(
                plots.risk_coverage("risk-detections", *_lines(report.detection_risks), "mean risk of what is kept"),
                "Dropping the most uncertain detections",
                f"The same for all {count(len(first.risk))} detections: 1 − IoU with the object, and 1 for a false "
                f"positive. {_gains(report.detection_risks)}",
            )
        )
    return figures


def _lines(curves: Mapping[str, RiskCoverage]) -> tuple[list[Line], list[Line]]:
    """The curves by ranking, and their bounds."""
    first = next(iter(curves.values()))
    ends = np.array([0.0, 1.0])
    return (
        [Line(f"by {name}", curve.coverage, curve.risk) for name, curve in curves.items()],
        [Line("at random", ends, np.full(2, first.random_area)), Line("oracle", first.coverage, first.oracle)],
    )


def _gains(curves: Mapping[str, RiskCoverage]) -> str:
    told = ", ".join(
        f"by {name} {number(curve.area, 4)} ({percent(curve.gain, 0)} % of the way)" for name, curve in curves.items()
    )
    first = next(iter(curves.values()))
    return (
        f"Area under the curve, and how far that is from random ({number(first.random_area, 4)}) to the oracle "
        f"({number(first.oracle_area, 4)}): {told}."
    )


def _calibration(report: UncertaintyReport) -> Html:
    assert report.sigma is not None
    likelihoods = report.likelihoods or {}
    rows = []
    for name, figures in report.sigma.rows.items():
        likely = likelihoods.get(name)
        rows.append(
            [
                _COORDINATES[name],
                *(percent(share) for share in figures.within),
                number(figures.rms),
                percent(figures.calibration_error),
                number(figures.ence),
                number(figures.nll),
                *((number(likely.constant), number(likely.proportional)) if likely is not None else (MISSING,) * 2),
            ]
        )
    headings = ("coordinate", "in 1 σ, %", "in 2 σ, %", "in 3 σ, %", "RMS z", "ECE, %", "ENCE", "NLL")
    return table(
        (*headings, "NLL, one σ", "NLL, σ ~ size"),
        rows,
        caption=f"How honest the sigmas of {count(report.boxes)} boxes are. A Gaussian has 68.3, 95.4 and 99.7 % "
        "within 1, 2 and 3 sigma and root mean square of z = error / sigma 1; ECE and ENCE are best at 0. NLL: "
        "negative log-likelihood in nats, of px, lower is better; the last two columns are what one sigma for all "
        "boxes, and one share of the box's size, reach with hindsight: sigmas that are worth something are below both.",
    )


def _sharpness(report: UncertaintyReport) -> Html:
    rows = [
        [
            _COORDINATES[name],
            number(of.mean_px),
            number(of.median_px),
            number(of.rms_px),
            percent(of.mean_relative),
            percent(of.median_relative),
        ]
        for name, of in (report.sharpness or {}).items()
    ]
    headings = ("coordinate", "mean σ, px", "median σ, px", "RMS σ, px", "mean σ, % of size", "median σ, % of size")
    return table(headings, rows, caption="How sharp: of two detectors with honest sigmas, the sharper tells more.")


def _correlations(report: UncertaintyReport) -> Html:
    assert report.sigma is not None
    told = "; ".join(
        f"{number(each.rho)} over {count(each.boxes)} boxes with IoU {each.least_iou:g} or more"
        for each in report.sigma.correlations
    )
    return tag("p", f"Rank correlation (Spearman) of a box's relative sigma with its IoU, lower is better: {told}.")


def _terms(effects: Mapping[str, Sequence[TermEffect]]) -> list[Html]:
    parts = [tag("h3", "What the uncertainty term of the score is worth")]
    for iou, rows in effects.items():
        told = "at the common IoU" if iou == "common" else "at the IoU of each class"
        chosen = [row for row in rows if round(row.with_term.threshold, 3) in _SHOWN_THRESHOLDS]
        parts.append(
            table(
                ("threshold", "with: found", "wrong", "without: found", "wrong", "without, as many found: wrong"),
                [[f"{row.with_term.threshold:g}", *_found(row.with_term), *_found(row.without_term), _wrong(row.equal)]
                 for row in chosen],
                caption=f"Objects found and false positives with and without the term 1 − mean sigma, {told}. At the "
                "same threshold the term lets less through, right or wrong; only at as many objects found does it show "
                "whether it tells one from the other.",
            )
        )  # fmt: skip
    return parts


def _found(at: AtThreshold) -> tuple[str, str]:
    return count(at.true_positives), count(at.false_positives)


def _wrong(at: AtThreshold | None) -> str:
    return MISSING if at is None else count(at.false_positives)
