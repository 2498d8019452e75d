"""Frames of driving data in order, with their stamps, labels and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Literal

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.file_names import frame_name, is_hidden, is_image_name
from gaussian_yolo_node.frames.camera_calibration import Calibration, read_kitti_calibration
from gaussian_yolo_node.frames.files import Picture, list_images, read_picture
from gaussian_yolo_node.frames.video import VideoFile, video_name
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.reading import label_files
from gaussian_yolo_node.labels.sequence_labels import read_labels, read_video_labels
from gaussian_yolo_node.text_files import text_of

Format = Literal["auto", "kitti-object", "kitti-tracking", "kitti-raw", "bdd", "folder", "video"]
KITTI_HZ = 10.0

_RAW_CAMERAS = ("image_02", "image_03", "image_00", "image_01")
# Name of the label folder beside an image folder, in each layout.
_LABELS_BESIDE = {"image_2": "label_2", "image_02": "label_02", "image": "label_2", "images": "labels"}


@dataclass(frozen=True, eq=False)
class SequenceFrame:
    """One frame.

    Attributes:
        name: as in `gaussian-yolo detect`: the file name, or the index in a video.
        file: the image file; None for a frame of a video.
        stamp_ns: capture time, ns since the epoch; None if unknown.
        truths: the labelled objects; None if the frame is not labelled.
        time_s: time since the first frame, s; None if unknown.
        decoded: the picture of a frame of a video.
    """

    name: str
    file: Path | None
    stamp_ns: int | None = None
    truths: Truths | None = None
    time_s: float | None = None
    decoded: Picture | None = None

    def picture(self) -> Picture:
        """The image, or why there is none; decodes the file."""
        if self.decoded is not None:
            return self.decoded
        assert self.file is not None
        return read_picture(self.file)


@dataclass(frozen=True, eq=False)
class FrameSequence:
    """Frames that can be iterated any number of times.

    Attributes:
        frames: returns an iterator from the first frame.
        length: number of frames; None if it is known only at the end.
        rate_hz: frame rate of the camera, as far as known.
        calibration: returns the calibration of a frame's camera, or None.
        notes: remarks for the user, one sentence each.
    """

    description: str
    frames: Callable[[], Iterator[SequenceFrame]]
    length: int | None
    rate_hz: float
    calibration: Callable[[SequenceFrame], Calibration | None]
    notes: list[str] = field(default_factory=list)


def open_sequence(
    source: Path, layout: Format = "auto", labels: Path | None = None, *, labelled: bool = True
) -> FrameSequence:
    """Frames of a dataset, a folder of images, or a video.

    Args:
        source: for KITTI's raw data a drive, or one of its camera folders; for its object benchmark the folder that
            contains `image_2`; for its tracking benchmark the image folder of a sequence, `image_02/0000`; else a
            folder of images, or a video.
        labels: path of the labels, see `sequence_labels.read_labels`; None uses their default path in the dataset, if
            there is one.
        labelled: False ignores the labels of the dataset.

    Raises:
        BagError: the source does not have that layout.
        SourceError: there are no images, or the video cannot be read.
        DatasetError: a label file is malformed.
    """
    if not source.exists():
        raise BagError(f"{source} does not exist: give a data set, a folder of images, or a video")
    if layout == "auto":
        layout = _layout_of(source, labels)
    if source.is_file() != (layout == "video") and not (layout == "bdd" and source.is_file()):
        wanted = "file" if layout == "video" else "folder"
        raise BagError(f"{source} is not what {layout} data are in: that is a {wanted}")
    if source.is_file():
        return _of_video(source, labels if labelled else None)
    images = _OPENERS[layout](source)
    chosen = (labels or images.labels) if labelled else None
    if layout == "bdd" and labelled and chosen is None:
        raise BagError(f"{source} has not one JSON file of labels in it: name it with --labels")
    return _of_images(images, chosen)


def _layout_of(source: Path, labels: Path | None) -> Format:
    if source.is_file():
        return "video"
    if (source / "data").is_dir() or any((source / camera / "data").is_dir() for camera in _RAW_CAMERAS):
        return "kitti-raw"
    if (source / "image_2").is_dir() or source.name == "image_2":
        return "kitti-object"
    if source.parent.name.startswith("image_0") or (source / "image_02").is_dir():
        return "kitti-tracking"
    if labels is not None and (labels.suffix == ".json" or (labels.is_dir() and label_files(labels, ".json"))):
        return "bdd"
    return "folder"


@dataclass(frozen=True, eq=False)
class _Images:
    """Images of a layout; `labels` is the path of their labels, if there are any."""

    description: str
    paths: Sequence[Path]
    labels: Path | None = None
    calibration: Callable[[SequenceFrame], Calibration | None] = lambda frame: None
    stamps: Mapping[Path, int] | None = None
    notes: Sequence[str] = ()


def _raw(source: Path) -> _Images:
    cameras = [source] if (source / "data").is_dir() else [source / name for name in _RAW_CAMERAS]
    folder = next((camera for camera in cameras if (camera / "data").is_dir()), None)
    if folder is None:
        raise BagError(f"{source} is not a drive of KITTI's raw data: it has no image_02/data")
    drive = folder.parent
    images = list_images(folder / "data")
    times = folder / "timestamps.txt"
    known = times.is_file()
    # All drives of a day share one file.
    files = (drive / "calib_cam_to_cam.txt", drive.parent / "calib_cam_to_cam.txt")
    file = next((path for path in files if path.is_file()), None)
    calibration = None if file is None else read_kitti_calibration(file, f"P_rect_{folder.name[-2:]}")
    return _Images(
        f"KITTI raw data, {drive.name}, {folder.name}",
        images,
        calibration=lambda frame: calibration,
        stamps=_read_timestamps(times, images) if known else None,
        notes=() if known else (f"there is no {times.name} in {folder.name}: stamps are of even steps",),
    )


def _object(source: Path) -> _Images:
    folder = source if source.name == "image_2" else source / "image_2"
    if not folder.is_dir():
        raise BagError(f"{source} is not KITTI's object data: it has no folder image_2")
    read = cache(read_kitti_calibration)

    def calibration(frame: SequenceFrame) -> Calibration | None:
        # Each image has its own file, because the images are from many drives.
        path = folder.parent / "calib" / f"{frame_name(frame.name)}.txt"
        return read(path, "P2") if path.is_file() else None

    return _Images("KITTI object data", list_images(folder), _labels_beside(folder), calibration)


def _tracking(source: Path) -> _Images:
    if (source / "image_02").is_dir():
        paths = sorted(each for each in (source / "image_02").iterdir() if each.is_dir() and not is_hidden(each.name))
        if not paths:
            raise BagError(f"{source} has no sequences in image_02")
        names = ", ".join(each.name for each in paths)
        raise BagError(f"{source} has the sequences {names}: choose one, such as {paths[0]}")
    root, camera = source.parent.parent, source.parent.name
    labels = root / camera.replace("image", "label") / f"{source.name}.txt"
    path = root / "calib" / f"{source.name}.txt"
    known = read_kitti_calibration(path, f"P{camera[-1]}") if path.is_file() and camera[-1:].isdigit() else None
    return _Images(
        f"KITTI tracking data, sequence {source.name}",
        list_images(source),
        labels if labels.is_file() else None,
        lambda frame: known,
    )


def _bdd(source: Path) -> _Images:
    files = label_files(source, ".json")
    return _Images("BDD100K frames", list_images(source), files[0] if len(files) == 1 else None)


def _folder(source: Path) -> _Images:
    inside = [source / name for name in _LABELS_BESIDE if (source / name).is_dir()]
    folder = inside[0] if inside and not any(is_image_name(path.name) for path in source.iterdir()) else source
    return _Images(f"images of {folder}", list_images(folder), _labels_beside(folder))


_OPENERS: Mapping[str, Callable[[Path], _Images]] = {
    "kitti-object": _object,
    "kitti-tracking": _tracking,
    "kitti-raw": _raw,
    "bdd": _bdd,
    "folder": _folder,
}


def _of_video(source: Path, labels: Path | None) -> FrameSequence:
    video = VideoFile(source)
    by_index = {} if labels is None else read_video_labels(labels, video_name(source.name), video.times)

    def frames() -> Iterator[SequenceFrame]:
        for index, picture in enumerate(video.play()):
            yield SequenceFrame(str(index), None, truths=by_index.get(index), time_s=picture.time_s, decoded=picture)

    return FrameSequence(f"video {source.name}", frames, video.length, video.fps, lambda frame: None)


def _of_images(images: _Images, labels: Path | None) -> FrameSequence:
    notes = list(images.notes)
    truths: dict[Path, Truths] = {} if labels is None else read_labels(labels, images.paths, notes)

    def frames() -> Iterator[SequenceFrame]:
        for path in images.paths:
            stamp_ns = None if images.stamps is None else images.stamps[path]
            yield SequenceFrame(path.name, path, stamp_ns, truths.get(path))

    return FrameSequence(images.description, frames, len(images.paths), KITTI_HZ, images.calibration, notes)


def _labels_beside(folder: Path) -> Path | None:
    beside = folder.parent / _LABELS_BESIDE.get(folder.name, "")
    return beside if beside != folder.parent and beside.is_dir() and bool(label_files(beside, ".txt")) else None


def _read_timestamps(path: Path, images: Sequence[Path]) -> dict[Path, int]:
    """Capture times of KITTI's images, ns; one line per frame, by file number. The times are assumed to be UTC."""
    lines = text_of(path, str(path), BagError).split("\n")
    stamps = {}
    for index, image in enumerate(images):
        name = frame_name(image.name)
        number = int(name) if name.isdecimal() else index
        if number >= len(lines) or not lines[number].strip():
            raise BagError(f"{path} has no line for {image.name}: it ends after {len(lines) - 1}")
        try:
            stamps[image] = parse_time(lines[number])
        except ValueError as error:
            raise BagError(f"{path}, line {number + 1}: {lines[number].strip()!r} is not a time") from error
    return stamps


def parse_time(text: str) -> int:
    """A time in ns since the epoch, from seconds since the epoch or from ISO 8601 (UTC if it has no time zone).
    ValueError if the text has neither format."""
    text = text.strip()
    whole, _, fraction = text.partition(".")
    digits = len(fraction) - len(fraction.lstrip("0123456789"))
    fraction, zone = fraction[:digits], fraction[digits:]
    nanoseconds = int((fraction + "0" * 9)[:9]) if fraction else 0
    if whole.isascii() and whole.isdigit() and not zone:
        return int(whole) * 1_000_000_000 + nanoseconds
    # Python's parser keeps only microseconds.
    moment = datetime.fromisoformat((whole + zone).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp()) * 1_000_000_000 + nanoseconds
