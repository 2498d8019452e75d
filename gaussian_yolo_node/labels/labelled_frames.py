"""Labelled objects and detections of frames, the input of the evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.file_names import AmbiguousNameError, FrameNames
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.classes import KITTI_CLASSES, KITTI_TYPES

DONT_CARE = "DontCare"
Kind = Literal["kitti", "bdd", "coco", "list", "bag"]


@dataclass(frozen=True, eq=False)
class Truths:
    """M labelled objects, in the pixels of one image.

    Attributes:
        boxes: float64 [M, 4], x1 y1 x2 y2 in px.
        categories: M names, as in the dataset ("Car", "DontCare", "traffic light").
        ignored: bool [M], regions that count neither as positive nor as negative (crowds, DontCare).
        truncation: float64 [M], fraction of the object outside the image, 0..1; 0 if unknown.
        occlusion: [M], KITTI's level, 0 (fully visible) .. 3 (unknown); 0 if the dataset has none.
        cuboids: float64 [M, 7], see `Annotation.cuboid`; NaN for an object without one.
        tracks: int64 [M], number of each object, the same in all frames of a sequence; -1 for none.
    """

    boxes: NDArray[np.float64]
    categories: NDArray[np.str_]
    ignored: NDArray[np.bool_]
    truncation: NDArray[np.float64]
    occlusion: NDArray[np.intp]
    cuboids: NDArray[np.float64]
    tracks: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        boxes: Any,
        categories: Any,
        ignored: Any = None,
        truncation: Any = None,
        occlusion: Any = None,
        cuboids: Any = None,
        tracks: Any = None,
    ) -> Truths:
        """From arrays or lists; objects are fully visible, inside the image and not ignored unless given otherwise."""
        boxes = np.array(boxes, np.float64).reshape(-1, 4)
        nothing = np.zeros(len(boxes))
        return cls(
            boxes,
            np.array(categories, np.str_),
            np.array(nothing if ignored is None else ignored, np.bool_),
            np.array(nothing if truncation is None else truncation, np.float64),
            np.array(nothing if occlusion is None else occlusion, np.intp),
            np.full((len(boxes), 7), np.nan) if cuboids is None else np.array(cuboids, np.float64).reshape(-1, 7),
            np.array(nothing - 1 if tracks is None else tracks, np.int64),
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Truths]) -> Truths:
        """The objects of all parts in turn."""
        all_parts = [cls.of([], []), *parts]
        return cls(*(np.concatenate([getattr(part, field) for part in all_parts]) for field in cls.__annotations__))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class FrameTruths:
    """The labelled objects of one frame.

    Attributes:
        frame: file name or stem, or the stamp in ns of a frame without a name.
        stamp_ns: capture time of the frame, ns since the epoch, if known.
        size: (height, width) of the image in px, if the labels specify it.
    """

    frame: str
    truths: Truths
    stamp_ns: int | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Labelled frames of one dataset.

    Attributes:
        frames: by name, in the order of the dataset, without unlabelled frames.
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
        """Raises DatasetError if two frames have the same name."""
        by_name: dict[str, FrameTruths] = {}
        for frame in frames:
            if frame.frame in by_name:
                raise DatasetError(f"ground truth {source} has two frames of the name {frame.frame}: remove one")
            by_name[frame.frame] = frame
        return cls(by_name, kind, source, {}, {})

    def frame(self, name: str) -> FrameTruths | None:
        """The labels of the frame of a name, see `FrameNames`. DatasetError if several frames may be meant."""
        try:
            match = self._names.find(name)
        except AmbiguousNameError as error:
            raise DatasetError(f"ground truth {self.source}: frame {error}") from error
        return None if match is None else self.frames[match]

    @cached_property
    def _names(self) -> FrameNames:
        return FrameNames(self.frames)

    @property
    def is_kitti(self) -> bool:
        """Whether the categories are KITTI's types, with neighbouring classes and DontCare regions."""
        of_types = (set(frame.truths.categories) <= set(KITTI_TYPES) for frame in self.frames.values())
        return self.kind == "kitti" or (self.kind == "bag" and all(of_types))

    def class_of(self, category: str) -> str:
        """The detector's class name for a category; "" for KITTI types other than its three evaluated classes."""
        return KITTI_CLASSES.get(category, "") if self.is_kitti else category


@dataclass(frozen=True, eq=False)
class FramePredictions:
    """The detections of one frame.

    Attributes:
        frame: file name, or index in a video.
        classes: class names, by the detections' class id.
        has_sigmas: False if the source has no standard deviations; those of the detections are then 0.
        stamp_ns: capture time of the frame, ns since the epoch, if known.
        places: [N], position of each detection in the file, if the file is not ordered by frame. It decides the order
            of equal scores.
    """

    frame: str | int
    detections: Detections
    classes: tuple[str, ...]
    has_sigmas: bool = True
    stamp_ns: int | None = None
    places: NDArray[np.intp] | None = None

    @classmethod
    def of(
        cls,
        frame: str | int,
        boxes: Any,
        scores: Any,
        class_names: Any,
        sigmas: Any = None,
        *,
        stamp_ns: int | None = None,
        places: Any = None,
    ) -> FramePredictions:
        """From arrays or lists of N boxes [N, 4], scores, class names and, if known, sigmas [N, 4].

        Numbers become float64, except where the boxes are a float32 array.

        Raises:
            ValueError: lengths differ, or a value is not allowed in `Detections`.
        """
        classes, class_ids = np.unique(np.array(class_names, np.str_), return_inverse=True)
        boxes = np.asarray(boxes)
        boxes = boxes.astype(np.float32 if boxes.dtype == np.float32 else np.float64).reshape(-1, 4)
        known = np.zeros_like(boxes) if sigmas is None else np.asarray(sigmas).reshape(-1, 4)
        return cls(
            frame,
            Detections(boxes, np.asarray(scores), class_ids.ravel().astype(np.int32), known),
            tuple(classes.tolist()),
            sigmas is not None,
            stamp_ns,
            None if places is None else np.array(places, np.intp),
        )

    @property
    def class_names(self) -> NDArray[np.str_]:
        """The class name of each detection, [N]."""
        return np.array(self.classes, np.str_)[self.detections.class_ids]


@dataclass(frozen=True, eq=False)
class PlacedTracks:
    """N tracks on the ground in one frame.

    Attributes:
        tracks: int64 [N].
        xy: float64 [N, 2], ahead and left of the camera, m.
        covariances: float64 [N, 2, 2], m^2.
        rotation: float64 [3, 3], from the camera's optical frame to these axes.
    """

    tracks: NDArray[np.int64]
    xy: NDArray[np.float64]
    covariances: NDArray[np.float64]
    rotation: NDArray[np.float64]
