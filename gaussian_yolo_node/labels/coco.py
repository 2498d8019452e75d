"""COCO's instances JSON (Lin et al., ECCV 2014; cocodataset.org, "Data format")."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gaussian_yolo_node.labels.annotations import AnnotatedImage, Annotation, DatasetError, Fault, FaultKind, Report
from gaussian_yolo_node.labels.images import ImageTree, Pick
from gaussian_yolo_node.labels.reading import read_json


@dataclass(frozen=True)
class CocoJson:
    """An instances file and the images named in it; `iscrowd` annotations are ignore regions."""

    images: Path | None
    labels: Path
    pick: Pick

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every image of the file, in its order; see `convert.Reader`."""
        tree = ImageTree(self.images)
        of_image: dict[Any, list[Annotation]] = {}
        for number, record in enumerate(self._document["annotations"]):
            place = f"annotation {number}"
            image_id = record.get("image_id") if isinstance(record, dict) else None
            try:
                annotation = self._annotation(record, place)
            except (KeyError, TypeError, ValueError, OverflowError):
                message = 'it needs "image_id", "category_id" and a "bbox" of four numbers x, y, w, h'
                report(Fault(FaultKind.MALFORMED_LABEL, self.labels, place, message))
                continue
            if isinstance(annotation, Fault):
                report(annotation)
            else:
                of_image.setdefault(image_id, []).append(annotation)
        seen: set[str] = set()
        for number, record in enumerate(self._document["images"]):
            name = record.get("file_name") if isinstance(record, dict) else None
            if not isinstance(name, str) or not isinstance(record.get("id"), int):
                message = 'it needs "id" and "file_name"'
                report(Fault(FaultKind.MALFORMED_LABEL, self.labels, f"image {number}", message))
                continue
            annotations = of_image.pop(record["id"], [])
            if not self.pick.wants(Path(name).stem):
                continue
            seen.add(Path(name).stem)
            image = tree.find(name, self.labels, f"image {number}", report)
            height, width = record.get("height"), record.get("width")
            size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
            yield AnnotatedImage(image, self.labels, annotations, size, name=name)
        for image_id, annotations in of_image.items():
            message = f"its image_id {image_id} is of no image in the file"
            report(Fault(FaultKind.MALFORMED_LABEL, self.labels, annotations[0].place, message))
        self.pick.report_absent(seen, report)

    def _annotation(self, record: dict[str, Any], place: str) -> Annotation | Fault:
        hash(record["image_id"])  # raises TypeError for an unhashable id
        x, y, w, h = map(float, record["bbox"])
        name = self._names.get(record["category_id"])
        if name is None:
            message = f'its category_id {record["category_id"]} is not in "categories"'
            return Fault(FaultKind.UNKNOWN_CLASS, self.labels, place, message)
        return Annotation(name, (x, y, x + w, y + h), place, bool(record.get("iscrowd", 0)))

    @cached_property
    def _document(self) -> dict[str, list[Any]]:
        document = read_json(self.labels)
        for key in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise DatasetError(f'{self.labels} is not a COCO instances file: it has no list "{key}"')
        return document

    @cached_property
    def _names(self) -> dict[Any, str]:
        try:
            return {record["id"]: str(record["name"]) for record in self._document["categories"]}
        except (KeyError, TypeError) as error:
            raise DatasetError(f'{self.labels}: every one of "categories" needs "id" and "name"') from error
