from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from gaussian_yolo_node.position import CLASS_SIZES, CameraPose
from gaussian_yolo_node.ros.places import PlacedObjects

LEVEL = CameraPose.level(1.6, pitch_sigma=0.01, roll_sigma=0.02)
# To the left, from 2 m ahead and 1 m to the left of the base.
LEFT = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
TURNED = CameraPose(LEFT @ LEVEL.rotation, np.array([2.0, 1.0, 1.6]), pitch_sigma=0.01, roll_sigma=0.02)
COVARIANCE = np.array([[4.0, 0.5], [0.5, 1.0]])


def placed(pose: CameraPose) -> PlacedObjects:
    """An object 10 m ahead and 3 m to the left of the camera, which comes nearer; and a track that coasts."""
    xy, velocity = pose.axes @ (10.0, 3.0) + pose.translation[:2], pose.axes @ (-5.0, 1.0)
    covariance = pose.axes @ COVARIANCE @ pose.axes.T
    return PlacedObjects(
        ["1", "2"],
        np.zeros(2, np.int32),
        np.ones(2),
        [CLASS_SIZES["car"]] * 2,
        np.stack([xy, xy]),
        np.stack([covariance] * 2),
        np.stack([velocity] * 2),
        np.array([1, -1]),
        pose,
    )


@pytest.mark.parametrize("pose", [LEVEL, TURNED], ids=["level", "turned"])
def test_of_detections_is_as_the_camera_sees_it(pose: CameraPose) -> None:
    places, velocities = placed(pose).of_detections(3)
    assert places.known.tolist() == [False, True, False]
    np.testing.assert_allclose(places.xy[1], (10, 3))
    np.testing.assert_allclose(velocities[1], (-5, 1), atol=1e-12)
    np.testing.assert_allclose(places.covariance[1], COVARIANCE)


def test_covariances_turn_with_the_camera() -> None:
    level, turned = (placed(pose).pose_covariances[0] for pose in (LEVEL, TURNED))
    both = np.kron(np.eye(2), LEFT)
    np.testing.assert_allclose(turned, both @ level @ both.T, atol=1e-12)
