"""What the tests give to a node, and what they expect of it."""

from __future__ import annotations

import time
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from factories import make_image
from rclpy.lifecycle import TransitionCallbackReturn
from ros.harness import Ros
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from gaussian_yolo_node.ros.messages import image_to_message

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def header(number: int) -> Header:
    """A header of now; the nanoseconds number the frame."""
    return Header(stamp=Time(sec=int(time.time()), nanosec=number), frame_id="front_camera")


def picture(number: int = 1, **fields: Any) -> Image:
    message = image_to_message(make_image(), header(number))
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def on_topic(ros: Ros, model: object, **parameters: Any) -> tuple[Any, Any]:
    """An active node on topic /image, and the topic's publisher."""
    publisher = ros.observer.create_publisher(Image, "/image", 10)
    node = ros.active(model, image_topic="/image", **parameters)
    ros.until_subscribed(publisher)
    return node, publisher


def answer(ros: Ros, number: int) -> Any:
    """The detections of the frame with this number."""
    return ros.until(
        lambda: next((m for m in ros.detections if m.header.stamp.nanosec == number), None),
        f"detections of frame {number}",
    )


def labels(message: Any) -> list[str]:
    """The classes of the boxes of a message, each by its best score."""
    return [each.results[0].hypothesis.class_id for each in message.detections]
