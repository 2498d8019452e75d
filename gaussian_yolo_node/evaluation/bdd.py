"""Average precision as defined by BDD100K's evaluation of 2018, which Gaussian YOLOv3 reports.

Pixels have an area: a box from 3 to 5 is 3 px wide. Each detection is compared with the one object of its class that it
overlaps most, and is wrong if a better detection already took that object. IoU must be above the threshold. There are
no ignored regions: a detection in one is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.all_objects import Judged
from gaussian_yolo_node.evaluation.average_precision import PrecisionRecall, all_point_ap
from gaussian_yolo_node.evaluation.matching import overlaps_of_pairs
from gaussian_yolo_node.evaluation.paired import Paired, candidates

Record = Mapping[str, Any]

BDD_IOUS = (0.5, 0.7, 0.75)


def judge_class(paired: Paired, name: str, iou_threshold: float) -> Judged:
    """Which detections of a class are correct; all detections count."""
    found, objects = paired.found, paired.objects
    rows = found.of_class(name)
    wanted = (objects.classes == name) & ~objects.ignored
    correct = _first_of_each(
        found.boxes[rows],
        found.frames[rows],
        found.scores[rows],
        objects.boxes[wanted],
        objects.frames[wanted],
        iou_threshold,
    )
    truths_per_frame = np.bincount(objects.frames[wanted], minlength=len(paired.names))
    return Judged(found.scores[rows], correct, found.frames[rows], truths_per_frame, paired.names, 0)


def bdd_average_precision(
    ground_truth: Sequence[Record], predictions: Sequence[Record], iou_threshold: float = 0.75
) -> dict[str, float]:
    """All-point average precision of each class of the ground truth; 0 for a class without detections.

    Args:
        ground_truth: objects, `{"name": frame, "category": class, "bbox": [x1, y1, x2, y2]}` in px.
        predictions: detections, the same with "score".
        iou_threshold: the IoU of a detection with its object must exceed this.
    """
    correct = bdd_correct(ground_truth, predictions, iou_threshold)
    scores = np.array([detection["score"] for detection in predictions], np.float64)
    of_class = np.array([detection["category"] for detection in predictions], np.str_)
    categories = [truth["category"] for truth in ground_truth]
    return {
        name: all_point_ap(PrecisionRecall.of(scores[of_class == name], correct[of_class == name], count))
        for name, count in sorted((name, categories.count(name)) for name in set(categories))
    }


def bdd_correct(
    ground_truth: Sequence[Record], predictions: Sequence[Record], iou_threshold: float = 0.75
) -> NDArray[np.bool_]:
    """`[N]`, which predictions are correct; arguments as for `bdd_average_precision`.

    Of two detections of one object, the one with the higher score is correct; of equal scores, the first.
    """
    # Match per (class, frame).
    places = sorted({(truth["category"], truth["name"]) for truth in ground_truth})
    number = {place: index for index, place in enumerate(places)}
    truth_places = np.array([number[truth["category"], truth["name"]] for truth in ground_truth], np.intp)
    order = np.argsort(truth_places, kind="stable")
    return _first_of_each(
        _boxes(predictions),
        np.array([number.get((each["category"], each["name"]), -1) for each in predictions], np.intp),
        np.array([each["score"] for each in predictions], np.float64),
        _boxes(ground_truth)[order],
        truth_places[order],
        iou_threshold,
    )


def _first_of_each(
    boxes: NDArray[np.float64],
    frames: NDArray[np.intp],
    scores: NDArray[np.float64],
    truth_boxes: NDArray[np.float64],
    truth_frames: NDArray[np.intp],
    iou_threshold: float,
) -> NDArray[np.bool_]:
    """[N], which detections have the highest score on the object that they overlap most; `truth_frames` must not
    fall."""
    last_pixel = np.array([0.0, 0.0, 1.0, 1.0])  # the last pixel belongs to the box
    rows, objects = candidates(frames, truth_frames)
    iou = overlaps_of_pairs(boxes[rows] + last_pixel, truth_boxes[objects] + last_pixel)
    order = np.lexsort((objects, -iou, rows))
    rows, objects, iou = rows[order], objects[order], iou[order]
    best = np.diff(rows, prepend=-1) > 0
    hit = best & (iou > iou_threshold)
    rows, objects = rows[hit], objects[hit]
    order = np.lexsort((rows, -scores[rows], objects))
    first = np.diff(objects[order], prepend=-1) > 0
    correct = np.zeros(len(boxes), bool)
    correct[rows[order][first]] = True
    return correct


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    return np.array([record["bbox"] for record in records], np.float64).reshape(-1, 4)
