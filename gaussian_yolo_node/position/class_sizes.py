"""What is known of an object from its class alone: size, and how far its centre is behind its nearest edge."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ClassSize:
    """Typical size of a class, m.

    Attributes:
        length, width, height: medians.
        height_sigma: standard deviation of the height, from the central 68 %.
        reach: intercept and slope of the line that gives the distance ahead from the nearest edge to the centre, by
            the box's width over its height.
        reach_sigma: standard deviation about that line, from the central 68 %.
        shift_sigma: standard deviation of the centre about the middle of the box, sideways, from the central 95 %,
            because turning objects make long tails.
    """

    length: float
    width: float
    height: float
    height_sigma: float
    reach: tuple[float, float]
    reach_sigma: float
    shift_sigma: float


_KITTI = {
    "car": ClassSize(3.88, 1.63, 1.5, 0.115, (2.46, -0.37), 0.33, 0.09),
    "van": ClassSize(4.98, 1.89, 2.13, 0.35, (3.45, -0.73), 0.46, 0.1),
    "truck": ClassSize(10.81, 2.63, 3.34, 0.363, (6.49, -1.27), 1.37, 0.18),
    "pedestrian": ClassSize(0.89, 0.65, 1.77, 0.115, (0.37, 0.18), 0.13, 0.11),
    "person sitting": ClassSize(0.75, 0.59, 1.26, 0.08, (0.47, -0.15), 0.07, 0.01),
    "cyclist": ClassSize(1.75, 0.6, 1.75, 0.09, (1.15, -0.48), 0.13, 0.02),
    "tram": ClassSize(14.66, 2.6, 3.61, 0.166, (7.94, -0.13), 3.9, 0.34),
}
# From the 7,392 KITTI label files of other drives than 0011, by `python benchmarks/positions.py --fit`; with the names
# that COCO and BDD100K have for the same classes. They have others that KITTI lacks, such as bus: give their sizes.
CLASS_SIZES: Mapping[str, ClassSize] = {
    **_KITTI,
    "person": _KITTI["pedestrian"],
    "rider": _KITTI["cyclist"],
    "train": _KITTI["tram"],
}


def size_table(classes: Sequence[str], sizes: Mapping[str, ClassSize]) -> Floats:
    """[8, classes]: height, its sigma, intercept and slope of the reach, its limits, its sigma, the shift's sigma, m.

    NaN for a class without a size. The reach is from half the shorter side to half the diagonal.
    """
    rows = []
    for name in classes:
        size = sizes.get(name.lower())
        if size is None:
            rows.append((math.nan,) * 8)
            continue
        limits = min(size.length, size.width) / 2, math.hypot(size.length, size.width) / 2
        rows.append((size.height, size.height_sigma, *size.reach, *limits, size.reach_sigma, size.shift_sigma))
    return np.array(rows, np.float64).reshape(-1, 8).T
