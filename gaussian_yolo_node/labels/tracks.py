"""Objects with ids: KITTI's tracking labels, and results in the format of its tracking devkit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gaussian_yolo_node.labels.annotations import AnnotatedImage, DatasetError, box_fault
from gaussian_yolo_node.labels.convert import refuse
from gaussian_yolo_node.labels.kitti import read_tracking
from gaussian_yolo_node.labels.labelled_frames import Truths
from gaussian_yolo_node.labels.truths import truths_of


def read_kitti_tracks(path: Path) -> dict[int, Truths]:
    """Read a label or result file of KITTI's tracking benchmark, by frame number. Frames without objects are absent.

    Raises:
        DatasetError: the file cannot be read, a line is malformed, or two objects of a frame have one id.
    """
    frames = {}
    for frame, objects in sorted(read_tracking(path, refuse).items()):
        for each in objects:
            fault = box_fault(path, each)
            if fault is not None:
                refuse(fault)
        frames[frame] = truths_of(AnnotatedImage(None, path, objects))
        ids, counts = np.unique(frames[frame].tracks, return_counts=True)
        twice = ids[(ids >= 0) & (counts > 1)]
        if len(twice):
            raise DatasetError(f"{path}, frame {frame}: two objects have the id {twice[0]}")
    return frames
