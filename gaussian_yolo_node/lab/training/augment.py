"""Augmentation on the network's canvas: a single warp for scale, crop and flip; colour jitter; mosaic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.training.rand_augment import PHOTOMETRIC, check_rand_augment, rand_augment
from gaussian_yolo_node.labels import IGNORE

PAD_VALUE = 128  # the letterbox's grey


@dataclass(frozen=True)
class AugmentConfig:
    """Strength of each augmentation; for the official values see docs/paper_facts.md, section 1."""

    scale: tuple[float, float] = (0.6, 1.6)  # relative to the size at inference
    aspect: float = 0.1  # maximum relative change of width / height
    # As in Darknet: width and height each change by up to this share before the image is fitted to the canvas.
    jitter: float = 0.0
    object_crop: float = 0.0  # probability of a crop around a random object
    flip: float = 0.5  # probability
    hue: float = 0.1  # of a full turn
    saturation: float = 1.5  # factor or its inverse
    exposure: float = 1.5  # factor or its inverse
    mosaic: float = 0.3  # probability
    min_visible: float = 0.3  # visible share below which a box becomes an ignore region
    min_size: float = 4.0  # px of the canvas; smaller boxes become ignore regions
    # Student noise (docs/paper_facts.md, section 4): number of photometric RandAugment operations, applied last; 0 for
    # none.
    rand_augment_ops: int = 0
    rand_augment_magnitude: float = 15.0  # 0..30

    def __post_init__(self) -> None:
        """Raises RandAugmentError for an option out of range."""
        check_rand_augment(self.rand_augment_ops, self.rand_augment_magnitude)


class Labelled(NamedTuple):
    """An image uint8 `[H,W,3]` BGR and its objects: boxes float32 `[N,4]` (x1 y1 x2 y2, px of the image), class ids
    `[N]`, and weights `[N,4]` of the errors of centre x, centre y, width and height."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    box_weights: NDArray[np.float32]
    files: tuple[str, ...] = ()  # source images of a sample


def augment(
    pick: Sequence[Labelled],
    size: tuple[int, int],
    reference_size: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Labelled:
    """One training sample, a canvas, from one image, or a mosaic of four.

    Args:
        pick: one or four.
        size: height and width of the canvas, px.
        reference_size: height and width of the canvas at inference. Objects are scaled around their size there, so a
            smaller training canvas is a crop, not a smaller image.
    """
    height, width = size
    if len(pick) == 1:
        canvas, boxes, ids, weights, _ = _warp(pick[0], size, reference_size, config, rng)
    else:
        # The common corner of the four tiles varies, so that the network does not learn tile edges.
        split_x = int(width * rng.uniform(0.35, 0.65))
        split_y = int(height * rng.uniform(0.35, 0.65))
        canvas = np.full((height, width, 3), PAD_VALUE, np.uint8)
        placed = []
        tiles = (
            (0, 0, split_x, split_y),
            (split_x, 0, width, split_y),
            (0, split_y, split_x, height),
            (split_x, split_y, width, height),
        )
        for item, (x1, y1, x2, y2) in zip(pick, tiles, strict=True):
            tile, boxes, ids, weights, _ = _warp(item, (y2 - y1, x2 - x1), reference_size, config, rng)
            canvas[y1:y2, x1:x2] = tile
            placed.append((boxes + np.array([x1, y1, x1, y1], np.float32), ids, weights))
        boxes, ids, weights = (np.concatenate(parts) for parts in zip(*placed, strict=True))
    canvas = _jitter_colour(canvas, config, rng)
    canvas = rand_augment(canvas, rng, config.rand_augment_ops, config.rand_augment_magnitude, names=PHOTOMETRIC)
    return Labelled(canvas, boxes, ids, weights)


def _warp(
    item: Labelled,
    size: tuple[int, int],
    reference_size: tuple[int, int],
    config: AugmentConfig,
    rng: np.random.Generator,
) -> Labelled:
    image, boxes, ids, weights, _ = item
    height, width = size
    wider, taller = 1.0 + rng.uniform(-config.jitter, config.jitter, 2) if config.jitter else (1.0, 1.0)
    fit = min(reference_size[0] / (taller * image.shape[0]), reference_size[1] / (wider * image.shape[1]))
    scale = fit * np.exp(rng.uniform(*np.log(config.scale)))
    stretch = np.exp(rng.uniform(-config.aspect, config.aspect) / 2)
    sx, sy = scale * stretch * wider, scale / stretch * taller
    held = _random_object(boxes, ids, config, rng)
    tx = _place(image.shape[1] * sx, width, None if held is None else held[[0, 2]] * sx, rng)
    ty = _place(image.shape[0] * sy, height, None if held is None else held[[1, 3]] * sy, rng)
    flip = rng.random() < config.flip
    if flip:
        sx, tx = -sx, width - tx
    matrix = np.array([[sx, 0, tx], [0, sy, ty]], np.float64)
    source = image
    if min(abs(sx), sy) < 0.5:  # bilinear sampling alone would alias
        source = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)
        matrix[:, :2] *= 2
    canvas = cv2.warpAffine(
        source, matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(PAD_VALUE, PAD_VALUE, PAD_VALUE)
    )
    moved = boxes * np.array([sx, sy, sx, sy], np.float32) + np.array([tx, ty, tx, ty], np.float32)
    if flip:
        moved = moved[:, [2, 1, 0, 3]]
    clipped, ids, inside = clip_boxes(moved.astype(np.float32), ids, size, config)
    return Labelled(canvas.astype(np.uint8, copy=False), clipped, ids, weights[inside])


def _random_object(
    boxes: NDArray[np.float32], ids: NDArray[np.int64], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """A box to keep in view, or None."""
    objects = np.flatnonzero(ids >= 0)
    if not config.object_crop or rng.random() >= config.object_crop or not len(objects):
        return None
    return np.asarray(boxes[rng.choice(objects)], np.float32)


def _place(length: float, canvas: int, held: NDArray[np.float32] | None, rng: np.random.Generator) -> float:
    """Offset of an image of `length` px on a side of `canvas` px; a longer image is cropped, a shorter one fits inside.

    `held` is the interval in image px to keep on the canvas, completely if it fits.
    """
    low, high = min(0.0, canvas - length), max(0.0, canvas - length)
    if held is not None:
        low, high = np.clip(sorted((-float(held[0]), canvas - float(held[1]))), low, high)
    return float(rng.uniform(low, high))


def clip_boxes(
    boxes: NDArray[np.float32], ids: NDArray[np.int64], size: tuple[int, int], config: AugmentConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """Clip boxes to the canvas. Mostly hidden or small boxes become ignore regions; boxes outside are dropped.

    Returns:
        the remaining boxes and class ids, and the mask of the remaining boxes.
    """
    height, width = size
    limits = np.array([width, height, width, height], np.float32)
    clipped = np.clip(boxes, 0, limits)
    sides, full = clipped[:, 2:] - clipped[:, :2], boxes[:, 2:] - boxes[:, :2]
    inside = np.asarray((sides > 1).all(1))
    visible = sides.prod(1) / np.maximum(full.prod(1), 1e-6)
    weak = (visible < config.min_visible) | (sides < config.min_size).any(1)
    ids = np.where(weak, IGNORE, ids)
    return clipped[inside], ids[inside], inside


def _jitter_colour(canvas: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    hue = rng.uniform(-config.hue, config.hue) * 180
    saturation = config.saturation ** rng.uniform(-1, 1)
    exposure = config.exposure ** rng.uniform(-1, 1)
    values = np.arange(256, dtype=np.float64)
    tables = np.stack(
        [(values + hue) % 180, np.clip(values * saturation, 0, 255), np.clip(values * exposure, 0, 255)], axis=-1
    ).astype(np.uint8)
    hsv = cv2.LUT(cv2.cvtColor(canvas, cv2.COLOR_BGR2HSV), tables[None])
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), np.uint8)
