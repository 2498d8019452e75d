"""Which detections of one frame found which objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def box_areas(boxes: Floats) -> Floats:
    """Areas [N] of corner boxes [N, 4], px^2."""
    sides: Floats = boxes[:, 2:] - boxes[:, :2]
    return sides[:, 0] * sides[:, 1]


def intersection_areas(a: Floats, b: Floats) -> Floats:
    """Areas [N, M] that corner boxes [N, 4] and [M, 4] share, px^2."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    sides: Floats = np.maximum(high - low, 0.0)
    return sides[..., 0] * sides[..., 1]


def overlaps(a: Floats, b: Floats) -> Floats:
    """Intersection over union [N, M]; in float64, as published figures are, and 0 where both have no area."""
    shared = intersection_areas(a, b)
    union = box_areas(a)[:, None] + box_areas(b)[None, :] - shared
    return shared / np.maximum(union, np.finfo(np.float64).tiny)


def match_greedily(iou: Floats, threshold: float) -> NDArray[np.intp]:
    """Let each detection, in order, take the free object that it overlaps most, if by the threshold or more.

    Args:
        iou: [N, M], detections by falling score against objects.
        threshold: least IoU.

    Returns:
        [N], the object that each detection took, -1 for none.
    """
    taken = np.zeros(iou.shape[1], bool)
    matched = np.full(iou.shape[0], -1, np.intp)
    for row in np.flatnonzero((iou >= threshold).any(axis=1)):
        free = np.where(taken, -1.0, iou[row])
        best = int(free.argmax())
        if free[best] >= threshold:
            taken[best] = True
            matched[row] = best
    return matched
