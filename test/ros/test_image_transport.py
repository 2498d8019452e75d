"""image_transport auto: the node subscribes to what is published, whenever it appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories import make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from ros.given import ERROR, OK, WARN
from ros.harness import Ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from gaussian_yolo_node.ros import inputs
from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message

HEADER = Header(stamp=Time(sec=1), frame_id="front")
MAKE = {Image: image_to_message, CompressedImage: image_to_compressed}


def is_answered(ros: Ros, publisher: Any) -> None:
    ros.until_subscribed(publisher)
    publisher.publish(MAKE[publisher.msg_type](make_image(), HEADER))
    ros.until(lambda: ros.detections, "detections")
    assert ros.detections[0].header == HEADER


@pytest.mark.parametrize(
    ("image_topic", "kind", "topic", "later"),
    [
        ("/image", Image, "/image", False),
        ("/image", Image, "/image", True),
        ("/image", CompressedImage, "/image/compressed", False),
        ("/image", CompressedImage, "/image/compressed", True),
        ("/image", CompressedImage, "/image", False),
        ("/image/compressed", CompressedImage, "/image/compressed", False),
        ("image", CompressedImage, "/image/compressed", True),
        pytest.param("/image", CompressedImage, "/image", True, marks=pytest.mark.slow),
        pytest.param("/image/compressed", CompressedImage, "/image/compressed", True, marks=pytest.mark.slow),
        pytest.param("image", CompressedImage, "/image/compressed", False, marks=pytest.mark.slow),
    ],
)
def test_takes_what_is_published(
    ros: Ros, tiny_model: Path, image_topic: str, kind: type, topic: str, later: bool
) -> None:
    if later:
        ros.active(tiny_model, image_topic=image_topic)
        ros.until_status(OK, "topic")
    publisher = ros.observer.create_publisher(kind, topic, 10)
    if not later:
        ros.active(tiny_model, image_topic=image_topic)
    is_answered(ros, publisher)


def test_takes_raw_images_of_a_driver_that_publishes_both(ros: Ros, tiny_model: Path) -> None:
    compressed = ros.observer.create_publisher(CompressedImage, "/image/compressed", 10)
    raw = ros.observer.create_publisher(Image, "/image", 10)
    ros.active(tiny_model, image_topic="/image")
    is_answered(ros, raw)
    assert compressed.get_subscription_count() == 0


def test_warns_while_only_other_types_are_published(
    ros: Ros, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inputs, "_SILENCE_S", 0.3)
    other = ros.observer.create_publisher(CameraInfo, "/image", 10)
    node = ros.active(tiny_model, image_topic="/image")
    ros.until_status(WARN, "no image on /image for")
    assert other.get_subscription_count() == 0
    ros.observer.destroy_publisher(other)  # Fast DDS allows a process one type per topic
    raw = ros.observer.create_publisher(Image, "/image", 10)
    is_answered(ros, raw)
    node.trigger_deactivate()
    ros.until(lambda: raw.get_subscription_count() == 0, "the end of the subscription")


def test_a_node_that_found_nothing_stops_searching_when_deactivated(ros: Ros, tiny_model: Path) -> None:
    node = ros.active(tiny_model, image_topic="/image")
    node.trigger_deactivate()
    publisher = ros.observer.create_publisher(Image, "/image", 10)
    ros.until(lambda: node.count_publishers("/image"), "the node to see the publisher")
    ros.until_status(OK, "inactive")
    assert publisher.get_subscription_count() == 0
    node.trigger_activate()
    is_answered(ros, publisher)


@pytest.mark.parametrize("transport", ["auto", "raw"])
def test_an_impossible_topic_name_is_an_error(ros: Ros, tiny_model: Path, transport: str) -> None:
    reason = "parameter 'image_topic' is '/two words': Invalid topic name"
    ros.refused(reason, tiny_model, "activate", image_topic="/two words", image_transport=transport)
    ros.until_status(ERROR, "Invalid topic name")  # and the node goes on spinning


@pytest.mark.parametrize(("transport", "kind"), [("raw", Image), ("compressed", CompressedImage)])
def test_a_fixed_transport_waits_for_no_publisher(ros: Ros, tiny_model: Path, transport: str, kind: type) -> None:
    ros.active(tiny_model, image_topic="/image", image_transport=transport)
    topic = "/image" if kind is Image else "/image/compressed"
    ros.until(lambda: ros.observer.count_subscribers(topic), "the subscription")
