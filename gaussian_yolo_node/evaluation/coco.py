"""COCO's average precision (Lin et al., ECCV 2014), computed by pycocotools.

Ignored regions become crowds of their class. Regions without a class, like KITTI's DontCare and neighbours, become
crowds of every class.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.paired import Paired


def coco_evaluation(paired: Paired, names: tuple[str, ...]) -> Any:
    """pycocotools' `COCOeval` of the classes, accumulated.

    Args:
        names: class names; a class's id is its position, from 1.

    Raises:
        ModuleNotFoundError: pycocotools is not installed.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, nothing = COCO(), COCO()
    nothing.dataset = {
        "info": {},
        "images": [{"id": index} for index in range(len(paired.names))],
        "categories": [{"id": index, "name": name} for index, name in enumerate(names, start=1)],
        "annotations": [],
    }
    truth.dataset = {**nothing.dataset, "annotations": list(_annotations(paired, names))}
    results = _results(paired, names)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints every step
        truth.createIndex()
        nothing.createIndex()
        # `loadRes` raises an error for an empty list.
        detections = truth.loadRes(results) if results else nothing
        evaluation = COCOeval(truth, detections, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def average_precision(evaluation: Any, place: int, iou: float | None = None) -> float:
    """AP of one class over all areas, 0..1; NaN without truths.

    Args:
        place: index of the class among the names, from 0.
        iou: 0.5, 0.55 .. 0.95; None for the mean over all ten.
    """
    precision = evaluation.eval["precision"][_at(evaluation, iou), :, place, 0, -1]
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def precisions(evaluation: Any, place: int, iou: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recalls 0, 0.01 .. 1 and the precision at each, both [101]."""
    at = evaluation.eval["precision"][_at(evaluation, iou), :, place, 0, -1]
    return np.asarray(evaluation.params.recThrs, np.float64), np.asarray(at[0], np.float64)


def counts_at(evaluation: Any, place: int, iou: float, score: float) -> tuple[int, int]:
    """True and false positives of one class at or above a score; a detection on a crowd is neither."""
    (at,) = _at(evaluation, iou)
    frames = len(evaluation.params.imgIds)
    # The first area range is "all"; evaluations are ordered by class, then area, then frame.
    start = place * len(evaluation.params.areaRng) * frames
    tp = fp = 0
    for frame in filter(None, evaluation.evalImgs[start : start + frames]):
        counts = (np.asarray(frame["dtScores"]) >= score) & (frame["dtIgnore"][at] == 0)
        right = frame["dtMatches"][at] > 0
        tp += int((counts & right).sum())
        fp += int((counts & ~right).sum())
    return tp, fp


def _at(evaluation: Any, iou: float | None) -> Any:
    return slice(None) if iou is None else np.flatnonzero(np.isclose(evaluation.params.iouThrs, iou))


def _annotations(paired: Paired, names: tuple[str, ...]) -> Any:
    number = 0
    truths = paired.truths
    columns = (paired.truth_frames, truths.boxes, paired.truth_classes, truths.ignored)
    for frame, box, kind, ignored in zip(*(column.tolist() for column in columns), strict=True):
        crowd = ignored or kind == ""
        for category, name in enumerate(names, start=1):
            if kind in ("", name):
                number += 1
                ids = {"id": number, "image_id": frame, "category_id": category}
                area = (box[2] - box[0]) * (box[3] - box[1])
                yield {**ids, "bbox": _sides(box), "area": area, "iscrowd": int(crowd)}


def _results(paired: Paired, names: tuple[str, ...]) -> list[dict[str, Any]]:
    ids = {name: index for index, name in enumerate(names, start=1)}
    detections = paired.detections
    columns = (paired.detection_frames, detections.boxes, detections.scores, paired.detection_classes)
    return [
        {"image_id": frame, "category_id": ids[name], "bbox": _sides(box), "score": score}
        for frame, box, score, name in zip(*(column.tolist() for column in columns), strict=True)
        if name in ids
    ]


def _sides(box: list[float]) -> list[float]:
    x1, y1, x2, y2 = box
    return [x1, y1, x2 - x1, y2 - y1]
