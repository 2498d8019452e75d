"""Match the objects of label files to the images of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.labels.annotations import Annotation, Fault, FaultKind
from gaussian_yolo_node.labels.bdd import Bdd, read_json
from gaussian_yolo_node.labels.images import Pick
from gaussian_yolo_node.labels.kitti import KittiObjects, KittiTracking

# KITTI's type of unlabelled regions.
_DONT_CARE = "DontCare"
_EVERYTHING = Pick.of([], None)

Objects = Sequence[Annotation]


def read_labels(path: Path, images: Sequence[Path], notes: list[str]) -> dict[Path, Objects]:
    """The objects of each labelled image.

    Args:
        path: a folder of KITTI's `label_2` files; a label file of KITTI tracking; BDD100K or Scalabel JSON, as a file
            or a folder of files.
        notes: receives a note about labels without an image.

    Raises:
        BagError: there are no labels, or none for these images.
        DatasetError: a file is malformed; the message names the file and the line.
    """
    if not path.exists():
        raise BagError(f"labels {path} do not exist")
    if path.suffix == ".json" or (path.is_dir() and any(path.glob("*.json"))):
        labels, extra = _of_bdd(path, images)
    elif path.is_dir():
        labels, extra = _of_folder(path, images)
    elif path.suffix == ".txt":
        labels, extra = _of_tracking(path, images)
    else:
        raise BagError(f"labels {path} are neither a folder, nor a .txt of KITTI tracking, nor JSON of BDD100K")
    if not labels:
        raise BagError(f"labels {path} are for none of the images, such as {images[0].name}")
    if extra:
        notes.append(f"{extra} labelled frames of {path.name} have no image, and are left out")
    return labels


def read_video_labels(path: Path, video: str, fps: float) -> dict[int, Objects]:
    """The objects in the frames of a video, by frame number, from BDD100K's or Scalabel's JSON.

    A record belongs to the video if its `videoName`, or else its name, is that of the video. Its frame is given by
    `frameIndex`, or by `timestamp` in ms.

    Raises:
        BagError: no record is for this video, or a record does not specify its frame.
        DatasetError: a file is malformed.
    """
    labels: dict[int, Objects] = {}
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    for file in files:
        document = read_json(file)
        if isinstance(document, dict):
            document = [document] if "name" in document else document.get("frames") or []
        records = [record for record in document if isinstance(record, dict) and record.get("name")]
        # The reader yields one image per record, in the same order.
        for record, annotated in zip(records, Bdd(None, file, _EVERYTHING).read(_refuse), strict=True):
            owner = str(record.get("videoName") or record.get("video_name") or record["name"])
            if Path(owner).stem != video:
                continue
            index = record.get("frameIndex")
            stamp_ms = record.get("timestamp")
            if stamp_ms is None and isinstance(record.get("frames"), list) and len(record["frames"]) == 1:
                stamp_ms = record["frames"][0].get("timestamp")
            if not isinstance(index, int):
                if not isinstance(stamp_ms, int | float):
                    raise BagError(f'labels {file}: {record["name"]} has neither "frameIndex" nor "timestamp"')
                index = round(stamp_ms / 1000 * fps)
            labels[index] = _checked(file, annotated.annotations)
    if not labels:
        raise BagError(f"labels {path} have no frame of the video {video}")
    return labels


def is_ignored(annotation: Annotation) -> bool:
    """Whether an annotation is an ignore region."""
    return annotation.ignored or annotation.name == _DONT_CARE


def _of_folder(path: Path, images: Sequence[Path]) -> tuple[dict[Path, Objects], int]:
    reader = KittiObjects(None, path, _EVERYTHING)
    by_stem = {each.labels.stem: _checked(each.labels, each.annotations) for each in reader.read(_refuse)}
    by_number = _numbered(by_stem)
    found = {}
    for image in images:
        objects = by_stem.get(image.stem)
        # File names have ten digits in the raw data and six in the benchmarks.
        if objects is None and image.stem.isdecimal():
            objects = by_number.get(int(image.stem))
        if objects is not None:
            found[image] = objects
    return found, len(by_stem) - len(found)


def _numbered(by_stem: Mapping[str, Objects]) -> dict[int, Objects]:
    return {int(stem): objects for stem, objects in by_stem.items() if stem.isdecimal()}


def _of_tracking(path: Path, images: Sequence[Path]) -> tuple[dict[Path, Objects], int]:
    """All frames of a labelled sequence are labelled; a frame without a line shows no objects."""
    folder = images[0].parent
    absent = 0

    def report(fault: Fault) -> None:
        nonlocal absent
        if fault.kind is not FaultKind.MISSING_IMAGE:
            raise fault.refuse()
        absent += 1

    reader = KittiTracking(folder.parent, path.parent, _EVERYTHING)
    frames = reader.read_sequence(folder.name, path, report)
    return {each.image: _checked(path, each.annotations) for each in frames if each.image is not None}, absent


def _of_bdd(path: Path, images: Sequence[Path]) -> tuple[dict[Path, Objects], int]:
    wanted = set(images)
    absent = 0

    def report(fault: Fault) -> None:
        nonlocal absent
        if fault.kind is not FaultKind.MISSING_IMAGE:
            raise fault.refuse()
        absent += 1

    labels = {}
    for each in Bdd(images[0].parent, path, _EVERYTHING).read(report):
        if each.image in wanted and each.image is not None:
            labels[each.image] = _checked(path, each.annotations)
    return labels, absent


def _checked(path: Path, objects: Objects) -> Objects:
    for annotation in objects:
        x1, y1, x2, y2 = annotation.box
        # The comparison is negated so that NaN fails it.
        if not (-float("inf") < x1 <= x2 < float("inf") and -float("inf") < y1 <= y2 < float("inf")):
            shown = " ".join(f"{value:g}" for value in annotation.box)
            message = f"its box is not x1 <= x2, y1 <= y2: {shown}"
            raise Fault(FaultKind.INVERTED_BOX, path, annotation.place, message).refuse()
    return objects


def _refuse(fault: Fault) -> None:
    raise fault.refuse()
