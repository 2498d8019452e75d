from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.matching import intersection_areas, overlaps

A = [0.0, 0.0, 10.0, 10.0]
POINT = [5.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("other", "shared", "iou"),
    [
        (A, 100, 1),
        ([0, 0, 10, 5], 50, 0.5),
        ([5, 5, 15, 15], 25, 25 / 175),
        ([10, 0, 20, 10], 0, 0),  # touching
        ([20, 20, 30, 30], 0, 0),
        (POINT, 0, 0),
    ],
)
def test_overlap(other: list[float], shared: float, iou: float) -> None:
    a, b = np.array([A]), np.array([other], np.float64)

    assert (intersection_areas(a, b), overlaps(a, b)) == (shared, iou)


def test_boxes_are_compared_row_by_row() -> None:
    a, b = np.array([A, POINT, A]), np.array([A, A, [0.0, 0, 10, 5]])
    assert overlaps(a, b).tolist() == [1, 0, 0.5]


def test_boxes_without_area_do_not_divide_by_zero() -> None:
    assert overlaps(np.array([POINT]), np.array([POINT])) == 0
