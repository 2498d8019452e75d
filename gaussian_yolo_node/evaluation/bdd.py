"""Average precision as BDD100K's evaluation of 2018 defines it, the one Gaussian YOLOv3 reports.

A pixel is an area: a box from 3 to 5 is 3 px wide. Each detection is judged against the one object of its class
that it overlaps most, and is wrong if a better detection already took that object. IoU must be above the
threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.average_precision import PrecisionRecall, all_point_ap
from gaussian_yolo_node.evaluation.matching import overlaps

Record = Mapping[str, Any]


def bdd_average_precision(
    ground_truth: Sequence[Record], predictions: Sequence[Record], iou_threshold: float = 0.75
) -> dict[str, float]:
    """All-point average precision of each class of the ground truth; 0 for one without detections.

    Args:
        ground_truth: objects, `{"name": frame, "category": class, "bbox": [x1, y1, x2, y2]}` in px.
        predictions: detections, the same with "score".
        iou_threshold: what the IoU of a detection with its object must exceed.
    """
    correct = bdd_correct(ground_truth, predictions, iou_threshold)
    scores = np.array([detection["score"] for detection in predictions], np.float64)
    categories = np.array([detection["category"] for detection in predictions], np.str_)
    truths = _by_category(ground_truth)
    return {
        category: all_point_ap(
            PrecisionRecall.of(scores[categories == category], correct[categories == category], len(truths[category]))
        )
        for category in sorted(truths)
    }


def bdd_correct(
    ground_truth: Sequence[Record], predictions: Sequence[Record], iou_threshold: float = 0.75
) -> NDArray[np.bool_]:
    """`[N]`, which of the predictions are right; the arguments are those of `bdd_average_precision`.

    Of two detections of one object the better one is; of equal ones, the first.
    """
    correct = np.zeros(len(predictions), bool)
    for category, truths in _by_category(ground_truth).items():
        rows = [row for row, detection in enumerate(predictions) if detection["category"] == category]
        rows.sort(key=lambda row: -predictions[row]["score"])  # stable
        correct[rows] = _first_of_each(truths, [predictions[row] for row in rows], iou_threshold)
    return correct


def _first_of_each(truths: list[Record], detections: list[Record], iou_threshold: float) -> NDArray[np.bool_]:
    """Of detections of one class by falling score, which are the first of the object they overlap most."""
    frames = {name: number for number, name in enumerate(sorted({truth["name"] for truth in truths}))}
    truth_frames = np.array([frames[truth["name"]] for truth in truths])
    truth_boxes = _boxes(truths)
    boxes = _boxes(detections)
    detection_frames = np.array([frames.get(detection["name"], -1) for detection in detections], int)
    object_of = np.full(len(detections), -1)
    for frame in range(len(frames)):
        rows, candidates = np.flatnonzero(detection_frames == frame), np.flatnonzero(truth_frames == frame)
        iou = overlaps(boxes[rows], truth_boxes[candidates])
        best = iou.argmax(axis=1)
        found = iou[np.arange(len(rows)), best] > iou_threshold
        object_of[rows[found]] = candidates[best[found]]

    objects, first = np.unique(object_of, return_index=True)
    correct = np.zeros(len(detections), bool)
    correct[first[objects >= 0]] = True
    return correct


def _by_category(records: Sequence[Record]) -> dict[str, list[Record]]:
    categories: dict[str, list[Record]] = {}
    for record in records:
        categories.setdefault(record["category"], []).append(record)
    return categories


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    boxes = np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    boxes[:, 2:] += 1  # the last pixel belongs to the box
    return boxes
