"""Augmentation moves boxes with the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gaussian_yolo_node.training.augment import AugmentConfig, augment, clip_boxes
from gaussian_yolo_node.training.datasets import IGNORE

STILL = AugmentConfig(scale=(1.0, 1.0), aspect=0, flip=0, hue=0, saturation=1, exposure=1)
SIZE = (96, 160)


def make_scene(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """A dark image with one bright rectangle, and its box."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 200, 3), 10, np.uint8)
    x, y = rng.integers(20, 120), rng.integers(20, 60)
    w, h = rng.integers(30, 60), rng.integers(25, 50)
    image[y : y + h, x : x + w] = 250
    return image, np.array([[x, y, x + w, y + h]], np.float32), np.array([0])


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [1, 4])
def test_boxes_follow_the_pixels(seed: int, count: int) -> None:
    config = replace(STILL, scale=(0.6, 1.6), aspect=0.2, flip=0.5)
    scenes = [make_scene(seed + i) for i in range(count)]
    sample = augment(scenes, SIZE, SIZE, config, np.random.default_rng(seed))
    bright = (sample.canvas[..., 0] > 190).astype(int)
    painted = np.zeros(SIZE, int)
    for x1, y1, x2, y2 in np.rint(sample.boxes).astype(int):
        painted[y1:y2, x1:x2] = 1
    edge = 2.0 * sum((b[2] - b[0]) + (b[3] - b[1]) for b in sample.boxes) + 8
    assert np.abs(bright - painted).sum() <= edge


def test_nothing_asked_leaves_the_letterboxed_scale() -> None:
    image, boxes, ids = make_scene(1)
    sample = augment([(image, boxes, ids)], SIZE, SIZE, STILL, np.random.default_rng(0))
    assert np.ptp(sample.boxes[0, [0, 2]]) == pytest.approx(np.ptp(boxes[0, [0, 2]]) * 0.8, abs=1e-3)


def test_a_smaller_canvas_is_a_crop_not_a_miniature() -> None:
    image, boxes, ids = make_scene(1)
    sample = augment([(image, boxes, ids)], (96, 96), (240, 400), STILL, np.random.default_rng(4))
    assert sample.canvas.shape == (96, 96, 3)
    full = (boxes[0, 2] - boxes[0, 0]) * 2  # 400 / 200
    assert all(np.ptp(box[[0, 2]]) <= full + 1e-3 for box in sample.boxes)


def test_samples_repeat_with_the_seed() -> None:
    config = AugmentConfig()
    first, second = (
        augment([make_scene(i) for i in range(4)], SIZE, SIZE, config, np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first.canvas, second.canvas) and np.array_equal(first.boxes, second.boxes)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 10, 40, 40], ([10, 10, 40, 40], 0)),  # inside
        ([-10, 10, 40, 40], ([0, 10, 40, 40], 0)),  # mostly inside
        ([-50, 10, 10, 40], ([0, 10, 10, 40], IGNORE)),  # a sixth is left
        ([10, 10, 13, 40], ([10, 10, 13, 40], IGNORE)),  # narrower than min_size
        ([-50, 10, -5, 40], None),  # outside
        ([160, 10, 190, 40], None),  # touching
        ([10, 10, 10, 40], None),  # no area
    ],
)
def test_clip_boxes(box: list[float], expected: tuple[list[float], int] | None) -> None:
    boxes, ids = clip_boxes(np.array([box], np.float32), np.array([0]), SIZE, AugmentConfig())
    if expected is None:
        assert len(boxes) == len(ids) == 0
    else:
        assert (boxes[0].tolist(), ids[0]) == expected


def test_an_image_without_objects() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    nothing = (image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    sample = augment([nothing], SIZE, SIZE, AugmentConfig(), np.random.default_rng(0))
    assert sample.boxes.shape == (0, 4) and sample.class_ids.shape == (0,)
