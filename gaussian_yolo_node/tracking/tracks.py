"""The type for tracked objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.tracking.kalman import Floats


@dataclass(frozen=True, eq=False)
class Tracks:
    """N confirmed objects in one frame, in the pixels of that frame, by rising id.

    Attributes:
        ids: int64 [N], from 1; no id is given twice in the life of a tracker.
        boxes: float64 [N, 4], filtered corners x1 y1 x2 y2 in px, not clipped to the frame; x1 <= x2 and y1 <= y2.
        class_ids: int32 [N], index into the model's class names.
        scores: float64 [N], detection criterion of the latest detection, 0..1.
        sigmas: float64 [N, 4], standard deviations of centre x, centre y, width and height in px.
        velocities: float64 [N, 4], rates of centre x, centre y, width and height in px/s.
        velocity_sigmas: float64 [N, 4], their standard deviations in px/s.
        covariances: float64 [N, 4], of each coordinate and its rate, px^2/s.
        ages_s: float64 [N], time since the first detection, s.
        unseen_s: float64 [N], time since the latest detection, s; 0 unless coasting.
        coasting: bool [N], whether no detection of this frame belongs to the track, so that its box is a prediction.
        rows: intp [N], the detection of this frame that belongs to the track; -1 if coasting.
        innovations: float64 [N, 4], difference of that detection and the prediction in expected standard deviations;
            their squares have mean 1 if the filter is honest. NaN if coasting.
    """

    ids: NDArray[np.int64]
    boxes: Floats
    class_ids: NDArray[np.int32]
    scores: Floats
    sigmas: Floats
    velocities: Floats
    velocity_sigmas: Floats
    covariances: Floats
    ages_s: Floats
    unseen_s: Floats
    coasting: NDArray[np.bool_]
    rows: NDArray[np.intp]
    innovations: Floats

    def __len__(self) -> int:
        return len(self.ids)

    def ids_of(self, count: int) -> NDArray[np.int64]:
        """[count], the id of each detection of this frame; -1 for one that belongs to no track."""
        ids = np.full(count, -1, np.int64)
        ids[self.rows[~self.coasting]] = self.ids[~self.coasting]
        return ids

    @property
    def detections(self) -> Detections:
        """The filtered boxes as detections, in the order of the tracks."""
        return Detections(
            self.boxes.astype(np.float32),
            self.scores.astype(np.float32),
            self.class_ids,
            self.sigmas.astype(np.float32),
        )
