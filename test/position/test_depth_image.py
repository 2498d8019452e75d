from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.position.camera import PositionError
from gaussian_yolo_node.position.depth_image import read_depths

SIZE = (100, 200)
BOX = np.array([[40.0, 20.0, 120.0, 80.0]])


def scene(value: float = 12.0, background: float = 50.0) -> np.ndarray:
    depth = np.full(SIZE, background, np.float32)
    depth[20:80, 40:120] = value
    return depth


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (scene(), 12.0),
        ((scene() * 1000).astype(np.uint16), 12.0),
        (np.repeat(np.repeat(scene(), 2, 0), 2, 1), 12.0),  # of twice the resolution
        (np.zeros(SIZE, np.uint16), np.nan),
        (np.full(SIZE, np.nan, np.float32), np.nan),
        (np.full(SIZE, np.inf, np.float32), np.nan),
        (np.full(SIZE, -1, np.float32), np.nan),
    ],
)
def test_depth_is_the_median_of_the_inner_part(depth: np.ndarray, expected: float) -> None:
    median, sigma = read_depths(depth, BOX, SIZE)
    np.testing.assert_allclose(median, [expected])
    np.testing.assert_allclose(sigma, [0.01 * expected])


def test_spread_is_robust() -> None:
    rng = np.random.default_rng(0)
    depth = scene() + rng.normal(0, 0.5, SIZE).astype(np.float32)
    depth[20:80, 60:72] = 45.0  # a gap in the object
    median, sigma = read_depths(depth, BOX, SIZE)
    assert median[0] == pytest.approx(12.0, abs=0.4) and 0.3 < sigma[0] < 1.2


def test_too_few_values_are_none() -> None:
    depth = np.full(SIZE, np.nan, np.float32)
    depth[35:42, 60:100] = 12.0  # a quarter of the inner part
    assert np.isnan(read_depths(depth, BOX, SIZE)[0]).all()
    depth[35:60, 60:100] = 12.0
    assert read_depths(depth, BOX, SIZE)[0] == pytest.approx([12.0])


def test_boxes_outside_and_none() -> None:
    outside = np.array([[-50.0, -50.0, 400.0, 300.0], [90.0, 90.0, 90.0, 90.0]])
    assert np.isfinite(read_depths(scene(), outside, SIZE)[0]).all()
    assert read_depths(scene(), np.empty((0, 4)), SIZE)[0].shape == (0,)


@pytest.mark.parametrize("depth", [np.zeros((4, 4)), np.zeros((4, 4, 1), np.uint16), np.zeros((0, 4), np.float32)])
def test_another_type_is_refused(depth: np.ndarray) -> None:
    with pytest.raises(PositionError, match="uint16 in mm or float32 in m"):
        read_depths(depth, BOX, SIZE)
