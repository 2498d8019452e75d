"""Average precision as defined by BDD100K's evaluation of 2018, which Gaussian YOLOv3 reports.

Pixels have an area: a box from 3 to 5 is 3 px wide. Each detection is compared with the one object of its class that it
overlaps most, and is wrong if a better detection already took that object. IoU must be above the threshold. There are
no ignored regions: a detection in one is wrong.
"""

from __future__ import annotations

import numpy as np

from gaussian_yolo_node.evaluation.all_objects import Judged
from gaussian_yolo_node.evaluation.matching import overlaps
from gaussian_yolo_node.evaluation.paired import Indices, Paired, candidates

BDD_IOUS = (0.5, 0.7, 0.75)


def judge_class(paired: Paired, name: str, iou_threshold: float) -> Judged:
    """Which detections of a class are correct; all detections count.

    Of two detections of one object, the one with the higher score is correct; of equal scores, the first.
    """
    rows = paired.detections_of(name)
    return Judged.of(paired, name, rows, _first_of_each(paired, rows, paired.objects_of(name), iou_threshold))


def _first_of_each(paired: Paired, rows: Indices, objects: Indices, iou_threshold: float) -> Indices:
    """[N], the object that each detection overlaps most; -1 if the IoU is not above the threshold, or a detection
    before it, by falling score, has that object.

    Args:
        rows: [N], indices of detections by falling score.
        objects: [M], rising indices of objects.
    """
    last_pixel = np.array([0.0, 0.0, 1.0, 1.0])  # the last pixel belongs to the box
    boxes, truths = paired.detections.boxes[rows] + last_pixel, paired.truths.boxes[objects] + last_pixel
    places, targets = candidates(paired.detection_frames[rows], paired.truth_frames[objects])
    iou = overlaps(boxes[places], truths[targets])
    order = np.lexsort((targets, -iou, places))
    places, targets, iou = places[order], targets[order], iou[order]
    hit = (np.diff(places, prepend=-1) > 0) & (iou > iou_threshold)
    places, targets = places[hit], targets[hit]
    taken, first = np.unique(targets, return_index=True)
    matches = np.full(len(rows), -1, np.intp)
    matches[places[first]] = objects[taken]
    return matches
