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
    truths = _by_category(ground_truth)
    detections = _by_category(predictions)
    return {
        category: _category_ap(truths[category], detections.get(category, []), iou_threshold)
        for category in sorted(truths)
    }


def _category_ap(truths: list[Record], detections: list[Record], iou_threshold: float) -> float:
    frames = {name: number for number, name in enumerate(sorted({truth["name"] for truth in truths}))}
    truth_frames = np.array([frames[truth["name"]] for truth in truths])
    truth_boxes = _boxes(truths)

    detections = sorted(detections, key=lambda detection: -detection["score"])  # stable
    boxes = _boxes(detections)
    detection_frames = np.array([frames.get(detection["name"], -1) for detection in detections], int)
    object_of = np.full(len(detections), -1)
    for frame in range(len(frames)):
        rows, candidates = np.flatnonzero(detection_frames == frame), np.flatnonzero(truth_frames == frame)
        iou = overlaps(boxes[rows], truth_boxes[candidates])
        best = iou.argmax(axis=1)
        found = iou[np.arange(len(rows)), best] > iou_threshold
        object_of[rows[found]] = candidates[best[found]]

    # The first detection of each object is right, every other one is not.
    objects, first = np.unique(object_of, return_index=True)
    correct = np.zeros(len(detections), bool)
    correct[first[objects >= 0]] = True
    scores = np.array([detection["score"] for detection in detections], np.float64)
    return all_point_ap(PrecisionRecall.of(scores, correct, len(truths)))


def _by_category(records: Sequence[Record]) -> dict[str, list[Record]]:
    categories: dict[str, list[Record]] = {}
    for record in records:
        categories.setdefault(record["category"], []).append(record)
    return categories


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    boxes = np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
    boxes[:, 2:] += 1  # the last pixel belongs to the box
    return boxes
