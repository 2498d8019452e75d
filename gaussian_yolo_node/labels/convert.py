"""From annotations to truths for training; the first fault is an error here."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

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
    """A data set in one format."""

    @property
    def categories(self) -> tuple[str, ...] | None:
        """All that the format, or the data set, has names for; None if it does not say."""
        ...

    def read(self, report: Report) -> Iterator[AnnotatedImage]:
        """The images that are wanted, always in the same order.

        What is wrong with files and lines goes to `report`, and so does a missing image; if that returns, reading
        goes on without them. Boxes and categories are as they are in the file.

        Raises:
            DatasetError: a folder or file is missing or not of this format at all.
        """
        ...


def refuse(fault: Fault) -> None:
    """The report of those who need data without faults: raises."""
    raise fault.refuse()


def convert(reader: Reader, classes: ClassMap, weight: float, *, skip_missing: bool) -> list[LabelledImage]:
    """The labelled images of a data set.

    Args:
        skip_missing: images that the labels name and that are not there are left out, and counted in the log.

    Raises:
        DatasetError: something is wrong, or there are no images.
    """
    missing: list[Fault] = []
    empty: list[Fault] = []

    def report(fault: Fault) -> None:
        if fault.kind is FaultKind.MISSING_IMAGE and skip_missing:
            missing.append(fault)
        elif fault.kind is FaultKind.MISSING_IMAGE:
            error = fault.refuse()
            raise DatasetError(f"{error}; complete the images, or write 'missing: skip' into the source")
        else:
            refuse(fault)

    found = []
    for annotated in reader.read(report):
        if annotated.image is not None and not annotated.unlabelled:
            boxes, class_ids, box_weights = to_arrays(annotated, classes, empty)
            image = LabelledImage(annotated.image, boxes, class_ids, weight * annotated.copies, box_weights)
            found.append(image)
    for faults, what in ((missing, "label records without an image"), (empty, "empty boxes")):
        if faults:
            _log.warning("%d %s left out, the first of %s", len(faults), what, faults[0].where)
    return found


def to_arrays(
    annotated: AnnotatedImage, classes: ClassMap, empty: list[Fault]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Boxes `[N,4]` (x1 y1 x2 y2, px), class ids `[N]` and weights of the coordinates `[N,4]` of one image, without
    background and empty boxes.

    Args:
        empty: takes the empty boxes.

    Raises:
        DatasetError: a box is inverted or not finite, or a category unknown.
    """
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
    coordinates = (np.array(rows, np.float32).reshape(-1, 4) for rows in (boxes, weights))
    return next(coordinates), np.array(ids, np.int64), next(coordinates)


def classified(annotated: AnnotatedImage, classes: ClassMap) -> Iterator[tuple[Annotation, int, Fault | None]]:
    """Each annotation of an image with its class as `class_of` gives it, and the fault of a box that is empty.

    Raises:
        DatasetError: a box is inverted or not finite, or a category unknown.
    """
    for annotation in annotated.annotations:
        fault = box_fault(annotated.labels, annotation)
        if fault is not None and fault.kind is not FaultKind.EMPTY_BOX:
            refuse(fault)
        class_id = class_of(annotation, classes)
        if class_id == UNKNOWN:
            refuse(unknown_class(annotated, annotation))
        yield annotation, class_id, fault


def class_of(annotation: Annotation, classes: ClassMap) -> int:
    """Class id, IGNORE, BACKGROUND or UNKNOWN; what is marked to be ignored counts only if its category does."""
    class_id = classes(annotation.name)
    return IGNORE if annotation.ignored and class_id >= 0 else class_id


def unknown_class(annotated: AnnotatedImage, annotation: Annotation) -> Fault:
    """The fault of a category that is none."""
    name = annotation.name
    message = f"{name!r} is no category of this format: correct it, or give the source 'map: {{{name}: CLASS}}'"
    return Fault(FaultKind.UNKNOWN_CLASS, annotated.labels, annotation.place, message)
