"""Draw detections: the mean box as lines, the standard deviation of each edge as a band or its borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

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
# A band wider than this many line widths would hide what is in the box; its borders are drawn instead.
_WIDEST_BAND = 14
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PADDING = 2
# Longest label, as a multiple of the longer side of its box: with all its text, and with the score alone.
_LONGEST_TEXT, _LONGEST_SCORE = 1.5, 2.0
# Share of a box that its own label may cover, and that the label of a box inside it may cover.
_COVERED_BY_OWN, _COVERED_BY_OTHER = 0.25, 0.05

_Area = tuple[int, int, int, int]


def draw_detections(frame_bgr: NDArray[np.uint8], detections: Detections, classes: Sequence[str]) -> NDArray[np.uint8]:
    """Draw detections on a copy of the frame.

    The mean box is drawn as solid lines. The standard deviation of each edge is a translucent band from one sigma
    inside to one outside; where such a band would be wide, dotted lines show its borders. Labels show class, score and
    the mean standard deviation of the edges in px. On a small box only the score is shown, or nothing, and no label
    lies on the outline of another box.

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
    boxes, sigmas = detections.boxes, edge_sigmas(detections)
    colours = [_COLOURS[class_id % len(_COLOURS)] for class_id in detections.class_ids]
    scale = max(0.4, min(frame_bgr.shape[0], frame_bgr.shape[1]) / 1200)
    thickness = max(1, round(2 * scale))

    wide = 2 * sigmas.max(axis=1) > _WIDEST_BAND * thickness
    inner, outer = _borders(boxes, sigmas)
    for index in range(len(boxes)):
        if wide[index]:
            for border in (inner[index], outer[index]):
                _draw_dotted(picture, border, colours[index], max(1, thickness // 2))
        else:
            _shade(picture, inner[index], outer[index], colours[index])
    for box, colour in zip(np.rint(boxes).astype(int).tolist(), colours, strict=True):
        cv2.rectangle(picture, box[:2], box[2:], colour, thickness)

    labels = []
    for class_id, score, sigma in zip(detections.class_ids, detections.scores, sigmas, strict=True):
        name = classes[class_id] if class_id < len(classes) else str(class_id)
        full = _Label(f"{name} {score:.2f} ", f"{_pixels(float(sigma.mean()))}px", scale)
        labels.append((full, _Label(f"{score:.2f}", "", scale)))
    around = np.where(wide[:, None], np.rint(boxes).astype(int), outer)
    for index, label, area in _place(labels, around, boxes, picture.shape[:2]):
        label.draw(picture, area, colours[index])
    return picture


def edge_sigmas(detections: Detections) -> NDArray[np.float32]:
    """Standard deviations [N, 2] of the vertical and the horizontal edges in px.

    An edge is `centre -+ size / 2`, with centre and size independent: `var_x = var_cx + var_w / 4`.
    """
    variances = detections.sigmas**2
    return np.sqrt(variances[:, :2] + variances[:, 2:] / 4).astype(np.float32)


def _borders(boxes: NDArray[np.float32], sigmas: NDArray[np.float32]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Boxes [N, 4] shrunk and grown by one sigma, in whole px; a shrunk one ends in its centre."""
    reach = np.concatenate([sigmas, sigmas], axis=1)
    signs = np.array([-1, -1, 1, 1], np.float32)
    to_centre = np.tile((boxes[:, 2:] - boxes[:, :2]) / 2, 2)
    return tuple(np.rint(boxes + signs * each).astype(int) for each in (-np.minimum(reach, to_centre), reach))


def _shade(picture: NDArray[np.uint8], inner: NDArray[np.int_], outer: NDArray[np.int_], colour: Colour) -> None:
    """Blend the colour into the ring between two borders, as four disjoint areas."""
    (u1, v1, u2, v2), (x1, y1, x2, y2) = np.maximum(inner, 0).tolist(), np.maximum(outer, 0).tolist()
    blended = _blended(colour)
    for left, top, right, bottom in ((x1, y1, x2, v1), (x1, v2, x2, y2), (x1, v1, u1, v2), (u2, v1, x2, v2)):
        area = picture[top:bottom, left:right]
        if area.size:
            area[:] = cv2.LUT(area, blended)


@cache
def _blended(colour: Colour) -> NDArray[np.uint8]:
    """Table [1, 256, 3] from a value of the frame to the one under a band."""
    values = np.arange(256)[None, :, None] * (1 - _BAND_OPACITY) + np.array(colour) * _BAND_OPACITY
    return np.rint(values).astype(np.uint8)


def _draw_dotted(picture: NDArray[np.uint8], border: NDArray[np.int_], colour: Colour, thickness: int) -> None:
    """A rectangle of dots, two line widths long and two apart."""
    height, width = picture.shape[:2]
    x1, y1, x2, y2 = border.tolist()
    columns, rows = (
        line[line % (4 * thickness) < 2 * thickness]
        for line in (np.arange(max(0, x1), min(width, x2 + 1)), np.arange(max(0, y1), min(height, y2 + 1)))
    )
    for y in (y1, y2):
        picture[max(0, y) : max(0, y + thickness), columns] = colour
    for x in (x1, x2):
        picture[rows, max(0, x) : max(0, x + thickness)] = colour


def _pixels(sigma: float) -> str:
    return f"{sigma:.1f}" if sigma < 9.95 else f"{sigma:.0f}"


@cache
def _digit(scale: float, thickness: int) -> tuple[int, int, int]:
    """Width and height of a digit, and what letters reach below it, in px."""
    (width, height), below = cv2.getTextSize("0", _FONT, scale, thickness)
    return int(width), int(height), int(below)


class _Label:
    """Text, and if there is more of it a "±" between, drawn as lines because OpenCV's fonts lack it."""

    def __init__(self, before: str, after: str, scale: float) -> None:
        self._before, self._after, self._scale = before, after, scale
        self._thickness = max(1, round(1.4 * scale))
        digit_width, self._text_height, baseline = _digit(scale, self._thickness)
        self._sign = digit_width if after else 0
        self._before_width = self._text_width(before)
        self.width = self._before_width + self._sign + self._text_width(after) + 2 * _PADDING
        self.height = self._text_height + baseline // 2 + 2 * _PADDING

    def _text_width(self, text: str) -> int:
        return int(cv2.getTextSize(text, _FONT, self._scale, self._thickness)[0][0]) if text else 0

    def draw(self, picture: NDArray[np.uint8], area: _Area, background: Colour) -> None:
        x1, y1, x2, y2 = area
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), background, cv2.FILLED)
        x, base = x1 + _PADDING, y1 + _PADDING + self._text_height
        for text, left in ((self._before, x), (self._after, x + self._before_width + self._sign)):
            cv2.putText(picture, text, (left, base), _FONT, self._scale, (0, 0, 0), self._thickness, cv2.LINE_AA)
        if self._after:
            self._draw_sign(picture, x + self._before_width + 1, base)

    def _draw_sign(self, picture: NDArray[np.uint8], left: int, base: int) -> None:
        right = left + self._sign - 3
        middle, reach = (left + right) // 2, (right - left) // 2
        plus = base - self._text_height // 2 - 1
        for start, end in (
            ((left, plus), (right, plus)),
            ((middle, plus - reach), (middle, plus + reach)),
            ((left, base), (right, base)),
        ):
            cv2.line(picture, start, end, (0, 0, 0), self._thickness)


def _place(
    labels: Sequence[tuple[_Label, _Label]],
    around: NDArray[np.int_],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
) -> Iterator[tuple[int, _Label, _Area]]:
    """Choose a text and a place for each box; the best one, which is the last, chooses first.

    Args:
        labels: per box the whole text, and the score alone.
        around: [N, 4], what the label of each box is put next to.
        boxes: [N, 4].
        frame_size: height and width in px.

    Yields:
        Index of the box, its label, and the label's area. A box without a free place is left out.
    """
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    places = np.stack([_places_beside(each, around, frame_size) for each in zip(*labels, strict=True)], axis=1)
    widths = places[:, :, :1, 2] - places[:, :, :1, 0]
    fitting = widths <= longer[:, None, None] * np.array([[_LONGEST_TEXT], [_LONGEST_SCORE]])
    clear, visible = (fitting & each for each in _leaves_boxes_visible(places, boxes))
    taken = np.empty((0, 4), int)
    for index in reversed(range(len(boxes))):
        # The whole text on no other box, else the score on none, else the score inside a larger one.
        for text, free in ((0, clear), (1, clear), (1, visible)):
            here = places[index, text][free[index, text]]
            chosen = here[~(_intersections(here, taken) > 0).any(axis=1)][:1] if len(here) else here
            if len(chosen):
                taken = np.concatenate([taken, chosen])
                yield index, labels[index][text], tuple(chosen[0].tolist())
                break


def _places_beside(labels: Sequence[_Label], around: NDArray[np.int_], frame_size: tuple[int, int]) -> NDArray[np.int_]:
    """Places [N, 7, 4] of one label per box: above, below, right, left, inside at the top; moved into the frame."""
    x1, y1, x2, y2 = around.T
    width, height = np.array([(label.width, label.height) for label in labels]).T
    corners = (
        *((x1, y1 - height), (x2 - width, y1 - height), (x1, y2 + 1), (x2 - width, y2 + 1)),
        *((x2 + 1, y1), (x1 - width, y1), (x1, y1)),
    )
    left, top = (np.stack(each, axis=1) for each in zip(*corners, strict=True))
    left = np.clip(left, 0, np.maximum(0, frame_size[1] - width)[:, None])
    top = np.clip(top, 0, np.maximum(0, frame_size[0] - height)[:, None])
    return np.stack([left, top, left + width[:, None], top + height[:, None]], axis=-1)


def _leaves_boxes_visible(
    places: NDArray[np.int_], boxes: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which of the places [N, texts, places, 4] for the labels of N boxes cover no other box, and which ones cover at
    most the inside of much larger boxes, but not their outlines.

    Either way a label may cover a part of its own box.
    """
    # A label may touch the outline of a neighbour.
    boxes = np.concatenate([np.minimum(boxes[:, :2] + 1, boxes[:, 2:]), boxes[:, 2:] - 1], axis=1)
    covered = _intersections(places, boxes)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    left, top, right, bottom = (places[..., None, side] for side in range(4))
    x1, y1, x2, y2 = boxes.T
    inside = (left > x1) & (top > y1) & (right < x2) & (bottom < y2)
    clear = covered == 0
    visible = clear | (inside & (covered <= _COVERED_BY_OTHER * areas))
    own = np.arange(len(boxes))
    for each in (clear, visible):
        each[own, :, :, own] = covered[own, :, :, own] <= (_COVERED_BY_OWN * areas)[:, None, None]
    return np.asarray(clear.all(axis=-1)), np.asarray(visible.all(axis=-1))


def _intersections(areas: NDArray[np.int_], boxes: NDArray[Any]) -> NDArray[Any]:
    """Intersections [..., N], in px^2, of areas [..., 4] with boxes [N, 4]."""
    across, down = (
        np.minimum(areas[..., None, axis + 2], boxes[:, axis + 2]) - np.maximum(areas[..., None, axis], boxes[:, axis])
        for axis in (0, 1)
    )
    return np.asarray(np.maximum(across, 0) * np.maximum(down, 0))
