"""The camera's pose from TF, in a node in this process: places in the base frame, what is missing, the lifecycle."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("scipy", reason="scipy is not installed (extra 'track')")

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from ros.drive import CAMERA_HEIGHT, CLASSES, SIZE, Drive, centres, covariances, ids, locate
from ros.given import OK, WARN
from ros.harness import Ros
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from gaussian_yolo_node.position import CameraPose, GroundTracks
from gaussian_yolo_node.ros.messages import stamp_seconds
from gaussian_yolo_node.tracking import Tracker

OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # of a frame with x right, y down, z forward, in one with x forward, y left, z up
TOPICS = ("/tf", "/tf_static")


def transform(
    child: str,
    parent: str,
    place: tuple[float, float, float] = (0.0, 0.0, 0.0),
    turn: tuple[float, ...] = (0.0, 0.0, 0.0, 1.0),
    header: Header | None = None,
) -> TransformStamped:
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    if header is not None:
        message.header.stamp = header.stamp
    (x, y, z), (qx, qy, qz, qw) = place, turn
    message.transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return message


def publish_static(ros: Ros, *transforms: TransformStamped) -> None:
    qos = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
    ros.observer.create_publisher(TFMessage, "/tf_static", qos).publish(TFMessage(transforms=transforms))


def until_known(drive: Drive, base_frame: str, header: Header | None = None) -> None:
    """Until the camera is connected with the base frame, and the first moving link has the header's stamp."""
    road = drive.node._outputs.road

    def known() -> bool:
        tree = road._transforms.tree
        if base_frame not in tree._chain("camera"):
            return False
        return header is None or tree._links["base_link"].stamps[-1] == stamp_seconds(header)

    drive.ros.until(known, f"the transforms from 'camera' to '{base_frame}'")


def subscribed(drive: Drive) -> list[int]:
    return [drive.node.count_subscribers(name) for name in TOPICS]


@pytest.mark.parametrize(
    ("x", "y", "height", "yaw", "pitch"),
    [
        pytest.param(0.0, 0.0, CAMERA_HEIGHT, 0.0, 0.0, id="as by parameters"),
        pytest.param(1.5, -0.4, CAMERA_HEIGHT, 0.0, 0.0, id="off the base", marks=pytest.mark.slow),
        pytest.param(1.5, -0.4, CAMERA_HEIGHT, math.pi / 2, 0.0, id="looks to the left", marks=pytest.mark.slow),
        pytest.param(-2.0, 0.0, 2.1, math.pi, 0.02, id="looks back and down"),
    ],
)
def test_places_are_in_the_base_frame(
    ros: Ros, road_model: Path, x: float, y: float, height: float, yaw: float, pitch: float
) -> None:
    drive = Drive(ros, road_model, position=True, base_frame="base_link")
    drive.give_camera_info()
    about_z, about_y = (
        (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
        (0.0, math.sin(pitch / 2), 0.0, math.cos(pitch / 2)),
    )
    publish_static(
        ros,
        transform("camera", "camera_link", turn=OPTICAL),
        transform("camera_link", "mount", turn=about_y),
        transform("mount", "base_link", (x, y, height), about_z),
    )
    until_known(drive, "base_link")
    message = drive.frame_with(drive.places, 0)
    assert message.header.frame_id == "base_link"
    places = locate(drive.detections(0), CameraPose.level(height, pitch))
    assert places.known.all() and len(places.xy) == 2
    turn = np.array([[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]])
    np.testing.assert_allclose(centres(message), places.xy @ turn.T + (x, y), atol=1e-9)
    np.testing.assert_allclose(covariances(message)[:, :2, :2], turn @ places.covariance @ turn.T, atol=1e-9)
    ros.until_status(OK, "topic")


def test_a_moving_base_is_followed_and_tracks_go_on(ros: Ros, road_model: Path) -> None:
    drive = Drive(ros, road_model, tracking=True, position=True, base_frame="map")
    drive.give_camera_info()
    publish_static(ros, transform("camera", "base_link", (0.0, 0.0, CAMERA_HEIGHT), OPTICAL))
    publisher = ros.observer.create_publisher(TFMessage, "/tf", 10)
    ros.until_subscribed(publisher)
    tracker, ground = Tracker(CLASSES), GroundTracks()
    level = CameraPose.level(CAMERA_HEIGHT)
    for number in range(4):
        place = (float(number), 0.0, 0.0)
        publisher.publish(TFMessage(transforms=[transform("base_link", "map", place, header=drive.header(number))]))
        until_known(drive, "map", drive.header(number))
        message = drive.frame_with(drive.places, number)
        detections = drive.detections(number)
        stamp_s = stamp_seconds(drive.header(number))
        tracks = tracker.update(detections, stamp_s, SIZE)
        pose = CameraPose(level.rotation, level.translation + place)
        motion = ground.update(stamp_s, tracks.ids, locate(detections[tracks.rows], pose))
        assert ids(message) == [str(track) for track in tracks.ids]
        np.testing.assert_allclose(centres(message), motion.xy, atol=1e-6)
    assert ids(message) == ["1", "2"]
    assert (motion.velocity[:, 0] > 5).all()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_missing_link_is_a_warning_and_detections_go_on(ros: Ros, road_model: Path, wanted: bool) -> None:
    drive = Drive(ros, road_model, subscribed=wanted, position=True, base_frame="base_link")
    drive.give_camera_info()
    assert len(drive.frame(0).detections) == 2
    ros.until_status(WARN, "no positions: TF does not connect 'camera' with 'base_link': 'camera' has no parent")
    publish_static(ros, transform("camera", "camera_link", turn=OPTICAL))
    until_known(drive, "camera_link")
    drive.frame(1)
    ros.until_status(WARN, "the parents of 'camera' end at 'camera_link', 'base_link' has no parent; publish the tran")
    assert not drive.places
    publish_static(ros, transform("camera_link", "base_link", (0.0, 0.0, CAMERA_HEIGHT)))
    until_known(drive, "base_link")
    assert len((drive.frame_with(drive.places, 2) if wanted else drive.frame(2)).detections) == 2
    ros.until_status(OK, "topic")


@pytest.mark.parametrize(
    ("place", "turn", "reason"),
    [
        ((0.0, 0.0, CAMERA_HEIGHT), (0.0, 0.0, 0.0, 1.0), "'camera' must be an optical frame"),
        ((0.0, 0.0, -0.1), OPTICAL, "its height above the ground, which must be above 0"),
        ((0.0, 0.0, CAMERA_HEIGHT), (0.0, 0.0, 0.0, 0.0), "the transform of 'camera' in 'base_link' is none"),
    ],
)
def test_a_pose_that_is_none_is_a_warning(
    ros: Ros, road_model: Path, place: tuple[float, float, float], turn: tuple[float, ...], reason: str
) -> None:
    drive = Drive(ros, road_model, position=True, base_frame="base_link")
    drive.give_camera_info()
    publish_static(ros, transform("camera", "base_link", place, turn))
    until_known(drive, "base_link")
    drive.frame(0)
    ros.until_status(WARN, reason)
    assert not drive.places


def test_a_transform_of_another_time_gives_no_places(ros: Ros, road_model: Path) -> None:
    drive = Drive(ros, road_model, position=True, base_frame="base_link")
    drive.give_camera_info()
    publisher = ros.observer.create_publisher(TFMessage, "/tf", 10)
    ros.until_subscribed(publisher)
    message = transform("camera", "base_link", (0.0, 0.0, CAMERA_HEIGHT), OPTICAL, drive.header(0))
    publisher.publish(TFMessage(transforms=[message]))
    until_known(drive, "base_link")
    assert len(drive.frame_with(drive.places, 1).detections) == 2  # 0.1 s later
    drive.frame(-10)
    ros.until_status(WARN, "the frame is 1.0 s older than every transform of 'camera' in 'base_link'")
    assert len(drive.places) == 1


def test_subscriptions_end_with_the_activity_and_with_the_pose_from_tf(ros: Ros, road_model: Path) -> None:
    drive = Drive(ros, road_model, position=True, base_frame="base_link")
    assert subscribed(drive) == [1, 1]
    drive.node.trigger_deactivate()
    assert subscribed(drive) == [0, 0]
    assert not drive.set(camera_roll_sigma=0.1)
    assert subscribed(drive) == [0, 0]
    drive.node.trigger_activate()
    assert subscribed(drive) == [1, 1]
    for values, expected in (
        ({"camera_height": CAMERA_HEIGHT}, 0),
        ({"camera_pose": "tf"}, 1),
        ({"camera_pose": "parameters"}, 0),
        ({"camera_pose": "auto", "camera_height": 0.0}, 1),
        ({"position": False}, 0),
    ):
        assert not drive.set(**values)
        assert subscribed(drive) == [expected, expected]


def test_static_transforms_are_heard_again_after_a_restart(ros: Ros, road_model: Path) -> None:
    drive = Drive(ros, road_model, position=True, base_frame="base_link")
    drive.give_camera_info()
    publish_static(ros, transform("camera", "base_link", (0.0, 0.0, CAMERA_HEIGHT), OPTICAL))
    until_known(drive, "base_link")
    drive.node.trigger_deactivate()
    drive.node.trigger_activate()
    ros.until_subscribed(drive.publisher)
    until_known(drive, "base_link")
    assert len(drive.frame_with(drive.places, 0).detections) == 2


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"camera_pose": "tf"}, "the camera's pose from TF needs a frame that it is in: set base_frame"),
        ({"camera_pose": "parameters", "base_frame": "base_link"}, "set camera_height, m, or base_frame"),
        ({}, "set camera_height, m, or base_frame"),
    ],
)
def test_a_pose_of_which_nothing_is_said_is_refused(
    ros: Ros, road_model: Path, values: dict[str, str], reason: str
) -> None:
    node = ros.refused(reason, road_model, image_topic="/camera/image_raw", position=True, **values)
    (result,) = node.set_parameters([Parameter("camera_pose", value="map")])
    assert not result.successful and "one of: auto, parameters, tf" in result.reason
