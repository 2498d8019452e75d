"""Pseudo labels: detections on unlabelled images (Xie et al., Noisy Student, CVPR 2020, section 2)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.labels.annotations import AnnotatedImage, Annotation, DatasetError, Fault, FaultKind, Report
from gaussian_yolo_node.labels.images import ImageTree, Pick
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.reading import is_number

# Of a file of selected pseudo labels.
FORMAT = 1
KIND = "detection"


@dataclass(frozen=True)
class DetectionLabels:
    """A folder of images, and the output of `gaussian-yolo detect FOLDER --json`.

    Attributes:
        positive: minimum score of a detection that counts as ground truth.
        ignore: minimum score of an ignore region; a detection below it is background.
    """

    images: Path | None
    labels: Path
    pick: Pick
    positive: float
    ignore: float

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every frame of the file; see `convert.Reader`."""
        tree = ImageTree(self.images)
        seen: set[str] = set()
        for number, frame in enumerate(read_predictions(self.labels)):
            # Frames of a video are numbers; the extracted images are named 000012.jpg and so on.
            name = f"{frame.frame:06d}" if isinstance(frame.frame, int) else frame.frame
            place = f"record {number} ({name})"
            if not self.pick.wants(name):
                continue
            seen.add(name)
            image = tree.find(name, self.labels, place, report)
            detections = frame.detections
            annotations = []
            for index in np.flatnonzero(detections.scores >= self.ignore).tolist():
                x1, y1, x2, y2 = detections.boxes[index].tolist()
                category, ignored = str(frame.class_names[index]), bool(detections.scores[index] < self.positive)
                annotations.append(Annotation(category, (x1, y1, x2, y2), f"{place}, detection {index}", ignored))
            yield AnnotatedImage(image, self.labels, annotations)
        self.pick.report_absent(seen, report)


@dataclass(frozen=True)
class SelectedLabels:
    """A file of pseudo labels that `gaussian-yolo noisy-student select` has selected from a teacher's detections.

    Source: docs/paper_facts.md, section 4.

    The document is `{"format": 1, "kind": "detection", "images": [..]}`. An image has `path` (relative to the file's
    folder, or absolute), `copies` (number of times that an epoch shows it), and lists with one entry per box: `boxes`
    (x1 y1 x2 y2, px), `classes` (names), `weights` (loss weights of centre x, centre y, width and height) and
    `ignored` (whether it is an ignore region).
    """

    labels: Path
    pick: Pick

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """Every image of the file; see `convert.Reader`."""
        seen: set[str] = set()
        for number, record in enumerate(self._records()):
            place = f"image {number}"
            image = self._path(record, place)
            if not self.pick.wants(image.name):
                continue
            seen.add(image.name)
            annotations, copies = self._annotations(record, place), self._number(record.get("copies", 1), place)
            if not image.is_file():
                message = f"there is no image {image}: restore it, or select again"
                report(Fault(FaultKind.MISSING_IMAGE, self.labels, place, message))
                continue
            yield AnnotatedImage(image, self.labels, annotations, name=str(record["path"]), copies=copies)
        self.pick.report_absent(seen, report)

    def _records(self) -> list[Any]:
        try:
            document = read_json(self.labels, "file of selected labels", DatasetError)
        except DatasetError as error:
            raise DatasetError(f"{error}; select again") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise DatasetError(f"{self.labels} is not a file of selected labels of format {FORMAT}: select again")
        if document.get("kind") != KIND:
            raise DatasetError(
                f"{self.labels} holds labels for {document.get('kind')}, where a detector needs those for {KIND}"
            )
        images = document.get("images")
        if not isinstance(images, list):
            raise DatasetError(f"{self.labels} has no list 'images': select again")
        return images

    def _path(self, record: object, place: str) -> Path:
        if not isinstance(record, Mapping) or not isinstance(record.get("path"), str):
            raise self._wrong(place, "it has no path")
        return self.labels.parent / record["path"]

    def _annotations(self, record: Mapping[str, Any], place: str) -> list[Annotation]:
        columns = [record.get(name) for name in ("boxes", "classes", "weights", "ignored")]
        if not all(isinstance(column, list) and len(column) == len(columns[0] or ()) for column in columns):
            raise self._wrong(place, "boxes, classes, weights and ignored are not lists of one length")
        annotations = []
        for index, (box, name, weights, ignored) in enumerate(zip(*columns, strict=True)):  # type: ignore[arg-type]
            where = f"{place}, box {index}"
            if not isinstance(box, list) or not isinstance(weights, list) or len(box) != 4 or len(weights) != 4:
                raise self._wrong(where, "box and weights are not of four numbers")
            if not isinstance(name, str) or not isinstance(ignored, bool):
                raise self._wrong(where, "its class is no name, or ignored not true or false")
            x1, y1, x2, y2 = (self._number(value, where, least=-math.inf) for value in box)
            x, y, w, h = (self._number(value, where) for value in weights)
            annotations.append(Annotation(name, (x1, y1, x2, y2), where, ignored, weights=(x, y, w, h)))
        return annotations

    def _number(self, value: object, place: str, least: float = 0.0) -> float:
        if not is_number(value, least):
            raise self._wrong(place, f"{value!r} is not a number" + (" from 0" if least == 0 else ""))
        return float(value)

    def _wrong(self, place: str, message: str) -> DatasetError:
        return DatasetError(f"{self.labels}, {place}: {message}; select again")
