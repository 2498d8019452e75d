"""What a label file says, before classes are mapped, and what may be wrong with it."""

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

# Class id of a region that is neither object nor background.
IGNORE = -1


class DatasetError(GaussianYoloError):
    """A data folder, list or label file cannot be used; the message names file and line."""


class LabelError(GaussianYoloError):
    """Labels or predictions are missing or malformed; the message names the file and the line or record."""


@dataclass(frozen=True)
class LabelledImage:
    """One image and its truths.

    boxes: float32 `[N,4]`, x1 y1 x2 y2 in px of the image.
    class_ids: int64 `[N]`, index into the class list, or `IGNORE`.
    weight: expected number of times an epoch shows it.
    box_weights: float32 `[N,4]`, what the errors of centre x, centre y, width and height of each box count; None: 1.
    """

    path: Path
    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    weight: float = 1.0
    box_weights: NDArray[np.float32] | None = None

    @property
    def coordinate_weights(self) -> NDArray[np.float32]:
        """`box_weights`, written out."""
        return np.ones((len(self.boxes), 4), np.float32) if self.box_weights is None else self.box_weights


class FaultKind(str, Enum):
    """What can be wrong with a data set. The last two are worth a look, no more."""

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
    LEAK = "image in two splits"
    NEAR_DUPLICATE = "near-duplicate in two splits"
    TINY_BOX = "tiny box"

    @property
    def is_warning(self) -> bool:
        return self in (FaultKind.NEAR_DUPLICATE, FaultKind.TINY_BOX)

    @property
    def is_summed_up(self) -> bool:
        """Whether a count says enough."""
        return self is FaultKind.TINY_BOX


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        file: label file, image or list.
        place: line number in it, or name of the record; None for the file as a whole.
        message: what is wrong, and the mend where it is not plain.
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

    def refuse(self) -> DatasetError:
        """The error to raise where data have to be right."""
        place = f", line {self.place}" if isinstance(self.place, int) else f", {self.place}" if self.place else ""
        return DatasetError(f"{self.file}{place}: {self.message}")


Report = Callable[[Fault], None]


class Annotation(NamedTuple):
    """One labelled object.

    Attributes:
        name: its category, as the file has it.
        box: x1 y1 x2 y2, px of the image; not yet checked.
        place: line number in the label file, or name of the record.
        ignored: a region that is neither object nor background, whatever the category.
        truncation: share of the object that is outside the image, 0..1; 0 where the data set does not tell.
        occlusion: KITTI's degree, 0 (fully visible) .. 3 (unknown); 0 where the data set does not tell.
        weights: what the errors of its centre x, centre y, width and height count in training.
    """

    name: str
    box: tuple[float, float, float, float]
    place: int | str
    ignored: bool = False
    truncation: float = 0.0
    occlusion: int = 0
    weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """All that a label file says of one image.

    Attributes:
        image: None where it is missing, or only labels were asked for.
        labels: the file that the annotations are from.
        annotations: the objects.
        size: height and width in px, where the label file tells.
        unlabelled: nobody has labelled the image, which is not to say that it is empty.
        name: of the image, as the label file has it; "" where files of labels and images only have the same stem.
        copies: times that it stands in its data set.
    """

    image: Path | None
    labels: Path
    annotations: list[Annotation]
    size: tuple[int, int] | None = None
    unlabelled: bool = False
    name: str = ""
    copies: float = 1.0


def box_fault(labels: Path, annotation: Annotation) -> Fault | None:
    """What is wrong with a box by itself."""
    x1, y1, x2, y2 = annotation.box
    if x1 < x2 and y1 < y2 and math.isfinite(x2 - x1) and math.isfinite(y2 - y1):
        return None
    shown = " ".join(f"{value:g}" for value in annotation.box)
    if not all(map(math.isfinite, annotation.box)):
        return Fault(FaultKind.NOT_FINITE, labels, annotation.place, f"the box {shown} is not of finite numbers")
    if x1 > x2 or y1 > y2:
        message = f"the box {shown} is inverted: x1 <= x2, y1 <= y2 is wanted"
        return Fault(FaultKind.INVERTED_BOX, labels, annotation.place, message)
    return Fault(FaultKind.EMPTY_BOX, labels, annotation.place, f"the box {shown} is empty: remove it")
