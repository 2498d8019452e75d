"""Evaluation results as tables and text, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, ClassResult, KittiResult
from gaussian_yolo_node.evaluation.mot import TrackingFigures
from gaussian_yolo_node.evaluation.protocols import ALL, ProtocolResult
from gaussian_yolo_node.evaluation.uncertainty import SigmaFigures

SIGMA_METHOD = (
    "z: error / sigma. In 1 / 2 / 3 sigma and ECE: in %, of the boxes. A Gaussian has 68.3 / 95.4 / 99.7, RMS z 1, ECE "
    "and ENCE 0. NLL: nats, of px."
)


def curve_table(result: ProtocolResult) -> Table:
    """AP in percent, one row per class, IoU and difficulty, and one row for their mean."""
    all_ways = dict.fromkeys(way for curve in result.curves for way in curve.interpolations if curve.truths)
    # One interpolation is the protocol's own AP and needs no second column.
    ways = [
        way for way in all_ways if any(curve.interpolations[way] != curve.ap for curve in result.curves if curve.truths)
    ]
    table = Table(title=f"protocol {result.protocol}")
    for heading in ("class", "difficulty"):
        table.add_column(heading)
    for heading in ("truths", "IoU", "AP", *(way.replace("_", " ") for way in ways)):
        table.add_column(heading, justify="right")
    for name, areas in result.ap.items():
        curves = [curve for curve in result.curves if curve.name == name]
        for curve in curves:
            cells = [_percent(curve.interpolations[way]) for way in ways]
            table.add_row(name, curve.difficulty, str(curve.truths), f"{curve.iou:g}", _percent(curve.ap), *cells)
        for iou in areas.keys() - {f"{curve.iou:g}" for curve in curves}:  # a mean over several thresholds
            table.add_row(name, ALL, str(curves[0].truths), iou, _percent(areas[iou]))
        table.add_section()
    table.add_row("mean", "", "", "", _percent(result.map))
    return table


def counts_table(result: ProtocolResult) -> Table:
    """True positives, false positives and misses at or above a score."""
    table = Table(title=f"boxes from score {result.counts[0].score:g}")
    for heading in ("class", "difficulty"):
        table.add_column(heading)
    for heading in ("IoU", "TP", "FP", "FN", "precision", "recall"):
        table.add_column(heading, justify="right")
    for row in result.counts:
        shares = (_percent(row.precision), _percent(row.recall))
        table.add_row(row.name, row.difficulty, f"{row.iou:g}", str(row.tp), str(row.fp), str(row.fn), *shares)
    return table


def tracking_table(figures: Sequence[TrackingFigures]) -> Table:
    """Figures of tracks, one row per class and one for all."""
    table = Table(title="protocol mot")
    table.add_column("class")
    for heading in ("HOTA", "DetA", "AssA", "LocA", "MOTA", "IDF1", "switches", "TP", "FP", "FN", "objects", "tracks"):
        table.add_column(heading, justify="right")
    for each in figures:
        shares = (each.hota, each.detection, each.association, each.localisation, each.mota, each.idf1)
        counts = (each.switches, each.tp, each.fp, each.fn, each.objects, each.tracks)
        table.add_row(each.name, *map(_percent, shares), *map(str, counts))
    return table


def coverage_lines(result: KittiResult) -> list[str]:
    """Which frames were counted, one sentence per item."""
    frames = len(result.matched) + len(result.unlabelled)
    return [f"{len(result.matched)} of {frames} predicted frames have labels{_names(result.matched)}"]


def sigma_table(sections: Mapping[str, Mapping[str, SigmaFigures]]) -> Table:
    """Calibration of standard deviations: named sections with one row per coordinate or class."""
    table = Table()
    table.add_column("sigma")
    table.add_column("of")
    for heading in ("in 1 / 2 / 3 sigma", "RMS z", "NLL", "ECE", "ENCE"):
        table.add_column(heading, justify="right")
    for name, rows in sections.items():
        for number, (of, figures) in enumerate(rows.items()):
            table.add_row("" if number else name, of, *_sigma_cells(figures))
        table.add_section()
    return table


def uncertainty_lines(result: KittiResult) -> list[str]:
    """What the sigma table shows and for which boxes, and the calibration of the scores, one sentence per item."""
    together = result.scores["all"]
    by_class = ", ".join(f"{name} {_percent(of.calibration_error)}" for name, of in result.scores.items())
    lines = [
        f"score: expected calibration error in % (mean score against precision at IoU {COMMON_IOU:g}) of "
        f"{together.detections} detections from score {result.least_score:g}: {by_class}"
    ]
    if result.sigma is None:
        return [*lines, "sigma: the predictions have none, or no box found its object"]
    correlations = ", ".join(
        f"{_number(each.rho)} ({each.boxes} boxes from IoU {each.least_iou:g})" for each in result.sigma.correlations
    )
    classes = ", ".join(f"{figures.boxes} {name}" for name, figures in result.sigma.classes.items())
    return [
        *lines,
        f"sigma: of {result.sigma.boxes} boxes from score {result.least_score:g} on their objects (IoU "
        f"{COMMON_IOU:g}): {classes}",
        SIGMA_METHOD,
        f"Spearman's correlation of sigma (mean of sigma/width and sigma/height) with IoU: {correlations}",
    ]


def report_dict(result: KittiResult) -> dict[str, Any]:
    """The whole result, ready for JSON; AP in 0..1, null without truths."""
    return {
        "classes": [_class_dict(row) for row in (*result.at_kitti_iou, *result.at_common_iou)],
        "mean_ap": {
            "kitti_iou": _or_none(_mean(result.at_kitti_iou)),
            "iou_0.5": _or_none(_mean(result.at_common_iou)),
        },
        "frames": {
            "matched": list(result.matched),
            "unlabelled": list(result.unlabelled),
            "unpredicted": list(result.unpredicted),
        },
        "unknown_classes": list(result.unknown_classes),
        "least_score": result.least_score,
        "scores": {name: asdict(quality) for name, quality in result.scores.items()},
        "sigma": asdict(result.sigma) if result.sigma else None,
    }


def _class_dict(row: ClassResult) -> dict[str, Any]:
    values = asdict(row)
    interpolations = ("all_point", "eleven_point", "forty_point")
    ap = {name: _or_none(values.pop(name)) for name in interpolations}
    return {"class": values.pop("name"), **values, "ap": ap}


def _mean(rows: tuple[ClassResult, ...]) -> float:
    """Mean over the classes with truths."""
    values = [row.all_point for row in rows if row.truths]
    return sum(values) / len(values) if values else math.nan


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _sigma_cells(figures: SigmaFigures) -> list[str]:
    return [
        " / ".join(f"{100 * share:5.1f}" for share in figures.within),
        _number(figures.rms),
        _number(figures.nll),
        f"{100 * figures.calibration_error:.1f}",
        _number(figures.ence),
    ]


def _percent(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f": {names[0]} to {names[-1]}" if len(names) > 1 else f": {names[0]}"
