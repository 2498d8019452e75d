"""Read detections from the output of `gaussian-yolo detect --json` and from the formats of evaluation tools."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.labels.annotations import LabelError
from gaussian_yolo_node.labels.json_file import read_document
from gaussian_yolo_node.labels.labelled_frames import FramePredictions


class Truths(Protocol):
    """The part of `GroundTruth` that reading predictions needs."""

    @property
    def frames(self) -> Mapping[str, object]: ...

    @property
    def image_ids(self) -> Mapping[int, str]: ...

    @property
    def category_ids(self) -> Mapping[int, str]: ...


def read_predictions(path: Path, truths: Truths | None = None) -> list[FramePredictions]:
    """Read detections: the JSON of `detect --json`, the list of BDD's evaluation, COCO's results, or a bag.

    Args:
        truths: the ground truth. COCO's results refer to its image and category ids. Files with one record per box
            omit frames without detections, so frames of the ground truth that are not in the file have none.

    Raises:
        LabelError: the file does not exist, or has none of these formats; the message names the record.
        BagError: the bag cannot be read, or has no detections.
    """
    if path.exists() and is_bag(path):
        from gaussian_yolo_node.labels.bag_records import read_bag_predictions

        return read_bag_predictions(path)
    document = read_document(path, "predictions")
    if not isinstance(document, list):
        raise LabelError(
            f"predictions {path} are not a JSON array: with a record a frame, as `detect --json` writes, or with a "
            'record a box, as the evaluations of BDD ("name", "category", "bbox", "score") and COCO want'
        )
    if document and isinstance(document[0], dict) and "bbox" in document[0]:
        return _from_boxes(path, document, truths)
    frames = []
    for number, record in enumerate(document):
        try:
            frames.append(_frame(record))
        except ValueError as error:
            raise LabelError(f"predictions {path}, record {number}: {error}") from error
    return frames


def _from_boxes(path: Path, records: list[Any], truths: Truths | None) -> list[FramePredictions]:
    """From one record per box; frames are in the order of their first box."""
    found: dict[str, list[tuple[str, float, list[float]]]] = {}
    places: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        try:
            name, box = _box_record(record, truths)
        except ValueError as error:
            raise LabelError(f"predictions {path}, record {number}: {error}") from error
        found.setdefault(name, []).append(box)
        places.setdefault(name, []).append(number)
    named = found.keys() | {Path(name).stem for name in found}
    empty = [name for name in (truths.frames if truths else ()) if name not in named and Path(name).stem not in named]
    frames = [replace(_arrays(name, boxes), places=np.array(places[name])) for name, boxes in found.items()]
    return frames + [replace(_arrays(name, []), places=np.empty(0, np.intp)) for name in empty]


def _box_record(record: Any, truths: Truths | None) -> tuple[str, tuple[str, float, list[float]]]:
    """Frame, and (class, score, corners)."""
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    box: Any = record.get("bbox")
    score: Any = record.get("score")
    frame: Any
    category: Any
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
        raise ValueError('it has no "bbox" of four finite numbers')
    if not _is_finite(score):
        raise ValueError('it has no finite "score"')
    if "image_id" in record:
        x, y, width, height = box
        box = [x, y, x + width, y + height]
        frame = _of_id(record, "image_id", truths.image_ids if truths else {})
        category = _of_id(record, "category_id", truths.category_ids if truths else {})
    else:
        frame, category = record.get("name"), record.get("category")
    if not isinstance(frame, str) or not isinstance(category, str):
        raise ValueError('it has neither "name" and "category" nor COCO\'s "image_id" and "category_id"')
    if box[0] > box[2] or box[1] > box[3]:
        raise ValueError(f"its box is not x1 <= x2, y1 <= y2: {box}")
    return frame, (category, float(score), [float(value) for value in box])


def _of_id(record: dict[str, Any], key: str, names: Mapping[int, str]) -> str:
    number = record.get(key)
    if not names:
        raise ValueError(f'it has an "{key}", as COCO\'s results have: the ground truth must be COCO JSON, too')
    if not isinstance(number, int) or number not in names:
        raise ValueError(f'its "{key}" {number} is not in the ground truth')
    return names[number]


def _frame(record: Any) -> FramePredictions:
    if not isinstance(record, dict):
        raise ValueError("it is not an object")
    frame = record.get("frame")
    if not isinstance(frame, str | int) or isinstance(frame, bool):
        raise ValueError('"frame" is neither a name nor an index')
    detections = record.get("detections")
    if not isinstance(detections, list):
        raise ValueError('"detections" is not an array')
    found, sigmas = [], []
    for number, detection in enumerate(detections):
        where = f"detection {number}"
        if not isinstance(detection, dict):
            raise ValueError(f"{where} is not an object")
        name: Any
        score: Any
        box: Any
        name, score, box = (detection.get(key) for key in ("class", "score", "box"))
        if not isinstance(name, str):
            raise ValueError(f'{where} has no "class"')
        if not _is_finite(score):
            raise ValueError(f'{where} has no finite "score"')
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise ValueError(f'{where} has no "box" of four finite numbers')
        if box[0] > box[2] or box[1] > box[3]:
            raise ValueError(f'{where} has a "box" that is not x1 <= x2, y1 <= y2: {box}')
        sigma = detection.get("sigma")
        if sigma is not None:
            if not isinstance(sigma, list) or len(sigma) != 4 or not all(_is_finite(s) and s >= 0 for s in sigma):
                raise ValueError(f'{where} has a "sigma" that is not four numbers from 0 up: {sigma}')
            sigmas.append(sigma)
        found.append((name, score, box))
    # Sigmas of only some detections (a file merged from two) are unusable.
    return _arrays(frame, found, sigmas if len(sigmas) == len(found) else None)


def _arrays(
    frame: str | int, found: Iterable[tuple[str, float, list[float]]], sigmas: list[list[float]] | None = None
) -> FramePredictions:
    classes, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    return FramePredictions(
        frame,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
        np.array(classes, np.str_),
        None if sigmas is None else np.array(sigmas, np.float64).reshape(-1, 4),
    )


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer too large for a float
        return False
