from __future__ import annotations

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.position.camera import Camera, CameraPose, PositionError

MATRIX = np.array([[700.0, 0.0, 600.0], [0.0, 710.0, 180.0], [0.0, 0.0, 1.0]])


@pytest.mark.parametrize(
    ("pitch", "roll", "pixel", "ahead_left_up"),
    [
        (0.0, 0.0, (600.0, 180.0), (1.0, 0.0, 0.0)),
        (0.0, 0.0, (1300.0, 180.0), (1.0, -1.0, 0.0)),  # right in the image, right on the road
        (0.0, 0.0, (600.0, 890.0), (1.0, 0.0, -1.0)),
        (0.1, 0.0, (600.0, 180.0), (np.cos(0.1), 0.0, -np.sin(0.1))),  # looks down
        (0.0, 0.1, (1300.0, 180.0), (1.0, -np.cos(0.1), -np.sin(0.1))),  # the right side is lower
    ],
)
def test_a_pixel_becomes_a_ray(
    pitch: float, roll: float, pixel: tuple[float, float], ahead_left_up: tuple[float, float, float]
) -> None:
    camera = Camera(MATRIX, (375, 1242), CameraPose.level(1.6, pitch, roll))
    np.testing.assert_allclose(camera.to_ray @ (*pixel, 1.0), ahead_left_up, atol=1e-12)


def test_a_camera_that_looks_to_the_left_has_its_axes_turned() -> None:
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    pose = CameraPose(turn @ CameraPose.level(1.0).rotation, np.array([2.0, 0.5, 1.6]))
    camera = Camera(MATRIX, (375, 1242), pose)
    np.testing.assert_allclose(camera.pose.axes, [[0, -1], [1, 0]], atol=1e-12)
    np.testing.assert_allclose(camera.to_ray @ (600.0, 180.0, 1.0), (1, 0, 0), atol=1e-12)


@pytest.mark.parametrize(
    ("rotation", "translation", "spread", "named"),
    [
        (np.ones((3, 3)), (0, 0, 1.6), 0.1, "no rotation"),
        (np.full((3, 3), np.nan), (0, 0, 1.6), 0.1, "no rotation"),
        (np.eye(4), (0, 0, 1.6), 0.1, "no rotation"),
        (CameraPose.level(1.0).rotation, (0, 0, 0), 0.1, "height above the ground"),
        (CameraPose.level(1.0).rotation, (0, 0, np.nan), 0.1, "height above the ground"),
        (CameraPose.level(1.0).rotation, (0, 1.6), 0.1, "three numbers"),
        (np.diag([1.0, -1.0, -1.0]), (0, 0, 1.6), 0.1, "straight"),
        (CameraPose.level(1.0).rotation, (0, 0, 1.6), -0.1, "spreads"),
        (CameraPose.level(1.0).rotation, (0, 0, 1.6), np.nan, "spreads"),
    ],
)
def test_a_pose_that_is_none_is_refused(
    rotation: np.ndarray, translation: tuple[float, ...], spread: float, named: str
) -> None:
    with pytest.raises(PositionError, match=named):
        CameraPose(rotation, np.array(translation, float), height_sigma=spread)


@pytest.mark.parametrize("angles", [(np.nan, 0.0), (0.0, np.inf)])
def test_angles_must_be_finite(angles: tuple[float, float]) -> None:
    with pytest.raises(PositionError, match="finite"):
        CameraPose.level(1.6, *angles)


@pytest.mark.parametrize("matrix", [np.zeros((3, 3)), np.eye(2), np.full((3, 3), np.nan)])
def test_a_camera_without_focal_length_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(PositionError, match="calibrated"):
        Camera(matrix, (375, 1242), CameraPose.level(1.6))


def test_boxes_are_undistorted_at_the_middles_of_their_edges() -> None:
    distortion = np.array([-0.3, 0.1, 0.001, -0.002, 0.0])
    camera = Camera(MATRIX, (375, 1242), CameraPose.level(1.6), distortion)
    boxes = np.array([[100.0, 150.0, 300.0, 250.0], [580.0, 170.0, 620.0, 190.0]])
    flat = camera.undistort(boxes)
    middles = [[flat[0, 0], (flat[0, 1] + flat[0, 3]) / 2], [(flat[0, 0] + flat[0, 2]) / 2, flat[0, 3]]]
    for (u, v), wanted, axis in zip(middles, (boxes[0, 0], boxes[0, 3]), (0, 1), strict=True):
        ray = np.array([[(u - 600) / 700, (v - 180) / 710, 1.0]])
        back, _ = cv2.projectPoints(ray, np.zeros(3), np.zeros(3), MATRIX, distortion)
        assert back.ravel()[axis] == pytest.approx(wanted, abs=1.0)
    assert np.abs(flat[1] - boxes[1]).max() < 0.1 < np.abs(flat[0] - boxes[0]).max()
    assert len(camera.undistort(np.empty((0, 4)))) == 0
    plain = Camera(MATRIX, (375, 1242), CameraPose.level(1.6))
    assert plain.undistort(boxes) is boxes
