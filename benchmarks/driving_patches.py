"""Patches of cars, pedestrians, cyclists and background, cut from the labelled driving data; split by drive.

Each patch is a square around a labelled box with some context, resized. Background patches have the sizes of the
objects of their frame and touch neither an object nor an ignore region.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels import LabelledImage, image_size, load_sources, read_image

CLASSES = ("car", "pedestrian", "cyclist", "background")
BACKGROUND = len(CLASSES) - 1
CONTEXT = 1.2  # side of the square, of the box's longer side
LEAST_SIDE, LEAST_BREADTH = 24, 12  # px of a box: longer and shorter side
TRIES = 20  # for a background patch

_LEAKS = ("000087", "000097")  # frames of drive 0011
TRAIN: tuple[dict[str, Any], ...] = (
    {"format": "kitti", "images": "kitti/object/image_2", "labels": "kitti/object/label_2", "exclude": list(_LEAKS)},
    {"format": "kitti", "images": "kitti/drive_0095_right/image", "labels": "kitti/drive_0095_right/label_2"},
    {"format": "kitti", "images": "kitti/drive_0052/image", "labels": "kitti/drive_0052/label_2"},
    {"format": "kitti", "images": "camvid/image", "labels": "camvid/label_2", "exclude": ["Seq05VD_*"]},
    {"format": "kitti", "images": "carla/image", "labels": "carla/label_2"},
)  # fmt: skip
TEST: tuple[dict[str, Any], ...] = (
    {"format": "kitti", "images": "kitti/drive_0011/image", "labels": "kitti/drive_0011/label_2"},
    {"format": "kitti", "images": "kitti/object_extra/image_2", "labels": "kitti/object_extra/label_2"},
    {"format": "kitti", "images": "camvid/image", "labels": "camvid/label_2", "include": ["Seq05VD_*"]},
)

Image = NDArray[np.uint8]


def load_patches(
    root: Path, sources: Sequence[dict[str, Any]], per_class: int, size: int, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Patches uint8 `[N,S,S,3]` BGR and their classes `[N]`, at most `per_class` of each, drawn at random.

    Raises:
        DatasetError: the data are missing or damaged.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[Path, tuple[float, float, float], int]] = []
    for image in load_sources(root, sources, CLASSES[:BACKGROUND]):
        found += [(image.path, square, class_id) for square, class_id in _squares(image, rng)]
    classes = np.array([class_id for *_, class_id in found], np.int64)
    drawn = np.concatenate(
        [np.sort(rng.permutation(np.flatnonzero(classes == class_id))[:per_class]) for class_id in range(len(CLASSES))]
    )
    patches = np.empty((len(drawn), size, size, 3), np.uint8)
    decoded: tuple[Path | None, Image] = None, np.empty(0, np.uint8)
    for place in np.argsort([str(found[index][0]) for index in drawn], kind="stable"):
        path, square, _ = found[drawn[place]]
        if decoded[0] != path:
            decoded = path, read_image(path)
        patches[place] = _cut(decoded[1], square, size)
    return patches, classes[drawn]


def _squares(image: LabelledImage, rng: np.random.Generator) -> Iterator[tuple[tuple[float, float, float], int]]:
    """Squares (left, top, side; px) and their classes: the objects that are large enough, and as many of background."""
    boxes = np.asarray(image.boxes, np.float64).reshape(-1, 4)
    objects = []
    for box, class_id in zip(boxes, image.class_ids, strict=True):
        width, height = box[2:] - box[:2]
        if class_id >= 0 and max(width, height) >= LEAST_SIDE and min(width, height) >= LEAST_BREADTH:
            side = CONTEXT * max(width, height)
            square = ((box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2, side)
            objects.append(square)
            yield square, int(class_id)
    height, width = image_size(image.path)
    for _, _, side in objects:
        for _ in range(TRIES):
            left, top = rng.uniform(0, max(1.0, width - side)), rng.uniform(0, max(1.0, height - side))
            apart = (
                (boxes[:, 2] <= left)
                | (boxes[:, 0] >= left + side)
                | (boxes[:, 3] <= top)
                | (boxes[:, 1] >= top + side)
            )
            if apart.all():
                yield (left, top, side), BACKGROUND
                break


def _cut(image: Image, square: tuple[float, float, float], size: int) -> Image:
    """The square, resized; beyond the image's border its edge is repeated."""
    left, top, side = (round(value) for value in square)
    side = max(side, 1)
    height, width = image.shape[:2]
    rows, columns = (
        np.clip(np.arange(first, first + side), 0, length - 1) for first, length in ((top, height), (left, width))
    )
    how = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image[np.ix_(rows, columns)], (size, size), interpolation=how), np.uint8)
