"""How much the motion of a class varies, and how the errors of the detector persist.

Changes of motion look as large as the object does, and the camera's own turning moves everything by the same px. So
each figure has a part relative to the height of the box and a part in px.

The figures maximise the likelihood of the default model's detections on KITTI's drives 0095 and 0052 (3,000 at 10 Hz),
and three times that of the objects that are labelled there; with that weight the innovations of both drives are about
as large as expected (`benchmarks/tracker_noise.py`). `docs/trackers.md` reports on another drive. The two had few
pedestrians, which share the figures of cyclists. The parts in px suit a camera with a focal length of about 720 px.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.tracking.kalman import ErrorModel, Floats

# All of centre x, centre y, width, height.
_ERRORS = ErrorModel(share=np.array([0.89, 0.96, 0.97, 0.91]), time_s=np.array([0.37, 0.43, 0.27, 0.37]))
# Square roots of the spectral density of the acceleration, in heights of the box / s^1.5.
_VEHICLE = (1.6, 0.21, 2.8, 0.92)
_PERSON = (1.7, 0.73, 2.2, 1.5)
_TURNING = (2.3, 94.0, 0.0, 0.0)  # px / s^1.5
# Standard deviations of the rates of an object that is new, in heights of the box / s.
_START = (2.1, 1.3, 2.0, 1.2)
_START_TURNING = (23.0, 41.0, 0.0, 0.0)  # px / s
# People, alone or on something with two wheels; every other class moves as vehicles do.
_PERSONS = ("pedestrian", "person", "cyclist", "rider", "bicycle", "bike", "motorcycle", "motor")
_LEAST_HEIGHT = 1.0  # px


@dataclass(frozen=True, eq=False)
class TrackNoise:
    """Noise of motion and measurement.

    Attributes:
        relative: [C, 4], square root of the spectral density of the acceleration by class id, heights / s^1.5.
        turning: [4], the same that all classes have in common, px / s^1.5.
        start: [4], standard deviation of the rates of a new object, heights / s.
        start_turning: [4], the same for what the camera's motion adds, px / s.
        errors: how the detector's errors persist.
    """

    relative: Floats
    turning: Floats
    start: Floats
    start_turning: Floats
    errors: ErrorModel

    @classmethod
    def of(cls, classes: Sequence[str]) -> TrackNoise:
        """The noise for the classes of a detector, in the order of their ids."""
        relative = np.array([_PERSON if name in _PERSONS else _VEHICLE for name in classes]).reshape(-1, 4)
        return cls(relative, np.array(_TURNING), np.array(_START), np.array(_START_TURNING), _ERRORS)

    def densities(self, class_ids: NDArray[np.int32], heights: Floats) -> Floats:
        """[N, 4], spectral density of the acceleration, px^2/s^3.

        Args:
            class_ids, heights: [N]; heights in px.
        """
        size = np.maximum(heights, _LEAST_HEIGHT)[:, np.newaxis]
        density: Floats = (self.relative[class_ids] * size) ** 2 + self.turning**2
        return density

    def start_rates(self, heights: Floats) -> Floats:
        """[N, 4], standard deviations of the rates of new objects, px/s.

        Args:
            heights: [N], px.
        """
        size = np.maximum(heights, _LEAST_HEIGHT)[:, np.newaxis]
        return np.hypot(self.start * size, self.start_turning)
