"""Correction of the standard deviations after training, so that they match the measured errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.settings import bounds, check

Float = TypeVar("Float", np.float32, np.float64)
COORDINATES = ("cx", "cy", "w", "h")
_LARGEST = 1e9  # far above any fit, far below the float32 maximum
Scale = Annotated[float, bounds(above=0, most=_LARGEST)]
Offset = Annotated[float, bounds(least=0, most=_LARGEST)]
_FOUR = "four numbers: cx cy w h"


@dataclass(frozen=True)
class SigmaCalibration:
    """`sigma' = scale * sigma + offset * size` for centre x, centre y, width and height.

    The size is the box's width for centre x and width, and its height for centre y and height. So the correction
    scales with the resolution: if boxes and sigmas double, the result doubles. The boxes are the detector's output,
    clipped to the frame, because the fit compares these with the labels. The correction can therefore be reproduced
    from a published box.

    Attributes:
        scale: four factors > 0.
        offset: four fractions of the size, >= 0.

    Raises:
        SettingError: a value does not have four numbers, or a number is out of range.
    """

    scale: Annotated[tuple[Scale, Scale, Scale, Scale], _FOUR]
    offset: Annotated[tuple[Offset, Offset, Offset, Offset], _FOUR]

    def __post_init__(self) -> None:
        check(self, SettingError, "the sigma calibration's {}".format)

    def apply(self, sigmas: NDArray[Float], boxes: NDArray[Float]) -> NDArray[Float]:
        """Corrected standard deviations.

        Args:
            sigmas: [N, 4], of centre x, centre y, width, height in px.
            boxes: [N, 4], x1 y1 x2 y2 in the same px.

        Returns:
            [N, 4], in px.
        """
        scale, offset = np.asarray(self.scale, sigmas.dtype), np.asarray(self.offset, sigmas.dtype)
        return sigmas * scale + coordinate_sizes(boxes) * offset


def coordinate_sizes(boxes: NDArray[Float]) -> NDArray[Float]:
    """The size that belongs to each coordinate, [N, 4]: width, height, width, height of corner boxes [N, 4]."""
    return np.tile(boxes[:, 2:] - boxes[:, :2], 2)


def calibrate_sigmas(detections: Detections, calibration: SigmaCalibration) -> Detections:
    """The detections with corrected standard deviations; boxes, scores and classes are unchanged."""
    return replace(detections, sigmas=calibration.apply(detections.sigmas, detections.boxes))
