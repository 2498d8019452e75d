"""KITTI's object and tracking labels (Geiger et al., CVPR 2012; the devkits' readme files)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gaussian_yolo_node.file_names import frame_name, natural_key
from gaussian_yolo_node.labels.annotations import (
    AnnotatedImage,
    Annotation,
    DatasetError,
    Fault,
    FaultKind,
    Report,
    malformed,
)
from gaussian_yolo_node.labels.images import Pick, images_by_frame
from gaussian_yolo_node.labels.reading import label_files, read_lines

_FIELDS = 15  # type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry; 16 with a score
# The tracking labels use Person for Person_sitting.
_TRACKING_TYPES = {"Person": "Person_sitting"}


@dataclass(frozen=True)
class KittiObjects:
    """A folder of images and a folder of `label_2` files with the same stems.

    Attributes:
        positive: minimum score per type of pseudo labels, whose 16th field is a score. An object below it is an ignore
            region. Types without a minimum count with any score.
    """

    images: Path | None
    labels: Path
    pick: Pick
    positive: Mapping[str, float] = field(default_factory=dict)

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every image, and every label file without an image; see `convert.Reader`."""
        images = {} if self.images is None else images_by_frame(self.images, report)
        by_stem = {frame_name(path.name): path for path in kitti_label_files(self.labels)}
        stems = sorted(images.keys() | by_stem.keys(), key=natural_key)
        for stem in filter(self.pick.wants, stems):
            label, image = by_stem.get(stem), images.get(stem)
            if label is None:
                yield AnnotatedImage(image, self.labels / f"{stem}.txt", [], unlabelled=True)
                continue
            if image is None and self.images is not None:
                report(Fault(FaultKind.MISSING_IMAGE, label, None, f"its image {self.images / stem}.* does not exist"))
            yield AnnotatedImage(image, label, list(self._objects(label, report)))
        self.pick.report_absent(stems, report)

    def _objects(self, label: Path, report: Report) -> Iterator[Annotation]:
        for number, line in read_lines(label, report):
            fields = line.split()
            annotation = _object(label, number, fields, report)
            if annotation is None:
                continue
            if len(fields) > _FIELDS and float(fields[_FIELDS]) < self.positive.get(annotation.name, -math.inf):
                annotation = annotation._replace(ignored=True)
            yield annotation


@dataclass(frozen=True)
class KittiTracking:
    """Sequences: `images/0000/000000.png`, .. and `labels/0000.txt` with one line per object, with frame and track.

    All frames of a labelled sequence are labelled; a frame without a line shows no objects.
    """

    images: Path | None
    labels: Path
    pick: Pick
    sequences: tuple[str, ...] = ()

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every frame of every labelled sequence; see `convert.Reader`."""
        by_stem = {frame_name(path.name): path for path in kitti_label_files(self.labels)}
        absent = sorted(set(self.sequences) - by_stem.keys())
        if absent:
            raise DatasetError(f"sequence {absent[0]} has no label file in {self.labels}")
        for sequence in self.sequences or sorted(by_stem):
            yield from self.read_sequence(sequence, by_stem[sequence], report)

    def read_sequence(self, sequence: str, label: Path, report: Report) -> Iterator[AnnotatedImage]:
        """Every frame of one sequence, a folder of images, from its label file."""
        of_frame = read_tracking(label, report)
        by_frame = {} if self.images is None else images_by_frame(self.images / sequence, report)
        images = {int(name): path for name, path in by_frame.items() if name.isdecimal()}
        for frame in sorted(of_frame.keys() | images.keys()):
            image, objects = images.get(frame), of_frame.get(frame, [])
            if not self.pick.wants(f"{frame:06d}", sequence):
                continue
            if image is None and self.images is not None:
                message = f"its image {self.images / sequence / f'{frame:06d}'}.* does not exist"
                report(Fault(FaultKind.MISSING_IMAGE, label, objects[0].place, message))
            yield AnnotatedImage(image, label, objects)


def kitti_label_files(folder: Path) -> list[Path]:
    """The label files of a folder, in natural order. DatasetError if there are none."""
    if not folder.is_dir():
        raise DatasetError(f"label folder {folder} does not exist: set data.root in the config or pass --data")
    paths = label_files(folder, ".txt")
    if not paths:
        raise DatasetError(f"label folder {folder} has no KITTI label files (*.txt)")
    return paths


def read_tracking(path: Path, report: Report) -> dict[int, list[Annotation]]:
    """The objects of one tracking label file, or result file of the tracking devkit, by frame number.

    Malformed files and lines are passed to `report`.
    """
    of_frame: dict[int, list[Annotation]] = {}
    for number, line in read_lines(path, report):
        fields = line.split()
        try:
            frame, track = int(fields[0]), int(fields[1])
        except (ValueError, IndexError):
            begin = " ".join(fields[:2])
            report(malformed(path, number, f"it does not begin with the numbers of frame and track: {begin}"))
            continue
        annotation = _object(path, number, fields[2:], report)
        if annotation is not None:
            name = _TRACKING_TYPES.get(annotation.name, annotation.name)
            of_frame.setdefault(frame, []).append(annotation._replace(name=name, track=track))
    return of_frame


def read_results(path: Path, report: Report) -> Iterator[tuple[Annotation, float]]:
    """The detections of one result file of the object devkit, each with its score, the 16th field."""
    for number, line in read_lines(path, report):
        fields = line.split()
        annotation = _object(path, number, fields, report)
        if annotation is None:
            continue
        if len(fields) == _FIELDS:
            report(malformed(path, number, f"it has no score, the field {_FIELDS + 1} of a result"))
            continue
        yield annotation, float(fields[_FIELDS])


def _object(path: Path, number: int, fields: list[str], report: Report) -> Annotation | None:
    if len(fields) not in (_FIELDS, _FIELDS + 1):
        report(malformed(path, number, f"it has {len(fields)} fields, and a KITTI label has {_FIELDS}"))
        return None
    try:
        numbers = [float(field) for field in fields[1:]]
    except ValueError:
        report(malformed(path, number, f"all after the type must be numbers: {' '.join(fields[1:])}"))
        return None
    x1, y1, x2, y2 = numbers[3:7]
    # DontCare lines have -1 in both fields.
    truncation, occlusion = max(0.0, numbers[0]), int(min(3.0, max(0.0, numbers[1])))
    # Objects without a 3-D box have sizes of -1 or 0.
    cuboid = tuple(numbers[7:14]) if min(numbers[7:10]) > 0 else None
    return Annotation(fields[0], (x1, y1, x2, y2), number, truncation=truncation, occlusion=occlusion, cuboid=cuboid)
