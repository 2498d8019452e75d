"""Sizes of labelled boxes, for anchor clustering."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels import DatasetError, image_size
from gaussian_yolo_node.labels.annotations import Fault, FaultKind
from gaussian_yolo_node.labels.classes import is_region
from gaussian_yolo_node.labels.convert import classified, refuse
from gaussian_yolo_node.labels.sources import Source


def box_sizes(
    sources: Iterable[Source], classes: Sequence[str] | None, default_size: tuple[int, int] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widths and heights `[N,2]` of the truths of `sources`, and heights and widths `[N,2]` of their images; px.

    Args:
        classes: to include; None for all except ignore regions.
        default_size: height and width in px of missing images whose labels do not contain the size.

    Raises:
        DatasetError: a label is malformed, or the size of an image is unknown.
    """
    boxes: list[tuple[float, float]] = []
    images: list[tuple[int, int]] = []
    for source in sources:
        class_map = source.class_map(classes or ())
        for annotated in source.reader.read(_without_images):
            sizes = []
            for annotation, class_id, fault in classified(annotated, class_map):
                wanted = class_id >= 0 if classes else not (annotation.ignored or is_region(annotation.name))
                if wanted and fault is None:
                    x1, y1, x2, y2 = annotation.box
                    sizes.append((x2 - x1, y2 - y1))
            if not sizes:
                continue
            size = annotated.size or (None if annotated.image is None else image_size(annotated.image)) or default_size
            if size is None:
                raise DatasetError(
                    f"{source.name}: {annotated.labels} does not tell the size of its image: give images"
                )
            boxes += sizes
            images += [size] * len(sizes)
    return np.array(boxes, np.float64).reshape(-1, 2), np.array(images, np.float64).reshape(-1, 2)


def _without_images(fault: Fault) -> None:
    """Ignore missing images; box sizes do not need them."""
    if fault.kind is not FaultKind.MISSING_IMAGE:
        refuse(fault)
