"""Read ground truth in any of the supported formats, for the evaluation protocols."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.labels.annotations import AnnotatedImage, Annotation, DatasetError, Fault, FaultKind, LabelError
from gaussian_yolo_node.labels.bdd import Bdd
from gaussian_yolo_node.labels.classes import KITTI_TYPES
from gaussian_yolo_node.labels.coco import CocoJson
from gaussian_yolo_node.labels.convert import Reader
from gaussian_yolo_node.labels.images import Pick
from gaussian_yolo_node.labels.json_file import read_document
from gaussian_yolo_node.labels.kitti import KittiObjects, read_objects
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FrameTruths, GroundTruth

_ALL = Pick.of([], None)

FORMATS = (
    "a folder of KITTI label files (*.txt), BDD100K or Scalabel JSON (a file, or a folder of them), COCO JSON, the "
    'list [{"name", "category", "bbox"}] of BDD\'s evaluation, or a bag'
)


def read_ground_truth(path: Path) -> GroundTruth:
    """Read labelled objects in any supported format.

    Raises:
        LabelError: the file or folder does not exist, has none of the formats, or is malformed.
        BagError: the bag cannot be read, or has no ground truth.
    """
    if not path.exists():
        raise LabelError(f"ground truth {path} does not exist: give {FORMATS}")
    if is_bag(path):
        from gaussian_yolo_node.labels.bag_records import read_bag_truths

        return GroundTruth.of(read_bag_truths(path), "bag", str(path))
    try:
        return _read(path)
    except DatasetError as error:
        raise LabelError(f"ground truth {error}") from error


def read_kitti_labels(folder: Path) -> GroundTruth:
    """Read all KITTI label files of a folder. Frames are named by stem; an empty file is a frame without objects.

    Raises:
        LabelError: the folder does not exist, has no label files, or one of them is malformed.
    """
    if not folder.is_dir():
        raise LabelError(f"label folder {folder} does not exist")
    if not any(folder.glob("*.txt")):
        raise LabelError(f"label folder {folder} has no KITTI label files (*.txt)")
    return _read_kitti(folder)


def read_kitti_label_file(path: Path) -> FrameTruths:
    """Read one KITTI label file.

    Raises:
        LabelError: the file cannot be read, or a line is malformed; the message names the file and the line.
    """
    try:
        objects = list(read_objects(path, _refuse))
    except DatasetError as error:
        raise LabelError(f"label file {error}") from error
    return _frame(AnnotatedImage(None, path, objects), path.stem, kitti=True)


def _read(path: Path) -> GroundTruth:
    if path.is_dir():
        if any(path.glob("*.txt")):
            return _read_kitti(path)
        if any(path.glob("*.json")):
            return _read_bdd(path)
        raise LabelError(f"ground truth {path} has neither label files (*.txt) nor JSON: give {FORMATS}")
    document = read_document(path, "ground truth")
    if isinstance(document, dict) and "annotations" in document and "images" in document:
        return _read_coco(path, document)
    if isinstance(document, list) and document and all(isinstance(each, dict) and "bbox" in each for each in document):
        return _read_list(path, document)
    if isinstance(document, dict) or (isinstance(document, list) and all(isinstance(f, dict) for f in document)):
        return _read_bdd(path)
    raise LabelError(f"ground truth {path} is of no known format: give {FORMATS}")


def _read_kitti(folder: Path) -> GroundTruth:
    try:
        images = list(_images(KittiObjects(None, folder, _ALL)))
        return GroundTruth.of((_frame(each, each.labels.stem, kitti=True) for each in images), "kitti", str(folder))
    except DatasetError as error:
        raise LabelError(f"label file {error}") from error


def _read_bdd(path: Path) -> GroundTruth:
    truth = GroundTruth.of((_frame(each, each.name) for each in _images(Bdd(None, path, _ALL))), "bdd", str(path))
    if not truth.frames:
        raise LabelError(f"ground truth {path} has no frames with names: BDD100K or Scalabel JSON is a list of them")
    return truth


def _read_coco(path: Path, document: dict[str, Any]) -> GroundTruth:
    frames = [_frame(each, each.name) for each in _images(CocoJson(None, path, _ALL))]
    truth = GroundTruth.of(frames, "coco", str(path))
    # The reader has checked that these keys exist.
    names = {record["id"]: record["file_name"] for record in document["images"]}
    return replace(
        truth, image_ids=names, category_ids={each["id"]: str(each["name"]) for each in document["categories"]}
    )


def _read_list(path: Path, records: list[dict[str, Any]]) -> GroundTruth:
    objects: dict[str, list[Annotation]] = {}
    for number, record in enumerate(records):
        try:
            x1, y1, x2, y2 = map(float, record["bbox"])
            annotation = Annotation(str(record["category"]), (x1, y1, x2, y2), f"record {number}")
            objects.setdefault(str(record["name"]), []).append(annotation)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise LabelError(
                f'ground truth {path}, record {number}: it needs "name", "category" and a "bbox" of four numbers'
            ) from error
    frames = [_frame(AnnotatedImage(None, path, found), name) for name, found in objects.items()]
    return GroundTruth.of(frames, "list", str(path))


def _images(reader: Reader) -> Iterable[AnnotatedImage]:
    return (image for image in reader.read(_refuse) if not image.unlabelled)


def _refuse(fault: Fault) -> None:
    raise fault.refuse()


def _frame(image: AnnotatedImage, name: str, *, kitti: bool = False) -> FrameTruths:
    for annotation in image.annotations:
        if kitti and annotation.name not in KITTI_TYPES:
            message = f"'{annotation.name}' is not a KITTI type"
            raise Fault(FaultKind.UNKNOWN_CLASS, image.labels, annotation.place, message).refuse()
        x1, y1, x2, y2 = annotation.box
        # The comparison is negated so that NaN fails it.
        if not (x1 <= x2 < np.inf and y1 <= y2 < np.inf and x1 > -np.inf and y1 > -np.inf):
            shown = " ".join(f"{value:g}" for value in annotation.box)
            message = f"its box is not x1 <= x2, y1 <= y2: {shown}"
            raise Fault(FaultKind.INVERTED_BOX, image.labels, annotation.place, message).refuse()
    objects = image.annotations
    return FrameTruths(
        name,
        np.array([each.box for each in objects], np.float64).reshape(-1, 4),
        np.array([each.name for each in objects], np.str_),
        np.array([each.ignored or (kitti and each.name == DONT_CARE) for each in objects], bool),
        np.array([each.truncation for each in objects], np.float64),
        np.array([each.occlusion for each in objects], np.intp),
        size=image.size,
        cuboids=_cuboids(objects),
    )


def _cuboids(objects: Sequence[Annotation]) -> NDArray[np.float64] | None:
    if all(each.cuboid is None for each in objects):
        return None
    return np.array([(np.nan,) * 7 if each.cuboid is None else each.cuboid for each in objects], np.float64)
