"""Truths and detections of frames as flat arrays, as the protocols of the evaluation take them."""

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
        frame: file name or stem, or the stamp in ns where there is no name.
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        classes: N categories, as the data set has them ("Car", "DontCare", "traffic light").
        ignored: bool [N], regions that count neither way (crowds, DontCare).
        truncation: float64 [N], share of the object outside the image, 0..1; 0 where unknown.
        occlusion: [N], KITTI's degree, 0 (fully visible) .. 3 (unknown); 0 where the data set has none.
        stamp_ns: when the frame was taken, ns since the epoch, where that is known.
        size: height and width of the image in px, where the labels tell.
    """

    frame: str
    boxes: NDArray[np.float64]
    classes: NDArray[np.str_]
    ignored: NDArray[np.bool_]
    truncation: NDArray[np.float64]
    occlusion: NDArray[np.intp]
    stamp_ns: int | None = None
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, frame: str, boxes: Any, classes: Any, ignored: Any = None) -> FrameTruths:
        """Objects that are fully visible, and inside the image; arrays, or lists of their values."""
        boxes = np.array(boxes, np.float64).reshape(-1, 4)
        classes = np.array(classes, np.str_)
        ignored = np.zeros(len(boxes), bool) if ignored is None else np.array(ignored, bool)
        return cls(frame, boxes, classes, ignored, np.zeros(len(boxes)), np.zeros(len(boxes), np.intp))


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled frames of one data set.

    Attributes:
        frames: by name, in the order of the data set. A frame that nobody looked at is not among them.
        kind: what they were read from.
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
        """Raises LabelError where two frames have one name."""
        by_name: dict[str, FrameTruths] = {}
        for frame in frames:
            if frame.frame in by_name:
                raise LabelError(f"ground truth {source} has two frames of the name {frame.frame}: remove one")
            by_name[frame.frame] = frame
        return cls(by_name, kind, source, {}, {})

    @property
    def categories(self) -> tuple[str, ...]:
        """All that occur, sorted."""
        return tuple(sorted({str(name) for frame in self.frames.values() for name in np.unique(frame.classes)}))

    @property
    def is_kitti(self) -> bool:
        """Whether the categories are KITTI's types, which have neighbours and DontCare regions."""
        return self.kind == "kitti" or (self.kind == "bag" and set(self.categories) <= set(KITTI_TYPES))

    def class_of(self, category: str) -> str:
        """The class that detectors call it by; "" for one that none of KITTI's three classes is."""
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
        stamp_ns: when the frame was taken, ns since the epoch, where that is known.
        places: [N], place of each in the file, where that is not frame after frame: of equal scores the first counts.
    """

    frame: str | int
    boxes: NDArray[np.float64]
    scores: NDArray[np.float64]
    classes: NDArray[np.str_]
    sigmas: NDArray[np.float64] | None = None
    stamp_ns: int | None = None
    places: NDArray[np.intp] | None = None
