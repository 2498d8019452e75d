"""Labelled images for training: KITTI `label_2` and YOLO txt, with ignore regions kept apart from background."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.kitti import CLASSES as KITTI_CLASSES
from gaussian_yolo_node.evaluation.kitti import read_label_file

# Class id of a region that is neither object nor background.
IGNORE = -1
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
# COCO ids in YOLO txt files. A rider is a "person" there, so bicycles and motorcycles blank out what they carry.
COCO_CLASSES = {0: "pedestrian", 2: "car"}
COCO_IGNORED = frozenset({1, 3, 5, 6, 7})


class DatasetError(GaussianYoloError):
    """A data folder, list or label file cannot be used; the message names file and line."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and its truths.

    boxes: float32 `[N,4]`, x1 y1 x2 y2 in px of the image.
    class_ids: int64 `[N]`, index into the class list, or `IGNORE`.
    weight: expected number of times an epoch shows it.
    """

    path: Path
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    weight: float = 1.0


def load_kitti(
    images: Path, labels: Path, classes: Sequence[str], *, exclude: Sequence[str] = (), weight: float = 1.0
) -> list[LabelledImage]:
    """Every labelled image of a KITTI-style folder pair; images without a label file are unlabelled and left out.

    Args:
        images: folder of images; labels: folder of `label_2` text files of the same stems.
        classes: class names, in the order of the network's outputs.
        exclude: stems to leave out.

    Raises:
        DatasetError: a folder is missing or empty.
        LabelError: a label line is malformed.
    """
    found = []
    for path in _image_files(images):
        label = labels / f"{path.stem}.txt"
        if path.stem in exclude or not label.is_file():
            continue
        boxes, class_ids = read_kitti_label(label, classes)
        found.append(LabelledImage(path, boxes, class_ids, weight))
    if not found:
        raise DatasetError(f"no image in {images} has a label file in {labels}")
    return found


def read_kitti_label(path: Path, classes: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes `[N,4]` (x1 y1 x2 y2, px) and class ids `[N]` of one KITTI label file.

    Neighbouring classes (Van, Truck, ..) and DontCare become ignore regions, as they are in the evaluation.
    """
    labels = read_label_file(path)
    names = [KITTI_CLASSES.get(kind, "") for kind in labels.types.tolist()]
    ids = [classes.index(name) if name in classes else IGNORE for name in names]
    return labels.boxes.astype(np.float32), np.asarray(ids, np.int64)


def load_coco_txt(folder: Path, classes: Sequence[str], *, weight: float = 1.0) -> list[LabelledImage]:
    """COCO images in `folder/images` with YOLO txt labels in `folder/labels`, those that show one of `classes`.

    Raises:
        DatasetError: a folder is missing or empty, or a label line is malformed.
    """
    found = []
    for path in _image_files(folder / "images"):
        label = folder / "labels" / f"{path.stem}.txt"
        if not label.is_file():
            continue
        height, width = read_image(path).shape[:2]
        boxes, class_ids = _read_yolo_txt(label, (height, width), classes)
        if (class_ids >= 0).any():
            found.append(LabelledImage(path, boxes, class_ids, weight))
    if not found:
        raise DatasetError(f"no image in {folder / 'images'} shows one of {', '.join(classes)}")
    return found


def _read_yolo_txt(
    path: Path, size: tuple[int, int], classes: Sequence[str]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    height, width = size
    boxes, ids = [], []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        try:
            kind, (cx, cy, w, h) = int(fields[0]), (float(value) for value in fields[1:5])
        except ValueError as error:
            raise DatasetError(f"{path}, line {number}: expected 'class cx cy w h'") from error
        name = COCO_CLASSES.get(kind, "")
        if name in classes:
            ids.append(classes.index(name))
        elif kind in COCO_IGNORED:
            ids.append(IGNORE)
        else:
            continue
        boxes.append([(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height])
    return np.asarray(boxes, np.float32).reshape(-1, 4), np.asarray(ids, np.int64)


def _image_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DatasetError(f"image folder {folder} does not exist: set data.root in the config or pass --data")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Pixels uint8 `[H,W,3]` BGR; DatasetError if the file is missing or corrupt."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise DatasetError(f"{path} is not a readable image: replace or remove it")
    return np.asarray(pixels, np.uint8)


def load_sources(root: Path, sources: Sequence[Mapping[str, object]], classes: Sequence[str]) -> list[LabelledImage]:
    """All images of the `sources` of a config, paths relative to `root`.

    A source is `{format: kitti, images:, labels:, exclude: [..], weight:}` or `{format: coco_txt, folder:, weight:}`.
    """
    loaded: list[LabelledImage] = []
    for source in sources:
        kind = source.get("format")
        weight = float(str(source.get("weight", 1.0)))
        if kind == "kitti":
            exclude = source.get("exclude", ())
            if not isinstance(exclude, (list, tuple)):
                raise DatasetError("'exclude' of a kitti source must be a list of image stems, quoted")
            images, labels = root / str(source["images"]), root / str(source["labels"])
            loaded += load_kitti(images, labels, classes, exclude=[str(e) for e in exclude], weight=weight)
        elif kind == "coco_txt":
            loaded += load_coco_txt(root / str(source["folder"]), classes, weight=weight)
        else:
            raise DatasetError(f"unknown data format {kind!r}: use kitti or coco_txt")
    return loaded
