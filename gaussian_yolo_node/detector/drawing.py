"""Draw detections: the mean box as lines, the standard deviation of each edge as a band."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections

Colour = tuple[int, int, int]

# Okabe and Ito's colour-blind safe palette, BGR.
_COLOURS: tuple[Colour, ...] = (
    (0, 159, 230),
    (233, 180, 86),
    (115, 158, 0),
    (66, 228, 240),
    (167, 121, 204),
    (0, 94, 213),
    (178, 114, 0),
)
_BAND_OPACITY = 0.4
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PADDING = 2


def draw_detections(frame_bgr: NDArray[np.uint8], detections: Detections, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw detections on a copy of the frame.

    Each edge of the mean box is a solid line in a translucent band, from one standard deviation inside to one
    outside. Labels show the class, the score and the mean standard deviation of the edges in px.

    Args:
        frame_bgr: uint8 [H, W, 3].
        detections: in frame px.
        classes: names, indexed by class id; an id without a name is shown as a number.

    Returns:
        uint8 [H, W, 3].
    """
    picture: NDArray[np.uint8] = frame_bgr.copy()
    if not len(detections):
        return picture
    detections = detections[np.argsort(detections.scores, kind="stable")]  # the best one last, on top
    sigmas = edge_sigmas(detections)
    colours = [_COLOURS[class_id % len(_COLOURS)] for class_id in detections.class_ids]

    outer = detections.boxes + np.concatenate([-sigmas, sigmas], axis=1)

    shaded: NDArray[np.uint8] = frame_bgr.copy()
    for box, sigma, colour in zip(detections.boxes, sigmas, colours, strict=True):
        for x1, y1, x2, y2 in _bands(box, sigma):
            shaded[y1:y2, x1:x2] = colour
    cv2.addWeighted(shaded, _BAND_OPACITY, frame_bgr, 1 - _BAND_OPACITY, 0, dst=picture)

    scale = max(0.4, min(frame_bgr.shape[0], frame_bgr.shape[1]) / 1200)
    thickness = max(1, round(2 * scale))
    for box, colour in zip(detections.boxes, colours, strict=True):
        x1, y1, x2, y2 = (int(value) for value in np.rint(box))
        cv2.rectangle(picture, (x1, y1), (x2, y2), colour, thickness)

    taken: list[_Area] = []
    for index in reversed(range(len(detections))):  # the best one is placed first
        class_id = int(detections.class_ids[index])
        name = classes[class_id] if class_id < len(classes) else str(class_id)
        before = f"{name} {detections.scores[index]:.2f} "
        after = f"{_pixels(float(sigmas[index].mean()))}px"
        label = _Label(before, after, scale)
        area = _place(label.width, label.height, outer[index], picture.shape[:2], taken)
        taken.append(area)
        label.draw(picture, area, colours[index])
    return picture


def edge_sigmas(detections: Detections) -> NDArray[np.float32]:
    """Standard deviations [N, 2] of the vertical and the horizontal edges in px.

    An edge is `centre -+ size / 2`, with centre and size independent: `var_x = var_cx + var_w / 4`.
    """
    variances = detections.sigmas**2
    return np.sqrt(variances[:, :2] + variances[:, 2:] / 4).astype(np.float32)


_Area = tuple[int, int, int, int]


def _bands(box: NDArray[np.float32], sigma: NDArray[np.float32]) -> list[_Area]:
    """The ring between the box grown by sigma and the box shrunk by sigma, as four disjoint areas."""
    reach = np.concatenate([sigma, sigma])
    signs = np.array([-1, -1, 1, 1], np.float32)
    x1, y1, x2, y2 = (max(0, int(value)) for value in np.rint(box + signs * reach))
    centre = np.tile((box[:2] + box[2:]) / 2, 2)
    shrunk = box - signs * np.minimum(reach, np.abs(box - centre))
    u1, v1, u2, v2 = (max(0, int(value)) for value in np.rint(shrunk))
    return [(x1, y1, x2, v1), (x1, v2, x2, y2), (x1, v1, u1, v2), (u2, v1, x2, v2)]


def _pixels(sigma: float) -> str:
    return f"{sigma:.1f}" if sigma < 9.95 else f"{sigma:.0f}"


class _Label:
    """Text with a "±", drawn as lines because OpenCV's fonts lack it."""

    def __init__(self, before: str, after: str, scale: float) -> None:
        self._before, self._after, self._scale = before, after, scale
        self._thickness = max(1, round(1.4 * scale))
        (digit_width, self._text_height), self._baseline = cv2.getTextSize("0", _FONT, scale, self._thickness)
        self._sign = digit_width
        self._before_width = self._text_width(before)
        self.width = self._before_width + self._sign + self._text_width(after) + 2 * _PADDING
        self.height = self._text_height + self._baseline // 2 + 2 * _PADDING

    def _text_width(self, text: str) -> int:
        return int(cv2.getTextSize(text, _FONT, self._scale, self._thickness)[0][0])

    def draw(self, picture: NDArray[np.uint8], area: _Area, background: Colour) -> None:
        x1, y1, x2, y2 = area
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), background, cv2.FILLED)
        x, base = x1 + _PADDING, y1 + _PADDING + self._text_height
        for text, left in ((self._before, x), (self._after, x + self._before_width + self._sign)):
            cv2.putText(picture, text, (left, base), _FONT, self._scale, (0, 0, 0), self._thickness, cv2.LINE_AA)
        left, right = x + self._before_width + 1, x + self._before_width + self._sign - 2
        middle, reach = (left + right) // 2, (right - left) // 2
        plus = base - self._text_height // 2 - 1
        for start, end in (
            ((left, plus), (right, plus)),
            ((middle, plus - reach), (middle, plus + reach)),
            ((left, base), (right, base)),
        ):
            cv2.line(picture, start, end, (0, 0, 0), self._thickness)


def _place(width: int, height: int, box: NDArray[np.float32], frame_size: tuple[int, int], taken: list[_Area]) -> _Area:
    """Position of a label, the first free one: above the box, below it, inside at the top, or one label further."""
    frame_height, frame_width = frame_size
    x1, y1, _, y2 = (int(value) for value in np.rint(box))
    left = max(0, min(x1, frame_width - width))
    places = []
    for top in (y1 - height, y2 + 1, y1 + 1, y1 - 2 * height, y2 + 1 + height):
        top = max(0, min(top, frame_height - height))
        places.append((left, top, left + width, top + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _overlap(a: _Area, b: _Area) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
