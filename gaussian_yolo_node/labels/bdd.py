"""BDD100K's detection labels of 2018 (one file per image, or one list), and Scalabel JSON of the later releases.

Formats: doc.bdd100k.com, "Label Format"; doc.scalabel.ai, "Scalabel Format".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.file_names import slashed
from gaussian_yolo_node.labels.annotations import (
    AnnotatedImage,
    Annotation,
    DatasetError,
    Fault,
    FaultKind,
    Report,
    malformed,
)
from gaussian_yolo_node.labels.images import ImageTree, Pick
from gaussian_yolo_node.labels.reading import label_files

# Attributes that mark a label as a group, or as ignored.
_IGNORING = ("crowd", "ignored")
# Categories of areas and lines in the same files.
_NOT_OBJECTS = ("drivable area", "area/", "lane", "lane/")


@dataclass(frozen=True)
class Bdd:
    """A JSON file, or a folder of JSON files, and the images named in them."""

    images: Path | None
    labels: Path
    pick: Pick

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every frame, in the order of the files; see `convert.Reader`."""
        tree = ImageTree(self.images)
        seen: set[str] = set()
        places: dict[tuple[str, ...], str] = {}  # of the record of each frame
        for path in self._files():
            for number, frame in enumerate(_frames(path, report)):
                place = f"frame {number}"
                name = frame.get("name") if isinstance(frame, dict) else None
                if not isinstance(name, str) or not name:
                    report(malformed(path, place, 'it has no "name"'))
                    continue
                place = f"{place} ({name})"
                video = str(frame.get("videoName") or frame.get("video_name") or "")
                if not self.pick.wants(name, video):
                    continue
                seen.add(name)
                # The frames of a video may have its name.
                when = (repr(frame.get("frameIndex")), repr(timestamp(frame)))
                first = places.setdefault((slashed(name), video, *when), f"{path.name}, frame {number}")
                if first != f"{path.name}, frame {number}":
                    message = f"two frames of the name {name}: {first} is of it, too: remove one"
                    report(Fault(FaultKind.DUPLICATE_IMAGE, path, place, message))
                    continue
                image = tree.find(name, path, place, report, video)
                objects = list(_objects(path, place, frame, report))
                yield AnnotatedImage(image, path, objects, _size(frame), name=name)
        self.pick.report_absent(seen, report)

    def _files(self) -> list[Path]:
        files = label_files(self.labels, ".json") if self.labels.is_dir() else [self.labels]
        if not files:
            raise DatasetError(f"label folder {self.labels} has no JSON files")
        return files


def _frames(path: Path, report: Report) -> list[Any]:
    try:
        document = read_json(path, "label file", DatasetError)
    except DatasetError as error:
        cause = error.__cause__
        place = cause.lineno if isinstance(cause, json.JSONDecodeError) else None
        report(malformed(path, place, f"it {str(error).removeprefix(f'label file {path} ')}"))
        return []
    if isinstance(document, dict):
        # A file of a single image has "name" at the top level, and one frame in "frames".
        document = [document] if "name" in document else document.get("frames")
    if not isinstance(document, list):
        report(
            malformed(path, None, 'it is neither a list of frames, nor an object with "frames", nor that of one image')
        )
        return []
    return document


def timestamp(frame: dict[str, Any]) -> Any:
    """The time of a frame in its video, ms, which the files of 2018 hold one level deeper; None if it has none."""
    inner = frame.get("frames")
    one = inner[0] if isinstance(inner, list) and len(inner) == 1 else None
    stamp_ms = frame.get("timestamp")
    return one.get("timestamp") if stamp_ms is None and isinstance(one, dict) else stamp_ms


def _objects(path: Path, place: str, frame: dict[str, Any], report: Report) -> Iterator[Annotation]:
    labels = frame.get("labels")
    if labels is None and isinstance(frame.get("frames"), list):
        parts = [part.get("objects") if isinstance(part, dict) else None for part in frame["frames"]]
        labels = [label for objects in parts if isinstance(objects, list) for label in objects]
    # In Scalabel, "labels" is absent or null if there are no labels.
    for number, label in enumerate([] if labels is None else labels if isinstance(labels, list) else [labels]):
        where = f"{place}, label {number}"
        category = label.get("category") if isinstance(label, dict) else None
        if not isinstance(category, str):
            report(malformed(path, where, 'it has no "category"'))
            continue
        if category.startswith(_NOT_OBJECTS):
            continue
        try:
            box = _box(label)
        except (KeyError, TypeError, ValueError, OverflowError):
            report(malformed(path, where, 'its "box2d" is not of numbers x1, y1, x2, y2'))
            continue
        if box is not None:
            attributes = label.get("attributes")
            ignored = isinstance(attributes, dict) and any(attributes.get(key) is True for key in _IGNORING)
            yield Annotation(category, box, where, ignored)


def _box(label: dict[str, Any]) -> tuple[float, float, float, float] | None:
    """x1 y1 x2 y2; for a label without a box, the bounds of its outline; None if it has neither."""
    box = label.get("box2d")
    if box is not None:
        return float(box["x1"]), float(box["y1"]), float(box["x2"]), float(box["y2"])
    # The files of 2018 contain only the list of points.
    outlines = (each["vertices"] if isinstance(each, dict) else each for each in label.get("poly2d") or ())
    points = [(float(x), float(y)) for outline in outlines for x, y, *_ in outline]
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _size(frame: dict[str, Any]) -> tuple[int, int] | None:
    size = frame.get("size")
    if isinstance(size, dict) and isinstance(size.get("height"), int) and isinstance(size.get("width"), int):
        return size["height"], size["width"]
    return None
