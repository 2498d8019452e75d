from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from gaussian_yolo_node.position import CameraPose, PositionError
from gaussian_yolo_node.ros.camera_topics import Calibration, depth_from_message

K = [700.0, 0.0, 600.0, 0.0, 710.0, 180.0, 0.0, 0.0, 1.0]
P = [650.0, 0.0, 610.0, 45.0, 0.0, 660.0, 170.0, 0.0, 0.0, 0.0, 1.0, 0.0]
POSE = CameraPose.level(1.65)


def info(**fields: Any) -> CameraInfo:
    return CameraInfo(**{"height": 400, "width": 1200, "k": K, "p": P, "distortion_model": "plumb_bob", **fields})


@pytest.mark.parametrize(
    ("fields", "rectified", "size", "expected"),
    [
        pytest.param({}, False, (400, 1200), (700, 710, 600, 180), id="K"),
        pytest.param({"d": [0.1] * 5}, True, (400, 1200), (650, 660, 610, 170), id="P of rectified images"),
        pytest.param({}, False, (200, 600), (350, 355, 300, 90), id="images of half the size"),
        pytest.param(
            {"roi": RegionOfInterest(x_offset=100, y_offset=50, width=800, height=300)},
            False,
            (300, 800),
            (700, 710, 500, 130),
            id="part of the sensor",
        ),
    ],
)
def test_calibration(
    fields: dict[str, Any], rectified: bool, size: tuple[int, int], expected: tuple[float, ...]
) -> None:
    camera = Calibration.of(info(**fields), rectified).camera(size, POSE)
    assert (camera.matrix[0, 0], camera.matrix[1, 1], camera.matrix[0, 2], camera.matrix[1, 2]) == expected
    assert camera.size == size and camera.distortion is None


def test_distortion_is_kept_if_there_is_any() -> None:
    camera = Calibration.of(info(d=[0.1, 0.2, 0.0, 0.0, 0.3]), False).camera((400, 1200), POSE)
    assert camera.distortion is not None and camera.distortion.tolist() == [0.1, 0.2, 0.0, 0.0, 0.3]
    assert Calibration.of(info(d=[0.0] * 4, distortion_model="equidistant"), False).distortion == ()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"width": 0}, "no width and height"),
        ({"d": [0.1] * 4, "distortion_model": "equidistant"}, "'equidistant' with 4 coefficients: rectify the images"),
        ({"d": [0.1] * 6}, "'plumb_bob' with 6 coefficients: rectify the images"),
        ({"k": [0.0] * 9}, "is it calibrated"),
    ],
)
def test_what_is_no_calibration(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(PositionError, match=reason):
        Calibration.of(info(**fields), False).camera((400, 1200), POSE)


DEPTHS = np.array([[0, 1500, 2], [65535, 4, 5]], np.uint16)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 8])
@pytest.mark.parametrize("values", [DEPTHS, (DEPTHS / 1000).astype(np.float32)], ids=lambda values: str(values.dtype))
def test_depth_image(values: np.ndarray, padding: int, big_endian: bool) -> None:
    read = depth_from_message(depth(values, padding, big_endian))
    np.testing.assert_array_equal(read, values)
    assert read.dtype == values.dtype and read.dtype.isnative


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"encoding": "mono8"}, "'mono8': publish 16UC1 in mm or 32FC1 in m"),
        ({"step": 5}, "3x2 px with step 5 and 12 bytes"),
        ({"height": 3}, "contradict each other"),
        ({"width": 0}, "contradict each other"),
        ({"data": b""}, "0 bytes"),
    ],
)
def test_what_is_no_depth_image(fields: dict[str, Any], reason: str) -> None:
    message = depth(DEPTHS)
    for name, value in fields.items():
        setattr(message, name, value)
    with pytest.raises(PositionError, match=reason):
        depth_from_message(message)


def depth(values: np.ndarray, padding: int = 0, big_endian: bool = False) -> Image:
    """A message whose rows are followed by `padding` bytes."""
    rows = values.astype(values.dtype.newbyteorder(">" if big_endian else "<")).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(
        height=values.shape[0],
        width=values.shape[1],
        encoding="16UC1" if values.dtype == np.uint16 else "32FC1",
        is_bigendian=int(big_endian),
        step=rows.shape[1],
        data=rows.tobytes(),
    )
