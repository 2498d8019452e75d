"""Camera calibrations: KITTI's calibration files, and the YAML of ROS's camera_calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import CAMERA_INFO, BagError
from gaussian_yolo_node.bags.messages import serialized
from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.text_files import text_of


@dataclass(frozen=True, eq=False)
class Calibration:
    """A pinhole camera, with the fields of sensor_msgs/CameraInfo.

    Attributes:
        camera_matrix: float64 [3, 3], K of the raw image, px.
        distortion: float64 [D], coefficients of the distortion model.
        rectification: float64 [3, 3], R.
        projection: float64 [3, 4], P of the rectified image, px.
        size: (height, width) of the calibrated image in px; None if the file does not specify it.
    """

    camera_matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    rectification: NDArray[np.float64]
    projection: NDArray[np.float64]
    distortion_model: str = "plumb_bob"
    size: tuple[int, int] | None = None

    def message(self, size: tuple[int, int], header: Any) -> bytes:
        """A sensor_msgs/CameraInfo; `size` is (height, width) of the image in px."""
        matrices = (self.camera_matrix, self.rectification, self.projection)
        return serialized(
            CAMERA_INFO,
            header=header,
            height=size[0],
            width=size[1],
            distortion_model=self.distortion_model,
            d=self.distortion,
            **{key: each.reshape(-1) for key, each in zip("krp", matrices, strict=True)},
        )


def read_kitti_calibration(path: Path, key: str) -> Calibration:
    """The camera of KITTI's rectified images.

    Args:
        path: `calib_cam_to_cam.txt` of the raw data, or a file from a `calib` folder of the benchmarks.
        key: key of the projection matrix, such as "P_rect_02" or "P2".

    Raises:
        BagError: the file cannot be read, or does not contain the matrix.
    """
    for line in text_of(path, f"calibration {path}", BagError).splitlines():
        name, _, values = line.partition(" ")
        if name.rstrip(":") != key:
            continue
        try:
            projection = np.array(values.split(), np.float64).reshape(3, 4)
        except ValueError as error:
            raise BagError(f"calibration {path}: {key} is not of 12 numbers") from error
        # The images are already rectified, so there is no distortion and R is the identity.
        return Calibration(projection[:, :3].copy(), np.zeros(5), np.eye(3), projection)
    raise BagError(f"calibration {path} has no matrix {key}: is it one of KITTI's?")


def read_calibration_yaml(path: Path) -> Calibration:
    """The camera in a YAML file of ROS's camera_calibration. BagError if the file cannot be read, or a field is
    missing."""
    try:
        document: Any = read_yaml(path, "calibration", BagError)
        return Calibration(
            _matrix(document, "camera_matrix", (3, 3)),
            _matrix(document, "distortion_coefficients", (-1,)),
            _matrix(document, "rectification_matrix", (3, 3)),
            _matrix(document, "projection_matrix", (3, 4)),
            str(document.get("distortion_model", "plumb_bob")),
            (int(document["image_height"]), int(document["image_width"])),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BagError(
            f"calibration {path} is not of ROS's camera_calibration: {error} is missing or of the wrong size"
        ) from error


def _matrix(document: Any, key: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = np.array(document[key]["data"], np.float64)
    if shape != (-1,) and values.size != np.prod(shape):
        raise ValueError(key)
    return values.reshape(shape)
