"""Motion of the picture that the camera's own turning causes, by sparse optical flow.

The idea is the camera motion compensation of BoT-SORT (Aharon et al., 2022, section 3.1): corners are followed from
frame to frame (Lucas and Kanade, IJCAI 1981, in pyramids), and a robust fit tells the motion of the background from
that of objects. The fit has a scale and a shift, no rotation, so that the coordinates of a box stay independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

_WIDTH = 480  # px, to which frames are reduced
_CORNERS = 200
_LEAST_INLIERS = 20


@dataclass(frozen=True)
class CameraMotion:
    """Where points of the frame before are now: at `scale * (x, y) + shift`.

    Attributes:
        scale: along x and y.
        shift: along x and y, px.
    """

    scale: tuple[float, float]
    shift: tuple[float, float]


class EgoMotion:
    """Estimates the motion of the picture from one frame of a camera to the next. Not thread-safe.

    It takes 10 to 20 ms per frame on one core, so the tracker does without unless it is given a motion.
    """

    def __init__(self) -> None:
        self._before: NDArray[np.uint8] | None = None

    def __call__(self, frame_bgr: NDArray[np.uint8]) -> CameraMotion | None:
        """The motion since the frame before; None for the first frame, one of another size, or too few corners.

        Args:
            frame_bgr: uint8 [H, W, 3].
        """
        height, width = frame_bgr.shape[:2]
        reduction = max(1.0, width / _WIDTH)
        size = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        small = cv2.resize(frame_bgr, size, interpolation=cv2.INTER_AREA)
        grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.uint8, copy=False)
        before, self._before = self._before, grey
        if before is None or before.shape != grey.shape:
            return None
        corners = cv2.goodFeaturesToTrack(before, _CORNERS, 0.01, 7)
        if corners is None:
            return None
        moved, found, _ = cv2.calcOpticalFlowPyrLK(before, grey, corners, np.empty_like(corners))
        followed = found.ravel() == 1
        return _fit(corners.reshape(-1, 2)[followed], moved.reshape(-1, 2)[followed], width / size[0])


def _fit(before: NDArray[Any], now: NDArray[Any], reduction: float) -> CameraMotion | None:
    """The scale and shift that most of the points share, in px of the whole frame."""
    if len(before) < _LEAST_INLIERS:
        return None
    _, inliers = cv2.estimateAffinePartial2D(before, now, method=cv2.RANSAC, ransacReprojThreshold=1.0)
    if inliers is None or inliers.sum() < _LEAST_INLIERS:
        return None
    a, b = (points[inliers.ravel() == 1].astype(np.float64) * reduction for points in (before, now))
    centred = a - a.mean(axis=0)
    scale = float((centred * (b - b.mean(axis=0))).sum() / max((centred**2).sum(), 1e-9))
    shift = b.mean(axis=0) - scale * a.mean(axis=0)
    return CameraMotion((scale, scale), (float(shift[0]), float(shift[1])))
