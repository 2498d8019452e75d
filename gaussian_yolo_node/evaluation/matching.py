"""Detections beside the objects that they match, and box overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.sigma_correction import coordinate_sizes

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Detections from any number of frames, each beside the object it matches.

    Attributes:
        boxes, truths: [N, 4], x1 y1 x2 y2 in px.
        sigmas: [N, 4], standard deviations of centre x, centre y, width, height in px; None if unknown.
        classes: N names.
        frames: [N], frame number of each detection, in the order of the recording.
    """

    boxes: Floats
    truths: Floats
    sigmas: Floats | None
    classes: NDArray[np.str_]
    frames: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> MatchedBoxes:
        """The rows that a mask or an index array selects."""
        sigmas = None if self.sigmas is None else self.sigmas[rows]
        return MatchedBoxes(self.boxes[rows], self.truths[rows], sigmas, self.classes[rows], self.frames[rows])

    @property
    def errors(self) -> Floats:
        """[N, 4], centre x, centre y, width, height of the detection minus those of the object, px."""
        low, high = np.split(self.boxes - self.truths, 2, axis=1)
        return np.concatenate([(low + high) / 2, high - low], axis=1)

    @property
    def sizes(self) -> Floats:
        """[N, 4], the detection's width, height, width, height in px: the scale of each coordinate."""
        return coordinate_sizes(self.boxes)

    @property
    def ious(self) -> Floats:
        """[N], IoU of the detection with its object."""
        return overlaps(self.boxes, self.truths)


def join(parts: Sequence[MatchedBoxes]) -> MatchedBoxes:
    """Concatenate the boxes of one or more recordings; sigmas are dropped if any recording lacks them."""
    frames, count = [], 0
    for part in parts:
        frames.append(part.frames + count)
        count += int(part.frames.max(initial=-1)) + 1
    sigmas = [part.sigmas for part in parts if part.sigmas is not None]
    return MatchedBoxes(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.truths for part in parts]),
        np.concatenate(sigmas) if len(sigmas) == len(parts) else None,
        np.concatenate([part.classes for part in parts]),
        np.concatenate(frames),
    )


def box_areas(boxes: Floats) -> Floats:
    """Areas [..] of corner boxes [.., 4], px^2."""
    sides: Floats = boxes[..., 2:] - boxes[..., :2]
    return sides[..., 0] * sides[..., 1]


def intersection_areas(a: Floats, b: Floats) -> Floats:
    """Intersection areas [..] of the two corner boxes in each row of [.., 4], px^2; `a[:, None]` gives all pairs."""
    sides: Floats = np.maximum(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0.0)
    return sides[..., 0] * sides[..., 1]


def overlaps(a: Floats, b: Floats) -> Floats:
    """IoU of the two corner boxes in each row, in float64, as in published figures; 0 if both have no area.

    Shapes as in `intersection_areas`.
    """
    shared = intersection_areas(a, b)
    return shared / np.maximum(box_areas(a) + box_areas(b) - shared, np.finfo(np.float64).tiny)
