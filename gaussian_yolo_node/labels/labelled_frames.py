"""Ground truth and detections of frames as flat arrays, the input of the evaluation protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels.annotations import LabelError
from gaussian_yolo_node.labels.classes import KITTI_CLASSES, KITTI_TYPES

DONT_CARE = "DontCare"
Kind = Literal["kitti", "bdd", "coco", "list", "bag"]


@dataclass(frozen=True, eq=False)
class FrameTruths:
    """Labelled objects of one frame.

    Attributes:
        frame: file name or stem, or the stamp in ns of a frame without a name.
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        classes: N categories, as in the dataset ("Car", "DontCare", "traffic light").
        ignored: bool [N], regions that count neither as positive nor as negative (crowds, DontCare).
        truncation: float64 [N], fraction of the object outside the image, 0..1; 0 if unknown.
        occlusion: [N], KITTI's level, 0 (fully visible) .. 3 (unknown); 0 if the dataset has none.
        stamp_ns: capture time of the frame, ns since the epoch, if known.
        size: (height, width) of the image in px, if the labels specify it.
        cuboids: float64 [N, 7], see `Annotation.cuboid`, NaN for an object without one; None if no object has one.
    """

    frame: str
    boxes: NDArray[np.float64]
    classes: NDArray[np.str_]
    ignored: NDArray[np.bool_]
    truncation: NDArray[np.float64]
    occlusion: NDArray[np.intp]
    stamp_ns: int | None = None
    size: tuple[int, int] | None = None
    cuboids: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, frame: str, boxes: Any, classes: Any, ignored: Any = None) -> FrameTruths:
        """Objects that are fully visible and inside the image, from arrays or lists."""
        boxes = np.array(boxes, np.float64).reshape(-1, 4)
        classes = np.array(classes, np.str_)
        ignored = np.zeros(len(boxes), bool) if ignored is None else np.array(ignored, bool)
        return cls(frame, boxes, classes, ignored, np.zeros(len(boxes)), np.zeros(len(boxes), np.intp))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled frames of one dataset.

    Attributes:
        frames: by name, in the order of the dataset, without unlabelled frames.
        kind: the source format.
        source: path, for messages.
        image_ids: frame by COCO's image id; empty for other formats.
        category_ids: category by COCO's id; empty for other formats.
    """

    frames: Mapping[str, FrameTruths]
    kind: Kind
    source: str
    image_ids: Mapping[int, str]
    category_ids: Mapping[int, str]

    @classmethod
    def of(cls, frames: Iterable[FrameTruths], kind: Kind = "kitti", source: str = "labels") -> GroundTruth:
        """Raises LabelError if two frames have the same name."""
        by_name: dict[str, FrameTruths] = {}
        for frame in frames:
            if frame.frame in by_name:
                raise LabelError(f"ground truth {source} has two frames of the name {frame.frame}: remove one")
            by_name[frame.frame] = frame
        return cls(by_name, kind, source, {}, {})

    @property
    def categories(self) -> tuple[str, ...]:
        """All categories in the frames, sorted."""
        return tuple(sorted({str(name) for frame in self.frames.values() for name in np.unique(frame.classes)}))

    @property
    def is_kitti(self) -> bool:
        """Whether the categories are KITTI's types, with neighbouring classes and DontCare regions."""
        return self.kind == "kitti" or (self.kind == "bag" and set(self.categories) <= set(KITTI_TYPES))

    def class_of(self, category: str) -> str:
        """The detector's class name for a category; "" for KITTI types other than its three evaluated classes."""
        return KITTI_CLASSES.get(category, "") if self.is_kitti else category


@dataclass(frozen=True, eq=False)
class FramePredictions:
    """Detections of one frame.

    Attributes:
        frame: file name, or index in a video.
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        scores: float64 [N].
        classes: N names.
        sigmas: float64 [N, 4], standard deviations of centre x, centre y, width, height in px; None if unknown.
        stamp_ns: capture time of the frame, ns since the epoch, if known.
        places: [N], position of each detection in the file, if the file is not ordered by frame. It decides the order
            of equal scores.
    """

    frame: str | int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.str_]
    sigmas: NDArray[np.float64] | None = None
    stamp_ns: int | None = None
    places: NDArray[np.intp] | None = None
