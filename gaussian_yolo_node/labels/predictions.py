"""Read detections from the output of `gaussian-yolo detect --json` and from the formats of evaluation tools."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, GroundTruth
from gaussian_yolo_node.labels.reading import is_number, read_json


def read_predictions(path: Path, truths: GroundTruth | None = None) -> list[FramePredictions]:
    """Read detections: the JSON of `detect --json`, the list of BDD's evaluation, COCO's results, or a bag.

    Args:
        truths: the ground truth. COCO's results refer to its image and category ids. Files with one record per box
            omit frames without detections, so frames of the ground truth that are not in the file have none.

    Raises:
        DatasetError: the file does not exist, or has none of these formats; the message names the record.
        BagError: the bag cannot be read, or has no detections.
    """
    if path.exists() and is_bag(path):
        from gaussian_yolo_node.labels.bag_records import read_bag_predictions

        return read_bag_predictions(path)
    document = read_json(path, "predictions file")
    if not isinstance(document, list):
        raise DatasetError(
            f"predictions {path} are not a JSON array: with a record a frame, as `detect --json` writes, or with a "
            'record a box, as the evaluations of BDD ("name", "category", "bbox", "score") and COCO want'
        )
    by_box = bool(document) and isinstance(document[0], dict) and "bbox" in document[0]
    frames = []
    boxes: dict[str, list[tuple[int, str, float, list[float]]]] = {}  # of each frame, with the number of the record
    for number, record in enumerate(document):
        try:
            if by_box:
                frame, category, score, box = _box_record(record, truths)
                boxes.setdefault(frame, []).append((number, category, score, box))
            else:
                frames.append(_frame_record(record))
        except ValueError as error:
            raise DatasetError(f"predictions {path}, record {number}: {error}") from error
    if not by_box:
        return frames
    named = boxes.keys() | {Path(name).stem for name in boxes}
    for name in truths.frames if truths else ():
        if name not in named and Path(name).stem not in named:
            boxes[name] = []
    for name, rows in boxes.items():
        places, classes, scores, corners = zip(*rows, strict=True) if rows else ((), (), (), ())
        frames.append(FramePredictions.of(name, corners, scores, classes, places=places))
    return frames


def _frame_record(record: Any) -> FramePredictions:
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    frame = record.get("frame")
    if not isinstance(frame, str | int) or isinstance(frame, bool):
        raise ValueError('"frame" is neither a name nor an index')
    detections = record.get("detections")
    if not isinstance(detections, list):
        raise ValueError('"detections" is not an array')
    boxes, scores, classes, sigmas = [], [], [], []
    for number, detection in enumerate(detections):
        where = f"detection {number}"
        if not isinstance(detection, dict):
            raise ValueError(f"{where} is not an object")
        if not isinstance(detection.get("class"), str):
            raise ValueError(f'{where} has no "class"')
        classes.append(detection["class"])
        scores.append(_score(detection, where))
        boxes.append(_box(detection, "box", where))
        sigma = detection.get("sigma")
        if sigma is not None:
            if not _are_four(sigma) or min(sigma) < 0:
                raise ValueError(f'{where} has a "sigma" that is not four numbers from 0 up: {sigma}')
            sigmas.append(sigma)
    # Sigmas of only some detections (a file merged from two) are unusable.
    return FramePredictions.of(frame, boxes, scores, classes, sigmas if len(sigmas) == len(boxes) else None)


def _box_record(record: Any, truths: GroundTruth | None) -> tuple[str, str, float, list[float]]:
    """Frame, class, score and corners."""
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    frame, category = record.get("name"), record.get("category")
    if "image_id" in record:
        frame = _of_id(record, "image_id", truths.image_ids if truths else {})
        category = _of_id(record, "category_id", truths.category_ids if truths else {})
        if _are_four(record.get("bbox")):
            x, y, width, height = record["bbox"]
            record = {**record, "bbox": [x, y, x + width, y + height]}
    score, box = _score(record, "it"), _box(record, "bbox", "it")
    if not isinstance(frame, str) or not isinstance(category, str):
        raise ValueError('it has neither "name" and "category" nor COCO\'s "image_id" and "category_id"')
    return frame, category, score, box


def _of_id(record: dict[str, Any], key: str, names: Mapping[int, str]) -> str:
    number = record.get(key)
    if not names:
        raise ValueError(f'it has an "{key}", as COCO\'s results have: the ground truth must be COCO JSON, too')
    if not isinstance(number, int) or number not in names:
        raise ValueError(f'its "{key}" {number} is not in the ground truth')
    return names[number]


def _score(record: dict[str, Any], where: str) -> float:
    score: Any = record.get("score")
    if not is_number(score):
        raise ValueError(f'{where} has no finite "score"')
    if not 0 <= score <= 1:
        raise ValueError(f'{where} has a "score" of {score}, and scores are from 0 to 1: scale them')
    return float(score)


def _box(record: dict[str, Any], key: str, where: str) -> list[float]:
    box: Any = record.get(key)
    if not _are_four(box):
        raise ValueError(f'{where} has no "{key}" of four finite numbers')
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f'{where} has a "{key}" that is not x1 <= x2, y1 <= y2: {box}')
    return [float(value) for value in box]


def _are_four(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 4 and all(map(is_number, values))
