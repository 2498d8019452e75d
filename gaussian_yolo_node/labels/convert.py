"""Convert annotations to ground truth for training; the first fault raises an error."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from gaussian_yolo_node.labels.annotations import (
    IGNORE,
    AnnotatedImage,
    Annotation,
    DatasetError,
    Fault,
    FaultKind,
    LabelledImage,
    Report,
    box_fault,
)
from gaussian_yolo_node.labels.classes import BACKGROUND, UNKNOWN, ClassMap

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """A dataset in one format."""

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """The selected images, in a fixed order.

        Faulty files and lines and missing images are passed to `report`. If `report` returns, they are skipped. Boxes
        and categories are as in the file.

        Raises:
            DatasetError: a folder or file is missing, or is not in this format.
        """
        ...


def refuse(fault: Fault) -> None:
    """A `report` that raises; for callers that accept no faults."""
    raise fault.error


def convert(reader: Reader, classes: ClassMap, weight: float, *, skip_missing: bool) -> list[LabelledImage]:
    """The labelled images of a dataset. DatasetError if the data have a fault; with `skip_missing`, missing images that
    the labels name are none, and their number is logged."""
    missing: list[Fault] = []
    empty: list[Fault] = []

    def report(fault: Fault) -> None:
        if fault.kind is FaultKind.MISSING_IMAGE and skip_missing:
            missing.append(fault)
        elif fault.kind is FaultKind.MISSING_IMAGE:
            raise DatasetError(f"{fault.error}; complete the images, or write 'missing: skip' into the source")
        else:
            refuse(fault)

    images = []
    for annotated in reader.read(report):
        if annotated.image is None or annotated.unlabelled:
            continue
        boxes, ids, weights = [], [], []
        for annotation, class_id, fault in classified(annotated, classes):
            if class_id == BACKGROUND:
                continue
            if fault is not None:
                empty.append(fault)
                continue
            boxes.append(annotation.box)
            ids.append(class_id)
            weights.append(annotation.weights)
        corners, of_boxes = (np.array(rows, np.float32).reshape(-1, 4) for rows in (boxes, weights))
        of_image = weight * annotated.copies
        images.append(LabelledImage(annotated.image, corners, np.array(ids, np.int64), of_image, of_boxes))
    for faults, what in ((missing, "label records without an image"), (empty, "empty boxes")):
        if faults:
            _log.warning("%d %s left out, the first of %s", len(faults), what, faults[0].where)
    return images


def classified(annotated: AnnotatedImage, classes: ClassMap) -> Iterator[tuple[Annotation, int, Fault | None]]:
    """Each annotation of an image with its class from `class_of`, and the fault of an empty box or None. DatasetError
    if a box is inverted or not finite, or a category is unknown."""
    for annotation in annotated.annotations:
        fault = box_fault(annotated.labels, annotation)
        if fault is not None and fault.kind is not FaultKind.EMPTY_BOX:
            refuse(fault)
        class_id = class_of(annotation, classes)
        if class_id == UNKNOWN:
            refuse(unknown_class(annotated, annotation))
        yield annotation, class_id, fault


def class_of(annotation: Annotation, classes: ClassMap) -> int:
    """Class id, IGNORE, BACKGROUND or UNKNOWN; `ignored` has no effect on background and unknown categories."""
    class_id = classes(annotation.name)
    return IGNORE if annotation.ignored and class_id >= 0 else class_id


def unknown_class(annotated: AnnotatedImage, annotation: Annotation) -> Fault:
    """The fault of an unknown category."""
    name = annotation.name
    message = f"{name!r} is no category of this format: correct it, or give the source 'map: {{{name}: CLASS}}'"
    return Fault(FaultKind.UNKNOWN_CLASS, annotated.labels, annotation.place, message)
