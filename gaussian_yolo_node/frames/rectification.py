"""Rectified frames: straight lines of the world are straight in them, as through a pinhole."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames.camera_calibration import Calibration

Size = tuple[int, int]
_FISHEYE = ("equidistant", "fisheye")
# Distortion models and how many coefficients OpenCV takes for them.
_COEFFICIENTS = {
    "plumb_bob": (0, 4, 5),
    "rational_polynomial": (8, 12, 14),
    **dict.fromkeys(_FISHEYE, (4,)),
}


class CalibrationError(GaussianYoloError):
    """A calibration does not fit the frames, or cannot rectify them; the message says why."""


def scaled(calibration: Calibration, size: Size) -> Calibration:
    """The calibration of the same camera for frames of (height, width) px. CalibrationError if the frames have another
    shape than the calibrated ones, so they show another part."""
    if calibration.size is None or calibration.size == size:
        return replace(calibration, size=size)
    vertical, horizontal = size[0] / calibration.size[0], size[1] / calibration.size[1]
    if abs(horizontal * calibration.size[0] - size[0]) >= 1:
        raise CalibrationError(
            f"the camera is calibrated for {calibration.size[1]}x{calibration.size[0]} px, but frames have "
            f"{size[1]}x{size[0]}: calibrate it at this size, or set the camera to the calibrated one"
        )
    # Integer coordinates are the centres of pixels.
    to_size = np.array(
        [[horizontal, 0, (horizontal - 1) / 2], [0, vertical, (vertical - 1) / 2], [0, 0, 1]], np.float64
    )
    return replace(
        calibration,
        camera_matrix=to_size @ calibration.camera_matrix,
        projection=to_size @ calibration.projection,
        size=size,
    )


def rectified(calibration: Calibration) -> Calibration:
    """The camera that would have taken the rectified frames."""
    return replace(
        calibration,
        camera_matrix=calibration.projection[:, :3].copy(),
        distortion=np.zeros(5),
        rectification=np.eye(3),
        distortion_model="plumb_bob",
    )


class Rectifier:
    """Rectifies frames, with maps that are computed once for each size. May be used by several threads.
    CalibrationError if the calibration has no focal length, or a distortion that cannot be rectified."""

    def __init__(self, calibration: Calibration) -> None:
        _check(calibration)
        self._calibration = calibration
        self._maps: tuple[Size, NDArray[np.int16], NDArray[np.uint16]] | None = None

    def __call__(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 [H, W, 3] -> uint8 [H, W, 3]; what the camera did not see is black. CalibrationError if the frame does
        not fit the calibration."""
        size = (image.shape[0], image.shape[1])
        maps = self._maps
        if maps is None or maps[0] != size:
            self._maps = maps = (size, *_rectifying_maps(scaled(self._calibration, size)))
        return cv2.remap(image, maps[1], maps[2], cv2.INTER_LINEAR)  # type: ignore[return-value]


def _rectifying_maps(calibration: Calibration) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    assert calibration.size is not None
    fisheye = calibration.distortion_model in _FISHEYE
    compute = cv2.fisheye.initUndistortRectifyMap if fisheye else cv2.initUndistortRectifyMap
    return compute(  # type: ignore[return-value, call-arg]
        calibration.camera_matrix,
        calibration.distortion,
        calibration.rectification,
        calibration.projection[:, :3],
        calibration.size[::-1],
        cv2.CV_16SC2,
    )


def _check(calibration: Calibration) -> None:
    focal_lengths = (*np.diag(calibration.camera_matrix)[:2], *np.diag(calibration.projection)[:2])
    if not all(length > 0 for length in focal_lengths):
        raise CalibrationError("the calibration has a focal length of 0 in camera_matrix or projection_matrix")
    model, count = calibration.distortion_model, len(calibration.distortion)
    if model not in _COEFFICIENTS:
        raise CalibrationError(f"distortion_model is '{model}', but must be one of {', '.join(_COEFFICIENTS)}")
    if count not in _COEFFICIENTS[model]:
        allowed = " or ".join(map(str, _COEFFICIENTS[model]))
        raise CalibrationError(f"distortion_coefficients are {count} numbers, but {model} has {allowed}")
