"""Depths of boxes from a depth image (REP 118: uint16 in mm or float32 in m)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.position.camera import PositionError

Floats = NDArray[np.float64]

_INNER = 0.5  # share of width and height: background shows at a box's edges
_GRID = 8  # sampled rows and columns
_LEAST_SHARE = 0.3  # of the samples that must have a value
# Of a normal distribution: standard deviation over median absolute deviation.
_MAD_TO_SIGMA = 1.4826
_SENSOR_SIGMA = 0.01  # of the depth; calibration errors of stereo and time-of-flight cameras, which no spread shows


def read_depths(
    depth: NDArray[np.uint16] | NDArray[np.float32], boxes: Floats, size: tuple[int, int]
) -> tuple[Floats, Floats]:
    """Median depth in the inner part of each box, and its spread.

    Args:
        depth: [H, W], uint16 in mm or float32 in m; 0 or not finite where unknown.
        boxes: [N, 4], x1 y1 x2 y2 in px of the camera's image.
        size: (height, width) of that image in px.

    Returns:
        Depths [N] along the optical axis and standard deviations [N], m: those of the values in the box, not of their
        mean, because they are of one surface. NaN where under 30 % of the samples have a value.

    Raises:
        PositionError: the image is of another type.
    """
    if depth.ndim != 2 or depth.dtype not in (np.uint16, np.float32) or not depth.size:
        raise PositionError(
            f"the depth image is {depth.dtype} {list(depth.shape)}; it must be uint16 in mm or float32 in m, [H, W]"
        )
    steps = (np.arange(_GRID) + 0.5) / _GRID * _INNER + (1 - _INNER) / 2
    low, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
    scale = np.array([depth.shape[1] / size[1], depth.shape[0] / size[0]])
    points = ((low[:, None] + sides[:, None] * steps[:, None]) * scale).astype(np.intp)
    columns = np.clip(points[..., 0], 0, depth.shape[1] - 1)
    rows = np.clip(points[..., 1], 0, depth.shape[0] - 1)
    values = depth[rows[:, :, None], columns[:, None, :]].reshape(len(boxes), _GRID**2).astype(np.float64)
    if depth.dtype == np.uint16:
        values /= 1000
    values[~((values > 0) & (values < np.inf))] = np.nan
    counts = np.isfinite(values).sum(1)
    median = _medians(values, counts)
    spread = _medians(np.abs(values - median[:, None]), counts)
    return median, np.hypot(_MAD_TO_SIGMA * spread, _SENSOR_SIGMA * median)


def _medians(values: Floats, counts: NDArray[np.intp]) -> Floats:
    """[N] of the finite values of each row (the upper of two middle ones); NaN where they are too few."""
    ordered = np.sort(values, axis=1)  # NaN last
    middle = np.take_along_axis(ordered, (counts // 2)[:, None].clip(max=values.shape[1] - 1), axis=1)[:, 0]
    return np.where(counts >= _LEAST_SHARE * values.shape[1], middle, np.nan)
