"""Match the objects of label files to the images of a sequence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.file_names import base_name, frame_name
from gaussian_yolo_node.frames.video import video_name
from gaussian_yolo_node.labels.annotations import AnnotatedImage, DatasetError, Fault, FaultKind, Report
from gaussian_yolo_node.labels.bdd import Bdd, timestamp
from gaussian_yolo_node.labels.convert import refuse
from gaussian_yolo_node.labels.images import Pick
from gaussian_yolo_node.labels.kitti import KittiObjects, KittiTracking
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.reading import label_files
from gaussian_yolo_node.labels.truths import truths_of


def read_labels(path: Path, images: Sequence[Path], notes: list[str]) -> dict[Path, Truths]:
    """The objects of each labelled image.

    Args:
        path: a folder of KITTI's `label_2` files; a label file of KITTI tracking; BDD100K or Scalabel JSON, as a file
            or a folder of files.
        notes: receives a note about labels without an image.

    Raises:
        BagError: there are no labels, or none for these images.
        DatasetError: a file is malformed; the message names the file and the line.
    """
    folder = images[0].parent
    if not path.exists():
        raise BagError(f"labels {path} do not exist")
    if path.suffix == ".json" or (path.is_dir() and label_files(path, ".json")):
        labels, extra = _of_images(Bdd(folder, path, Pick()).read, images)
    elif path.is_dir():
        labels, extra = _of_folder(path, images)
    elif path.suffix == ".txt":
        # All frames of a labelled sequence are labelled; a frame without a line shows no objects.
        reader = KittiTracking(folder.parent, path.parent, Pick())
        labels, extra = _of_images(lambda report: reader.read_sequence(folder.name, path, report), images)
    else:
        raise BagError(f"labels {path} are neither a folder, nor a .txt of KITTI tracking, nor JSON of BDD100K")
    if not labels:
        raise BagError(f"labels {path} are for none of the images, such as {images[0].name}")
    if extra:
        notes.append(f"{extra} labelled frames of {path.name} have no image, and are left out")
    return labels


def read_video_labels(path: Path, video: str, times: Callable[[], Sequence[float]]) -> dict[int, Truths]:
    """The objects in the frames of a video, by frame number, from BDD100K's or Scalabel's JSON.

    A record belongs to the video if its `videoName`, or else its name, is that of the video. Its frame is given by
    `frameIndex`, or as the one nearest to `timestamp` in ms.

    Args:
        video: name of the video, without suffix.
        times: returns the time of each frame since the first, s, rising; called only if labels have no `frameIndex`.

    Raises:
        BagError: no record is for this video, or a record does not specify its frame.
        DatasetError: a file is malformed.
    """
    labels: dict[int, Truths] = {}
    frames = cache(lambda: np.array(times(), np.float64))
    for file in label_files(path, ".json") if path.is_dir() else [path]:
        document = read_json(file, "label file", DatasetError)
        if isinstance(document, dict):
            document = [document] if "name" in document else document.get("frames") or []
        records = [record for record in document if isinstance(record, dict) and record.get("name")]
        # The reader yields one image per record, in the same order.
        for record, annotated in zip(records, Bdd(None, file, Pick()).read(refuse), strict=True):
            owner = str(record.get("videoName") or record.get("video_name") or record["name"])
            if base_name(video_name(owner)) != video:
                continue
            index, stamp_ms = record.get("frameIndex"), timestamp(record)
            if not isinstance(index, int):
                if not isinstance(stamp_ms, int | float):
                    raise BagError(f'labels {file}: {record["name"]} has neither "frameIndex" nor "timestamp"')
                index = int(np.abs(frames() - stamp_ms / 1000).argmin())
            labels[index] = truths_of(annotated)
    if not labels:
        raise BagError(f"labels {path} have no frame of the video {video}")
    return labels


def _of_folder(path: Path, images: Sequence[Path]) -> tuple[dict[Path, Truths], int]:
    by_stem = {frame_name(each.labels.name): truths_of(each) for each in KittiObjects(None, path, Pick()).read(refuse)}
    by_number = {int(stem): truths for stem, truths in by_stem.items() if stem.isdecimal()}
    labels = {}
    for image in images:
        name = frame_name(image.name)
        truths = by_stem.get(name)
        # File names have ten digits in the raw data and six in the benchmarks.
        if truths is None and name.isdecimal():
            truths = by_number.get(int(name))
        if truths is not None:
            labels[image] = truths
    return labels, len(by_stem) - len(labels)


def _of_images(
    read: Callable[[Report], Iterable[AnnotatedImage]], images: Sequence[Path]
) -> tuple[dict[Path, Truths], int]:
    """The objects of each image, and the number of labelled frames without an image."""
    wanted = set(images)
    absent = 0

    def report(fault: Fault) -> None:
        nonlocal absent
        if fault.kind is not FaultKind.MISSING_IMAGE:
            raise fault.error
        absent += 1

    labels = {each.image: truths_of(each) for each in read(report) if each.image is not None and each.image in wanted}
    return labels, absent
