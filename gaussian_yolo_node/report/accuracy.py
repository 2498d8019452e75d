"""The report's accuracy section: precision and recall by the protocol."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.protocols import ALL, HEADLINE_DIFFICULTY, ClassCurve, ProtocolResult
from gaussian_yolo_node.evaluation.threshold_curves import ThresholdCurve, threshold_curve
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.bootstrap import Estimate
from gaussian_yolo_node.report.compared import bootstrap_words, interval
from gaussian_yolo_node.report.comparison import FrameFigures, measure_of
from gaussian_yolo_node.report.drawing import captioned, side_by_side
from gaussian_yolo_node.report.page import (
    Html,
    Section,
    bullets,
    count,
    join,
    number,
    percent,
    table,
    tag,
)
from gaussian_yolo_node.report.plots import Line

# More lines than this cannot be told apart; the classes with the most objects are drawn.
_MOST_LINES = 7
_DIFFICULTIES = ("easy", "moderate", "hard")
# Protocols whose AP the bootstrap covers; it does not resample KITTI's difficulties and COCO's limits.
RESAMPLED = ("all", "bdd")


def accuracy_section(
    result: ProtocolResult,
    answered: ProtocolResult | None,
    estimates: Mapping[str, Estimate],
    block: int,
    figures: Mapping[str, FrameFigures],
    threshold: float,
) -> Section:
    """Tables and drawings of one run.

    Args:
        result: over all labelled frames; frames without an answer count as frames without detections.
        answered: over the answered frames only; None if all were answered.
        estimates: bootstrap intervals, by the keys of `measure_of`.
        block: number of frames per block of the bootstrap.
        figures: of the run and of the baseline, if there is one, by display name.
        threshold: score threshold in use.
    """
    timed = any(bool(np.diff(each.stamps).any()) for each in figures.values() if np.isfinite(each.stamps).all())
    words = bootstrap_words(block, timed=timed)
    parts: list[Html] = [tag("p", result.description), _average_precision(result, answered, estimates, words)]
    if any(curve.difficulty in _DIFFICULTIES for curve in result.curves):
        parts.append(_difficulties(result))
    drawings = [drawing for drawing in (_precision_recall(result), *_thresholds(figures, threshold)) if drawing]
    if drawings:
        parts.append(side_by_side(*drawings))
    parts.append(_counts(result))
    if result.notes:
        parts += [tag("h3", "What was counted"), bullets(result.notes)]
    return Section("accuracy", "Accuracy", join(*parts))


def headline_curves(result: ProtocolResult) -> list[ClassCurve]:
    """Each class's curve at the IoU of the mean AP; for COCO's many IoUs at 0.5, for KITTI at moderate difficulty."""
    wanted: dict[str, ClassCurve] = {}
    for curve in result.curves:
        if curve.difficulty in (ALL, HEADLINE_DIFFICULTY):
            if result.protocol == "bdd":  # BDD's last curve is the strictest
                wanted[curve.name] = curve
            else:
                wanted.setdefault(curve.name, curve)
    return list(wanted.values())


def threshold_curve_of(figures: FrameFigures) -> ThresholdCurve:
    """Correct and wrong detections of all classes together, by falling score."""
    scores = np.concatenate([judged.scores for judged in figures.classes.values()])
    correct = np.concatenate([judged.correct for judged in figures.classes.values()])
    return threshold_curve(scores, correct, int(sum(judged.truths.sum() for judged in figures.classes.values())))


def _average_precision(
    result: ProtocolResult, answered: ProtocolResult | None, estimates: Mapping[str, Estimate], words: str
) -> Html:
    ious = list(dict.fromkeys(iou for by_iou in result.ap.values() for iou in by_iou))
    first = {curve.name: curve for curve in headline_curves(result)}
    bootstrapped = result.protocol in RESAMPLED and any(f"ap/{name}" in estimates for name in result.ap)
    headings = ["class", "objects", *(f"AP@{iou}" for iou in ious)]
    headings += ["95 % interval"] if bootstrapped else []
    headings += [f"answered, AP@{iou}" for iou in ious] if answered is not None else []
    rows: list[list[str]] = []
    for name, by_iou in result.ap.items():
        row = [name, number(first[name].truths if name in first else None, 0)]
        row += [percent(by_iou.get(iou), 2) for iou in ious]
        row += [interval(estimates.get(f"ap/{name}", Estimate(None)), measure_of("map"))] if bootstrapped else []
        row += [percent(answered.ap.get(name, {}).get(iou), 2) for iou in ious] if answered is not None else []
        rows.append(row)
    caption = "Average precision in %, at an IoU with the object."
    if answered is not None:
        caption += (
            " Frames without an answer count as frames without detections; answered: over the frames with an answer "
            "alone. The difference is what the drops cost."
        )
    if bootstrapped:
        at = ", ".join(f"{name} {curve.iou:g}" for name, curve in first.items())
        caption += f" The interval is of the AP at IoU {at}. {words}"
    return table(headings, rows, caption=caption)


def _difficulties(result: ProtocolResult) -> Html:
    by_class: dict[str, dict[str, ClassCurve]] = {}
    for curve in result.curves:
        by_class.setdefault(curve.name, {}).setdefault(curve.difficulty, curve)
    ways = list(dict.fromkeys(way for curve in result.curves for way in curve.interpolations))
    headings = ["class", "IoU", "AP", *_DIFFICULTIES]
    rows = []
    for name, curves in by_class.items():
        for way in ways:
            values = [
                percent(curves[level].interpolations.get(way), 2) if level in curves else "–" for level in _DIFFICULTIES
            ]
            rows.append([name, f"{next(iter(curves.values())).iou:g}", way.replace("_", " "), *values])
    objects = "; ".join(
        f"{name}: " + ", ".join(f"{count(curves[level].truths)} {level}" for level in _DIFFICULTIES if level in curves)
        for name, curves in by_class.items()
    )
    return table(headings, rows, caption=f"Average precision in % by difficulty. Objects: {objects}.", text_columns=3)


def _precision_recall(result: ProtocolResult) -> Html | None:
    curves = [curve for curve in headline_curves(result) if curve.curve is not None and curve.truths]
    curves = sorted(curves, key=lambda curve: -curve.truths)[:_MOST_LINES]
    if not curves:
        return None
    lines = [
        Line(f"{curve.name} {percent(curve.ap)} %", curve.curve.recall, curve.curve.precision)
        for curve in curves
        if curve.curve is not None
    ]
    shown = ", ".join(
        f"{curve.name} at IoU {curve.iou:g} ({count(curve.truths)} objects, {count(curve.detections)} detections)"
        for curve in curves
    )
    return captioned(
        plots.precision_recall("precision-recall", lines),
        "Precision and recall",
        f"{shown}. From left to right the score threshold falls: more of the objects are found, and more of the "
        "detections are wrong. A curve into the upper right corner is perfect; where it ends, the detector finds no "
        "more at any threshold.",
    )


def _thresholds(figures: Mapping[str, FrameFigures], threshold: float) -> list[Html]:
    curves = {name: threshold_curve_of(each) for name, each in figures.items() if each.classes}
    if not curves:
        return []
    told = ", ".join(
        f"{name}: {count(curve.at(threshold).false_positives)} wrong and {count(curve.at(threshold).true_positives)} "
        "right"
        for name, curve in curves.items()
    )
    wrong = [Line(name, curve.thresholds, _floats(curve.false_positives)) for name, curve in curves.items()]
    price = [
        Line(name, _floats(curve.false_positives), _floats(curve.true_positives)) for name, curve in curves.items()
    ]
    truths = next(iter(curves.values())).truths
    return [
        captioned(
            plots.false_positives("false-positives", wrong, threshold),
            "False positives against the threshold",
            f"Wrong detections of all classes from each score on. Lower is better, but between runs only where the "
            f"scores mean the same. The dotted line is the threshold when driving, {threshold:g}; there: {told}. The "
            "scale is logarithmic above 1.",
        ),
        captioned(
            plots.found_against_false("found-against-false", price),
            "What is found at which price",
            f"Objects found, of {count(truths)}, against wrong detections, as the threshold falls. Higher and further "
            "left is better, and no change of the scores' scale moves the curve: it compares runs whose scores mean "
            "different things.",
        ),
    ]


def _counts(result: ProtocolResult) -> Html:
    wanted = {(curve.name, curve.iou) for curve in headline_curves(result)}
    levels = any(row.difficulty != ALL for row in result.counts)
    rows = [
        [
            row.name,
            *([row.difficulty] if levels else []),
            f"{row.iou:g}",
            count(row.tp),
            count(row.fp),
            count(row.fn),
            percent(row.precision),
            percent(row.recall),
        ]
        for row in result.counts
        if (row.name, row.iou) in wanted
    ]
    scores = sorted({f"{row.score:g}" for row in result.counts})
    headings = ["class", *(["difficulty"] if levels else []), "IoU", "found", "wrong", "missed", "precision", "recall"]
    return table(
        headings,
        rows,
        caption=f"Detections from score {', '.join(scores)} on, the threshold when driving: right ones (true "
        "positives), wrong ones (false positives) and objects without one (false negatives); precision and recall "
        "in %.",
        text_columns=2 if levels else 1,
    )


def _floats(counts: NDArray[np.intp]) -> plots.Floats:
    return counts.astype(np.float64)
