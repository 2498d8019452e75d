"""The JSON that `gaussian-yolo detect --json` writes, read back and checked."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation import LabelError


@dataclass(frozen=True, eq=False)
class FramePredictions:
    """Detections of one frame.

    Attributes:
        frame: file name, or index in a video.
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        scores: float64 [N].
        classes: N names.
        sigmas: float64 [N, 4], standard deviations of centre x, centre y, width, height in px; None if unknown.
    """

    frame: str | int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.str_]
    sigmas: NDArray[np.float64] | None = None


def read_predictions(path: Path) -> list[FramePredictions]:
    """Read a predictions file.

    Raises:
        LabelError: there is no such file, or it is not what `detect --json` writes; names the record.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelError(f"predictions {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LabelError(f"predictions {path} are not JSON: {error}") from error
    if not isinstance(document, list):
        raise LabelError(f"predictions {path} are not a JSON array with a record a frame")
    frames = []
    for number, record in enumerate(document):
        try:
            frames.append(_frame(record))
        except ValueError as error:
            raise LabelError(f"predictions {path}, record {number}: {error}") from error
    return frames


def _frame(record: Any) -> FramePredictions:
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
        boxes.append(box)
        scores.append(score)
        classes.append(name)
    return FramePredictions(
        frame,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(scores, np.float64),
        np.array(classes, np.str_),
        # Some with and some without would be a file put together from two.
        np.array(sigmas, np.float64).reshape(-1, 4) if len(sigmas) == len(boxes) else None,
    )


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond what a float holds
        return False
