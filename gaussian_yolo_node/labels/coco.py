"""COCO's instances JSON (Lin et al., ECCV 2014; cocodataset.org, "Data format")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
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
from gaussian_yolo_node.labels.reading import is_number

_MOST_DIGITS = 20  # of an id written as text


@dataclass(frozen=True)
class CocoJson:
    """An instances file and the images named in it; `iscrowd` annotations are ignore regions."""

    images: Path | None
    labels: Path
    pick: Pick

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every image of the file, in its order; see `convert.Reader`."""
        tree = ImageTree(self.images)
        of_image = self._annotations(report)
        seen: list[str] = []
        names: dict[str, int] = {}  # whole names, with the number of their record
        for number, record in enumerate(self._document["images"]):
            place = f"image {number}"
            image_id, name = _id_and_name(record)
            if image_id is None or not name:
                report(malformed(self.labels, place, 'it needs "id" and "file_name"'))
                continue
            first = names.setdefault(slashed(name), number)
            if first != number:
                message = f"its file_name {name} is that of image {first}, too: remove one"
                report(Fault(FaultKind.DUPLICATE_IMAGE, self.labels, place, message))
                continue
            if self.image_names[image_id] != name:
                message = f"its id {image_id} is that of {self.image_names[image_id]}, too: give {name} another"
                report(Fault(FaultKind.AMBIGUOUS_NAME, self.labels, place, message))
                continue
            annotations = of_image.pop(image_id, [])
            if not self.pick.wants(name):
                continue
            seen.append(name)
            image = tree.find(name, self.labels, place, report)
            height, width = whole_number(record.get("height")), whole_number(record.get("width"))
            size = (height, width) if height is not None and width is not None else None
            yield AnnotatedImage(image, self.labels, annotations, size, name=name)
        for image_id, annotations in of_image.items():
            report(malformed(self.labels, annotations[0].place, f"its image_id {image_id} is of no image in the file"))
        self.pick.report_absent(seen, report)

    @cached_property
    def image_names(self) -> dict[int, str]:
        """File name by image id; of an id that is given twice, the first."""
        names: dict[int, str] = {}
        for image_id, name in map(_id_and_name, self._document["images"]):
            if image_id is not None and name:
                names.setdefault(image_id, name)
        return names

    @cached_property
    def category_names(self) -> dict[int, str]:
        """Name by category id. DatasetError if a category lacks one of them."""
        names: dict[int, str] = {}
        for number, record in enumerate(self._document["categories"]):
            category = whole_number(record.get("id")) if isinstance(record, dict) else None
            if category is None or "name" not in record:
                raise DatasetError(f'{self.labels}, category {number}: every one of "categories" needs "id" and "name"')
            name = str(record["name"])
            if names.setdefault(category, name) != name:
                raise DatasetError(
                    f"{self.labels}: {names[category]!r} and {name!r} both have the category id {category}"
                )
        return names

    def _annotations(self, report: Report) -> dict[int, list[Annotation]]:
        """The sound annotations by image id."""
        of_image: dict[int, list[Annotation]] = {}
        for number, record in enumerate(self._document["annotations"]):
            place = f"annotation {number}"
            image_id = whole_number(record.get("image_id")) if isinstance(record, dict) else None
            try:
                annotation = None if image_id is None else self._annotation(record, place)
            except (KeyError, TypeError, ValueError, OverflowError):
                annotation = None
            if annotation is None or image_id is None:
                message = 'it needs "image_id", "category_id" and a "bbox" of four numbers x, y, w, h, or a polygon'
                report(malformed(self.labels, place, message))
            elif isinstance(annotation, Fault):
                report(annotation)
            else:
                of_image.setdefault(image_id, []).append(annotation)
        return of_image

    def _annotation(self, record: dict[str, Any], place: str) -> Annotation | Fault:
        box = _box(record)
        category = whole_number(record["category_id"])
        name = None if category is None else self.category_names.get(category)
        if name is None:
            message = f'its category_id {record["category_id"]} is not in "categories"'
            return Fault(FaultKind.UNKNOWN_CLASS, self.labels, place, message)
        return Annotation(name, box, place, bool(record.get("iscrowd", 0)))

    @cached_property
    def _document(self) -> dict[str, list[Any]]:
        document = read_json(self.labels, "label file", DatasetError)
        for key in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise DatasetError(f'{self.labels} is not a COCO instances file: it has no list "{key}"')
        return document


def whole_number(value: object) -> int | None:
    """An id, which some tools write as text or as a float; None if it is no whole number."""
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < _MOST_DIGITS:
        return int(value)
    return int(value) if is_number(value) and float(value).is_integer() else None


def _id_and_name(record: object) -> tuple[int | None, str]:
    """Id and file name of an image's record; None and "" for what it lacks."""
    if not isinstance(record, dict):
        return None, ""
    name = record.get("file_name")
    return whole_number(record.get("id")), name if isinstance(name, str) else ""


def _box(record: dict[str, Any]) -> tuple[float, float, float, float]:
    """x1 y1 x2 y2; of a record without a box, the bounds of its polygons. KeyError, TypeError or ValueError if it has
    neither."""
    if record.get("bbox"):
        x, y, w, h = map(float, record["bbox"])
        return x, y, x + w, y + h
    points = [list(map(float, polygon)) for polygon in record["segmentation"]]
    xs, ys = [x for polygon in points for x in polygon[::2]], [y for polygon in points for y in polygon[1::2]]
    return min(xs), min(ys), max(xs), max(ys)
