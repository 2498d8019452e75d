"""An evaluation, for people and for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.table import Table

from gaussian_yolo_node.evaluation.kitti import COMMON_IOU, ClassResult, KittiResult
from gaussian_yolo_node.evaluation.uncertainty import SigmaFigures

# Predictions that start above this score were cut for use, not for measuring.
FULL_CURVE_SCORE = 0.05

METHOD = (
    "AP: all-point interpolated, over every labelled object (no difficulty levels). Detections on Van, Truck, "
    "Tram, Misc or Person_sitting (IoU as for the class), or half or more in DontCare, count neither way."
)

SIGMA_METHOD = (
    "z: error / sigma. In 1 / 2 / 3 sigma and ECE: in %, of the boxes. A Gaussian has 68.3 / 95.4 / 99.7, RMS z 1, ECE "
    "and ENCE 0. NLL: nats, of px."
)


def report_table(result: KittiResult) -> Table:
    """AP in percent, a row a class and one for their mean."""
    table = Table()
    table.add_column("class")
    for heading in ("truths", "KITTI IoU", "AP@KITTI IoU", "AP@0.5"):
        table.add_column(heading, justify="right")
    for kitti, common in zip(result.at_kitti_iou, result.at_common_iou, strict=True):
        table.add_row(
            kitti.name,
            str(kitti.truths),
            f"{kitti.iou:.1f}",
            _percent(kitti.all_point),
            _percent(common.all_point),
        )
    table.add_section()
    table.add_row(
        "mean",
        str(sum(row.truths for row in result.at_kitti_iou)),
        "",
        _percent(_mean(result.at_kitti_iou)),
        _percent(_mean(result.at_common_iou)),
    )
    return table


def coverage_lines(result: KittiResult) -> list[str]:
    """Which frames and classes were counted, a sentence each."""
    frames = len(result.matched) + len(result.unlabelled)
    lines = [f"{len(result.matched)} of {frames} predicted frames have labels{_names(result.matched)}"]
    if result.unlabelled:
        lines.append(
            f"{len(result.unlabelled)} predicted frames have no label file and are not counted"
            f"{_names(result.unlabelled)}"
        )
    if result.unpredicted:
        lines.append(
            f"{len(result.unpredicted)} labelled frames have no predictions and are not counted"
            f"{_names(result.unpredicted)}"
        )
    if result.lowest_score > FULL_CURVE_SCORE:
        lines.append(
            f"the lowest score is {result.lowest_score:.3g}: what was cut off below it lowers the AP; "
            "to measure AP, detect with --score-threshold 0.005"
        )
    if result.unknown_classes:
        lines.append(f"predicted classes without labels, not counted: {', '.join(result.unknown_classes)}")
    return lines


def sigma_table(sections: Mapping[str, Mapping[str, SigmaFigures]]) -> Table:
    """How honest standard deviations are: named sections with a row for each of their coordinates or classes."""
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
    """What the table of the sigmas says and of which boxes, and how good the scores are, a sentence each."""
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
    """All of the result, ready for JSON; AP in 0..1, null where there are no truths."""
    return {
        "protocol": METHOD,
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
    """Over the classes that have truths."""
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
