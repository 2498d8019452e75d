"""Annotations as read from a label file, before classes are mapped, and the faults in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError

# Class id of an ignore region, which is neither object nor background.
IGNORE = -1


class DatasetError(GaussianYoloError):
    """Images, labels or predictions are missing or malformed; the message names the file and the line or record."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and its ground truth.

    boxes: float32 `[N,4]`, x1 y1 x2 y2 in px.
    class_ids: int64 `[N]`, index into the class list, or `IGNORE`.
    weight: expected number of times that an epoch shows the image.
    box_weights: float32 `[N,4]`, loss weights of centre x, centre y, width and height of each box; None: all 1.
    """

    path: Path
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    weight: float = 1.0
    box_weights: NDArray[np.float32] | None = None

    @property
    def coordinate_weights(self) -> NDArray[np.float32]:
        """`box_weights` as an array, also if None."""
        return np.ones((len(self.boxes), 4), np.float32) if self.box_weights is None else self.box_weights


class FaultKind(str, Enum):
    """Kinds of faults in a dataset. The last two are warnings."""

    UNUSABLE_SOURCE = "unusable source"
    MISSING_IMAGE = "missing image"
    UNREADABLE_IMAGE = "unreadable image"
    WRONG_SIZE = "wrong image size"
    MALFORMED_LABEL = "malformed label"
    UNKNOWN_CLASS = "unknown class"
    NOT_FINITE = "number not finite"
    INVERTED_BOX = "inverted box"
    EMPTY_BOX = "empty box"
    OUTSIDE_IMAGE = "box outside the image"
    DUPLICATE_BOX = "duplicate box"
    DUPLICATE_IMAGE = "duplicate image"
    AMBIGUOUS_NAME = "ambiguous name"
    LEAK = "image in two splits"
    NEAR_DUPLICATE = "near-duplicate in two splits"
    TINY_BOX = "tiny box"

    @property
    def is_warning(self) -> bool:
        return self in (FaultKind.NEAR_DUPLICATE, FaultKind.TINY_BOX)

    @property
    def is_summed_up(self) -> bool:
        """Whether a report gives only the number of these faults."""
        return self is FaultKind.TINY_BOX


@dataclass(frozen=True)
class Fault:
    """One fault of a dataset.

    Attributes:
        file: label file, image or list.
        place: line number, or name of the record; None for the whole file.
        message: the fault, and the remedy if it is not obvious.
    """

    kind: FaultKind
    file: Path
    place: int | str | None
    message: str

    @property
    def where(self) -> str:
        """The file, with ":line" or ", record"."""
        if self.place is None:
            return str(self.file)
        return f"{self.file}:{self.place}" if isinstance(self.place, int) else f"{self.file}, {self.place}"

    @property
    def error(self) -> DatasetError:
        """The error to raise if faults are not allowed."""
        place = f", line {self.place}" if isinstance(self.place, int) else f", {self.place}" if self.place else ""
        return DatasetError(f"{self.file}{place}: {self.message}")


Report = Callable[[Fault], None]


class Annotation(NamedTuple):
    """One labelled object.

    Attributes:
        name: its category, as in the file.
        box: x1 y1 x2 y2 in px of the image; not yet checked.
        place: line number in the label file, or name of the record.
        ignored: whether it is an ignore region, for any category.
        truncation: fraction of the object outside the image, 0..1; 0 if the dataset does not specify it.
        occlusion: KITTI's level, 0 (fully visible) .. 3 (unknown); 0 if the dataset does not specify it.
        weights: loss weights of centre x, centre y, width and height in training.
        cuboid: KITTI's height, width, length in m, x, y, z of the bottom's centre in the reference camera's frame in m,
            and rotation about y in rad; None if the label has no 3-D box.
        track: number of the object, the same in all frames of a sequence; -1 if the dataset has none.
    """

    name: str
    box: tuple[float, float, float, float]
    place: int | str
    ignored: bool = False
    truncation: float = 0.0
    occlusion: int = 0
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    cuboid: tuple[float, ...] | None = None
    track: int = -1

    @property
    def shown_box(self) -> str:
        """The box in messages."""
        return " ".join(f"{value:g}" for value in self.box)


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """The annotations of one image.

    Attributes:
        image: the image file; None if it is missing, or if only labels are requested.
        size: (height, width) in px; None if the label file does not specify it.
        unlabelled: whether the image has no labels. This does not mean that it shows no objects.
        name: of the image, as in the label file; "" if images and label files are matched by stem only.
        copies: number of times that the dataset contains the image.
    """

    image: Path | None
    labels: Path
    annotations: list[Annotation]
    size: tuple[int, int] | None = None
    unlabelled: bool = False
    name: str = ""
    copies: float = 1.0


def malformed(file: Path, place: int | str | None, message: str) -> Fault:
    """The fault of a part of a label file that is not in its format."""
    return Fault(FaultKind.MALFORMED_LABEL, file, place, message)


def box_fault(labels: Path, annotation: Annotation) -> Fault | None:
    """The fault of an inverted, empty or non-finite box; None if the box is valid."""
    x1, y1, x2, y2 = annotation.box
    if x1 < x2 and y1 < y2 and math.isfinite(x2 - x1) and math.isfinite(y2 - y1):
        return None
    if not all(map(math.isfinite, annotation.box)):
        kind, words = FaultKind.NOT_FINITE, "not of finite numbers"
    elif x1 > x2 or y1 > y2:
        kind, words = FaultKind.INVERTED_BOX, "inverted: x1 <= x2, y1 <= y2 is wanted"
    else:
        kind, words = FaultKind.EMPTY_BOX, "empty: remove it"
    return Fault(kind, labels, annotation.place, f"the box {annotation.shown_box} is {words}")
