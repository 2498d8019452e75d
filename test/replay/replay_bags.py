"""Small bags to replay, as a camera and a labelling tool would write them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from builtin_interfaces.msg import Time
from factories import make_image
from numpy.typing import NDArray
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.bags import (
    CAMERA_INFO,
    CAMERA_INFO_TOPIC,
    COMPRESSED_IMAGE,
    DETECTIONS,
    IMAGE,
    IMAGE_TOPIC,
    INFO_TOPIC,
    STRING,
    TRUTH_TOPIC,
)
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.ros.messages import image_to_message

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 50_000_000
TRUTH_TYPES = {TRUTH_TOPIC: DETECTIONS, INFO_TOPIC: STRING}


def pictures(count: int, size: tuple[int, int] = (64, 96)) -> list[NDArray[np.uint8]]:
    """Pictures of a (height, width); the default is the tiny model's canvas."""
    return [make_image(*size, seed=index) for index in range(count)]


def image(picture: NDArray[np.uint8], stamp_ns: int = 0) -> Image:
    """Image message of a picture."""
    return image_to_message(picture, header(stamp_ns))


def header(stamp_ns: int) -> Header:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id="camera_left")


def write_bag(
    path: Path,
    images: Sequence[Image | CompressedImage | bytes],
    *,
    stamps: Sequence[int] | None = None,
    truth: bool = False,
    topic: str = IMAGE_TOPIC,
    matrix: Sequence[float] = (),
) -> Path:
    """Write a bag of images at 20 Hz.

    Args:
        images: messages, or serialised ones; their stamps are set.
        stamps: header stamps in ns; by default the times in the bag.
        truth: give every image a name and an empty ground truth.
        matrix: of the camera, by rows, px; it goes beside each image.
    """
    compressed = bool(images) and isinstance(images[0], CompressedImage)
    topic = f"{topic}/compressed" if compressed else topic
    topics = {topic: COMPRESSED_IMAGE if compressed else IMAGE, **(TRUTH_TYPES if truth else {})}
    if matrix:
        topics[CAMERA_INFO_TOPIC] = CAMERA_INFO
    with BagWriter(path, topics) as writer:
        for index, message in enumerate(images):
            bag_ns = START_NS + index * PERIOD_NS
            stamp = bag_ns if stamps is None else stamps[index]
            if not isinstance(message, bytes):
                message.header = header(stamp)
                message = bytes(serialize_message(message))
            if matrix:
                camera = CameraInfo(header=header(stamp), height=192, width=320, k=list(matrix))
                writer.write(CAMERA_INFO_TOPIC, bag_ns, bytes(serialize_message(camera)))
            writer.write(topic, bag_ns, message)
            if truth:
                info = {"stamp_ns": stamp, "frame": f"{index:03}.png", "width": 96, "height": 64, "labelled": True}
                info |= {"ignored": [], "truncation": [], "occlusion": []}
                empty = Detection2DArray(header=header(stamp))
                writer.write(TRUTH_TOPIC, bag_ns, bytes(serialize_message(empty)))
                writer.write(INFO_TOPIC, bag_ns, bytes(serialize_message(String(data=json.dumps(info)))))
    return path
