"""An evaluation, for people and for programs."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from rich.table import Table

from gaussian_yolo_node.evaluation.calibration import SigmaCoverage
from gaussian_yolo_node.evaluation.kitti import ClassResult, KittiResult

# Predictions that start above this score were cut for use, not for measuring.
FULL_CURVE_SCORE = 0.05

METHOD = (
    "AP: all-point interpolated, over every labelled object (no difficulty levels). Detections on Van, Truck, "
    "Tram, Misc or Person_sitting (IoU as for the class), or half or more in DontCare, count neither way."
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


def sigma_line(sigma: SigmaCoverage | None) -> str:
    """How honest the standard deviations are, in one sentence."""
    if sigma is None:
        return "sigma: the predictions have none, or no box found its object"
    shares = " / ".join(f"{100 * share:.1f}" for share in sigma.within)
    spread = " ".join(f"{value:.2f}" for value in sigma.rms)
    return (
        f"sigma: of {sigma.boxes} boxes on their objects (IoU 0.5), {shares} % of the coordinates lie within "
        f"1 / 2 / 3 sigma (a Gaussian: 68.3 / 95.4 / 99.7); RMS of error / sigma (ideal 1) in cx cy w h: {spread}"
    )


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


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _names(names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f": {names[0]} to {names[-1]}" if len(names) > 1 else f": {names[0]}"
