"""Augmentation transforms boxes like the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.augment import AugmentConfig, Labelled, augment, clip_boxes
from gaussian_yolo_node.labels import IGNORE

STILL = AugmentConfig(scale=(1.0, 1.0), aspect=0, flip=0, hue=0, saturation=1, exposure=1)
SIZE = (96, 160)


def labelled(image: np.ndarray, boxes: np.ndarray, ids: np.ndarray) -> Labelled:
    """Boxes with distinct coordinate weights: 1.0, 1.25, 1.5 ..."""
    return Labelled(image, boxes, ids, 1 + np.arange(4 * len(boxes), dtype=np.float32).reshape(-1, 4) / 4)


def make_scene(seed: int) -> Labelled:
    """A dark image with one bright rectangle, and its box."""
    rng = np.random.default_rng(seed)
    image = np.full((120, 200, 3), 10, np.uint8)
    x, y = rng.integers(20, 120), rng.integers(20, 60)
    w, h = rng.integers(30, 60), rng.integers(25, 50)
    image[y : y + h, x : x + w] = 250
    return labelled(image, np.array([[x, y, x + w, y + h]], np.float32), np.array([0]))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("count", [1, 4])
def test_boxes_follow_the_pixels(seed: int, count: int) -> None:
    config = replace(STILL, scale=(0.6, 1.6), aspect=0.2, flip=0.5)
    scenes = [make_scene(seed + i) for i in range(count)]
    sample = augment(scenes, SIZE, SIZE, config, np.random.default_rng(seed))
    bright = (sample.image[..., 0] > 190).astype(int)
    painted = np.zeros(SIZE, int)
    for x1, y1, x2, y2 in np.rint(sample.boxes).astype(int):
        painted[y1:y2, x1:x2] = 1
    edge = 2.0 * sum((b[2] - b[0]) + (b[3] - b[1]) for b in sample.boxes) + 8
    assert np.abs(bright - painted).sum() <= edge


def test_nothing_asked_leaves_the_letterboxed_scale() -> None:
    scene = make_scene(1)
    sample = augment([scene], SIZE, SIZE, STILL, np.random.default_rng(0))
    assert np.ptp(sample.boxes[0, [0, 2]]) == pytest.approx(np.ptp(scene.boxes[0, [0, 2]]) * 0.8, abs=1e-3)


def test_a_smaller_canvas_is_a_crop_not_a_miniature() -> None:
    scene = make_scene(1)
    sample = augment([scene], (96, 96), (240, 400), STILL, np.random.default_rng(4))
    assert sample.image.shape == (96, 96, 3)
    full = (scene.boxes[0, 2] - scene.boxes[0, 0]) * 2  # 400 / 200
    assert all(np.ptp(box[[0, 2]]) <= full + 1e-3 for box in sample.boxes)


def test_samples_repeat_with_the_seed() -> None:
    config = AugmentConfig()
    first, second = (
        augment([make_scene(i) for i in range(4)], SIZE, SIZE, config, np.random.default_rng(5)) for _ in range(2)
    )
    assert np.array_equal(first.image, second.image) and np.array_equal(first.boxes, second.boxes)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([10, 10, 40, 40], ([10, 10, 40, 40], 0)),  # inside
        ([-10, 10, 40, 40], ([0, 10, 40, 40], 0)),  # mostly inside
        ([-50, 10, 10, 40], ([0, 10, 10, 40], IGNORE)),  # a sixth is visible
        ([10, 10, 13, 40], ([10, 10, 13, 40], IGNORE)),  # narrower than min_size
        ([-50, 10, -5, 40], None),  # outside
        ([160, 10, 190, 40], None),  # touching
        ([10, 10, 10, 40], None),  # no area
    ],
)
def test_clip_boxes(box: list[float], expected: tuple[list[float], int] | None) -> None:
    boxes, ids, kept = clip_boxes(np.array([box], np.float32), np.array([0]), SIZE, AugmentConfig())
    assert kept.tolist() == [expected is not None]
    if expected is None:
        assert len(boxes) == len(ids) == 0
    else:
        assert (boxes[0].tolist(), ids[0]) == expected


def test_an_image_without_objects() -> None:
    image = np.zeros((50, 60, 3), np.uint8)
    nothing = labelled(image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64))
    sample = augment([nothing], SIZE, SIZE, AugmentConfig(), np.random.default_rng(0))
    assert sample.boxes.shape == sample.box_weights.shape == (0, 4) and sample.class_ids.shape == (0,)


def make_corner_object() -> Labelled:
    """A wide frame with a small object in one corner and an ignore region in another."""
    image = np.zeros((200, 600, 3), np.uint8)
    boxes = np.array([[560, 160, 596, 190], [0, 0, 100, 100]], np.float32)
    return labelled(image, boxes, np.array([0, IGNORE]))


@pytest.mark.parametrize("size", [(96, 96), (32, 32), (224, 640)])
def test_a_crop_around_an_object(size: tuple[int, int]) -> None:
    config = AugmentConfig(object_crop=1.0, mosaic=0, min_visible=0.0, min_size=0.0)
    for seed in range(30):
        sample = augment([make_corner_object()], size, (200, 600), config, np.random.default_rng(seed))
        held = sample.boxes[sample.class_ids == 0]
        assert len(held) == 1
        if size != (32, 32):  # elsewhere the object fits completely: it is at most as large as the canvas
            width, height = held[0, 2:] - held[0, :2]
            assert min(width, height) > 36 * 0.5


def test_without_it_most_crops_miss_the_object() -> None:
    config = AugmentConfig(mosaic=0)
    shown = [
        (
            augment([make_corner_object()], (96, 96), (200, 600), config, np.random.default_rng(seed)).class_ids == 0
        ).sum()
        for seed in range(30)
    ]
    assert sum(shown) < 10


@pytest.mark.parametrize("item", [0, 1])
def test_a_crop_around_nothing(item: int) -> None:
    corner = make_corner_object()
    labels = [(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)), (corner.boxes, np.full(2, IGNORE))][item]
    config = AugmentConfig(object_crop=1.0)
    sample = augment([labelled(corner.image, *labels)], (96, 96), (200, 600), config, np.random.default_rng(0))
    assert sample.image.shape == (96, 96, 3)


def test_jitter_fits_the_stretched_image_to_the_canvas() -> None:
    whole = labelled(make_scene(0).image, np.array([[0, 0, 200, 120]], np.float32), np.array([0]))
    config = replace(STILL, jitter=0.3)
    ratios = []
    for seed in range(200):
        sample = augment([whole], (100, 100), (100, 100), config, np.random.default_rng(seed))
        (box,) = sample.boxes
        width, height = box[2] - box[0], box[3] - box[1]
        assert max(width, height) == pytest.approx(100, abs=1e-2)
        ratios.append(width / height / (200 / 120))
    assert min(ratios) == pytest.approx(0.7 / 1.3, abs=0.08) and max(ratios) == pytest.approx(1.3 / 0.7, abs=0.25)


@pytest.mark.parametrize("count", [1, 4])
def test_weights_of_coordinates_stay_with_their_boxes(count: int) -> None:
    """Only the third of three boxes remains in view."""
    config = AugmentConfig(scale=(1.0, 1.0), aspect=0, flip=0.5, min_visible=0, min_size=0, object_crop=0)
    image = np.zeros((64, 512, 3), np.uint8)
    boxes = np.array([[4, 4, 30, 30], [200, 4, 230, 40], [470, 4, 500, 50]], np.float32)
    ids = np.array([0, 1, 2])
    scene = labelled(image, boxes, ids)
    seen = set()
    for seed in range(40):
        sample = augment([scene] * count, (64, 96), (64, 512), config, np.random.default_rng(seed))
        assert len(sample.box_weights) == len(sample.boxes)
        for index, weights in zip(sample.class_ids, sample.box_weights, strict=True):
            if index >= 0:
                seen.add(int(index))
                assert weights.tolist() == scene.box_weights[index].tolist()
    assert seen == {0, 1, 2}


def test_rand_augment_changes_pixels_but_no_box() -> None:
    plain, noisy = (
        augment([make_scene(2)], SIZE, SIZE, replace(STILL, rand_augment_ops=ops), np.random.default_rng(1))
        for ops in (0, 2)
    )
    assert (plain.image != noisy.image).any()
    assert np.array_equal(plain.boxes, noisy.boxes)


@pytest.mark.parametrize("field", ["rand_augment_ops", "rand_augment_magnitude"])
def test_rand_augment_out_of_range_is_refused(field: str) -> None:
    with pytest.raises(GaussianYoloError, match="RandAugment"):
        AugmentConfig(**{field: -1})
