"""Thumbnails of frames with their objects and detections."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

Picture = NDArray[np.uint8]
Floats = NDArray[np.float64]

# Budget for all pictures of a report, before base64; small enough to mail the page.
BUDGET_BYTES = 2_500_000
_WIDTHS = (960, 720, 480, 320)
_QUALITIES = (85, 70, 50)

_WHITE, _BLACK, _GREY, _RED = (255, 255, 255), (0, 0, 0), (170, 170, 170), (40, 40, 235)
_DASH = 7


def annotate(
    image: Picture, predictions: FramePredictions, objects: Floats, missed: Floats, ignored: Floats, wrong: Floats
) -> Picture:
    """The frame with its objects and detections drawn in.

    Args:
        image: uint8 [H, W, 3], BGR.
        predictions: the detections to draw.
        objects: [N, 4], x1 y1 x2 y2 in px, detected objects: dashed white.
        missed: [N, 4], missed objects: dashed white on red.
        ignored: [N, 4], regions that count neither way: dashed grey.
        wrong: [N, 4], false positives: crossed out in red.
    """
    with_objects: Picture = image.copy()
    for box in ignored:
        _dashed(with_objects, box, _GREY, _BLACK)
    for box in objects:
        _dashed(with_objects, box, _WHITE, _BLACK)
    names = [_printable(name) for name in predictions.classes]
    picture = draw_detections(with_objects, predictions.detections, names)
    # Mistakes are drawn last, on top, because they are the purpose of the picture.
    for box in missed:
        _dashed(picture, box, _WHITE, _RED)
    for x1, y1, x2, y2 in _pixels(wrong):
        cv2.line(picture, (x1, y1), (x2, y2), _RED, 2, cv2.LINE_AA)
        cv2.line(picture, (x1, y2), (x2, y1), _RED, 2, cv2.LINE_AA)
    return picture


def data_uris(pictures: Mapping[str, Picture], budget: int = BUDGET_BYTES) -> dict[str, str]:
    """JPEG data URIs, at the largest size and best quality that fit the budget together.

    Args:
        pictures: uint8 [H, W, 3], BGR.
        budget: total bytes, before base64.
    """
    coded: list[bytes] = []
    for width, quality in product(_WIDTHS, _QUALITIES):
        coded = [_jpeg(_fit(picture, width), quality) for picture in pictures.values()]
        if sum(map(len, coded)) <= budget:
            break
    return {
        name: f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        for name, jpeg in zip(pictures, coded, strict=True)
    }


def _dashed(picture: Picture, box: Floats, colour: tuple[int, int, int], beneath: tuple[int, int, int]) -> None:
    # A solid line below makes the dashes visible on any background.
    ((x1, y1, x2, y2),) = _pixels(box[None])
    cv2.rectangle(picture, (x1, y1), (x2, y2), beneath, 2)
    for start in range(x1, x2, 2 * _DASH):
        for y in (y1, y2):
            cv2.line(picture, (start, y), (min(start + _DASH, x2), y), colour, 2)
    for start in range(y1, y2, 2 * _DASH):
        for x in (x1, x2):
            cv2.line(picture, (x, start), (x, min(start + _DASH, y2)), colour, 2)


def _pixels(boxes: Floats) -> list[tuple[int, int, int, int]]:
    # Labels may lie far outside; the limit is larger than any picture.
    rounded = np.rint(np.clip(boxes, -(1 << 14), 1 << 14)).astype(int)
    return [(int(x1), int(y1), int(x2), int(y2)) for x1, y1, x2, y2 in rounded]


def _printable(name: str) -> str:
    # OpenCV's fonts have only printable ASCII.
    return "".join(character if " " <= character <= "~" else "?" for character in name)


def _fit(picture: Picture, width: int) -> Picture:
    height, full = picture.shape[:2]
    scale = min(1.0, width / full, width / height)
    if scale == 1:
        return picture
    size = (max(1, round(full * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _jpeg(picture: Picture, quality: int) -> bytes:
    ok, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    return coded.tobytes()
