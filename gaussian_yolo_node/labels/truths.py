"""Read ground truth in any of the supported formats, for the evaluation and for bags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gaussian_yolo_node.bags import is_bag
from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.file_names import frame_name
from gaussian_yolo_node.labels.annotations import AnnotatedImage, Annotation, DatasetError, Fault, FaultKind, box_fault
from gaussian_yolo_node.labels.bdd import Bdd
from gaussian_yolo_node.labels.classes import KITTI_TYPES
from gaussian_yolo_node.labels.coco import CocoJson
from gaussian_yolo_node.labels.convert import Reader, refuse
from gaussian_yolo_node.labels.images import Pick
from gaussian_yolo_node.labels.kitti import KittiObjects, read_tracking
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.reading import label_files

FORMATS = (
    "a folder of KITTI label files (*.txt), BDD100K or Scalabel JSON (a file, or a folder of them), COCO JSON, the "
    'list [{"name", "category", "bbox"}] of BDD\'s evaluation, or a bag'
)


def read_ground_truth(path: Path) -> GroundTruth:
    """Read labelled objects in any supported format. DatasetError if the file or folder does not exist, has none of the
    formats, or is malformed. BagError if the bag cannot be read, or has no ground truth."""
    if not path.exists():
        raise DatasetError(f"ground truth {path} does not exist: give {FORMATS}")
    if is_bag(path):
        from gaussian_yolo_node.labels.bag_records import read_bag_truths

        return GroundTruth.of(read_bag_truths(path), "bag", str(path))
    if path.is_dir():
        if label_files(path, ".txt"):
            return read_kitti_labels(path)
        if label_files(path, ".json"):
            return _read_bdd(path)
        raise DatasetError(f"ground truth {path} has neither label files (*.txt) nor JSON: give {FORMATS}")
    document = read_json(path, "ground truth file", DatasetError)
    if isinstance(document, dict) and "annotations" in document and "images" in document:
        return _read_coco(path)
    if isinstance(document, list) and document and all(isinstance(each, dict) and "bbox" in each for each in document):
        return _read_list(path, document)
    if isinstance(document, dict) or (isinstance(document, list) and all(isinstance(f, dict) for f in document)):
        return _read_bdd(path)
    raise DatasetError(f"ground truth {path} is of no known format: give {FORMATS}")


def read_kitti_labels(folder: Path) -> GroundTruth:
    """Read all KITTI label files of a folder. Frames are named by stem; an empty file is a frame without objects.
    DatasetError if the folder does not exist, has no label files, or one of them is malformed."""
    if not folder.is_dir():
        raise DatasetError(f"label folder {folder} does not exist")
    frames = []
    for image in _labelled(KittiObjects(None, folder, Pick())):
        for annotation in image.annotations:
            if annotation.name not in KITTI_TYPES:
                message = f"'{annotation.name}' is not a KITTI type"
                refuse(Fault(FaultKind.UNKNOWN_CLASS, image.labels, annotation.place, message))
        frames.append(FrameTruths(frame_name(image.labels.name), truths_of(image)))
    return GroundTruth.of(frames, "kitti", str(folder))


def truths_of(image: AnnotatedImage) -> Truths:
    """The annotations of an image as arrays; DontCare is ignored. DatasetError if a box is inverted or not finite."""
    objects = image.annotations
    for annotation in objects:
        x1, y1, x2, y2 = annotation.box
        # The comparison is negated so that NaN fails it.
        if not (x1 <= x2 < np.inf and y1 <= y2 < np.inf and x1 > -np.inf and y1 > -np.inf):
            message = f"its box is not x1 <= x2, y1 <= y2: {annotation.shown_box}"
            refuse(Fault(FaultKind.INVERTED_BOX, image.labels, annotation.place, message))
    return Truths.of(
        [each.box for each in objects],
        [each.name for each in objects],
        [each.ignored or each.name == DONT_CARE for each in objects],
        [each.truncation for each in objects],
        [each.occlusion for each in objects],
        [(np.nan,) * 7 if each.cuboid is None else each.cuboid for each in objects],
        [each.track for each in objects],
    )


def read_kitti_tracks(path: Path) -> dict[int, Truths]:
    """Read a label or result file of KITTI's tracking benchmark, by frame number. Frames without objects are absent.
    DatasetError if the file cannot be read, a line is malformed, or two objects of a frame have one id."""
    frames = {}
    for frame, objects in sorted(read_tracking(path, refuse).items()):
        for fault in filter(None, (box_fault(path, each) for each in objects)):
            refuse(fault)
        frames[frame] = truths_of(AnnotatedImage(None, path, objects))
        ids, counts = np.unique(frames[frame].tracks, return_counts=True)
        twice = ids[(ids >= 0) & (counts > 1)]
        if len(twice):
            raise DatasetError(f"{path}, frame {frame}: two objects have the id {twice[0]}")
    return frames


def _read_bdd(path: Path) -> GroundTruth:
    truth = GroundTruth.of(_frames(Bdd(None, path, Pick())), "bdd", str(path))
    if not truth.frames:
        raise DatasetError(f"ground truth {path} has no frames with names: BDD100K or Scalabel JSON is a list of them")
    return truth


def _read_coco(path: Path) -> GroundTruth:
    reader = CocoJson(None, path, Pick())
    truth = GroundTruth.of(_frames(reader), "coco", str(path))
    return replace(truth, image_ids=reader.image_names, category_ids=reader.category_names)


def _read_list(path: Path, records: list[dict[str, Any]]) -> GroundTruth:
    objects: dict[str, list[Annotation]] = {}
    for number, record in enumerate(records):
        try:
            x1, y1, x2, y2 = map(float, record["bbox"])
            annotation = Annotation(str(record["category"]), (x1, y1, x2, y2), f"record {number}")
            objects.setdefault(str(record["name"]), []).append(annotation)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DatasetError(
                f'ground truth {path}, record {number}: it needs "name", "category" and a "bbox" of four numbers'
            ) from error
    frames = (FrameTruths(name, truths_of(AnnotatedImage(None, path, of))) for name, of in objects.items())
    return GroundTruth.of(frames, "list", str(path))


def _frames(reader: Reader) -> Iterator[FrameTruths]:
    return (FrameTruths(image.name, truths_of(image), size=image.size) for image in _labelled(reader))


def _labelled(reader: Reader) -> Iterator[AnnotatedImage]:
    return (image for image in reader.read(refuse) if not image.unlabelled)
