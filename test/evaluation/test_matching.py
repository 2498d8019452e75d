from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.matching import intersection_areas, match_greedily, overlaps

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

    assert intersection_areas(a, b) == shared
    assert overlaps(a, b) == iou


def test_boxes_without_area_do_not_divide_by_zero() -> None:
    assert overlaps(np.array([POINT]), np.array([POINT])) == 0


@pytest.mark.parametrize(
    ("iou", "expected"),
    [
        ([[0.8], [0.9]], [0, -1]),  # the first detection takes the object, though the second fits better
        ([[0.8, 0.7], [0.9, 0.1]], [0, -1]),
        ([[0.8, 0.7], [0.9, 0.6]], [0, 1]),  # the second takes what the first left
        ([[0.5]], [0]),  # at the threshold
        ([[0.49]], [-1]),
        ([[0.6, 0.6]], [0]),
    ],
)
def test_match_greedily(iou: list[list[float]], expected: list[int]) -> None:
    assert match_greedily(np.array(iou), 0.5).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_match(shape: tuple[int, int]) -> None:
    assert match_greedily(np.zeros(shape), 0.5).tolist() == [-1] * shape[0]
