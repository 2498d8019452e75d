"""Objects with ids: KITTI's tracking labels, and results in the format of its tracking devkit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.labels.annotations import Annotation, DatasetError, Fault, LabelError, box_fault
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.kitti import read_tracking

_MOST_OCCLUSION = 2  # 3 is unknown


@dataclass(frozen=True, eq=False)
class FrameTracks:
    """Objects of one frame, each with an id.

    Attributes:
        ids: int64 [N]; an object's id is the same in all frames of a sequence, and no two in a frame are equal.
            Negative for regions such as DontCare.
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        classes: N names. Types that Gaussian YOLOv3 does not detect keep KITTI's name, such as Van.
        ignored: bool [N], objects that are truncated, or whose occlusion is unknown; see `kitti_tracking` of
            `evaluation.mot`.
    """

    ids: NDArray[np.int64]
    boxes: NDArray[np.float64]
    classes: NDArray[np.str_]
    ignored: NDArray[np.bool_]


def read_kitti_tracks(path: Path) -> Mapping[int, FrameTracks]:
    """Read a label or result file of KITTI's tracking benchmark, by frame number. Frames without objects are absent.

    Raises:
        LabelError: the file cannot be read, a line is malformed, or two objects of a frame have one id.
    """
    try:
        frames = read_tracking(path, _refuse)
        return {frame: _tracks(path, frame, frames[frame]) for frame in sorted(frames)}
    except DatasetError as error:
        raise LabelError(f"tracks {error}") from error


def _tracks(path: Path, frame: int, objects: list[Annotation]) -> FrameTracks:
    for each in objects:
        fault = box_fault(path, each)
        if fault is not None:
            raise fault.refuse()
    ids = np.array([each.track for each in objects], np.int64)
    known = ids[ids >= 0]
    if len(np.unique(known)) < len(known):
        twice = known[(known[:, np.newaxis] == known).sum(axis=1) > 1][0]
        raise LabelError(f"tracks {path}, frame {frame}: two objects have the id {twice}")
    return FrameTracks(
        ids,
        np.array([each.box for each in objects], np.float64).reshape(-1, 4),
        np.array([KITTI_CLASSES.get(each.name, each.name) for each in objects], np.str_),
        np.array([each.truncation > 0 or each.occlusion > _MOST_OCCLUSION for each in objects], bool),
    )


def _refuse(fault: Fault) -> None:
    raise fault.refuse()
