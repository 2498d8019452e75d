"""Fields parsed from a message's first bytes equal the message's fields."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from factories import make_detections, make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, IMAGE
from gaussian_yolo_node.ros.driving.cdr import CdrError, ImageHead, detection_count, image_head, stamp_of
from gaussian_yolo_node.ros.messages import detections_to_message, image_to_compressed, image_to_message

# Lengths that need every amount of padding.
FRAME_IDS = ["", "c", "ca", "cam", "came", "camera_left"]


def header(frame_id: str = "camera", sec: int = 12, nanosec: int = 34) -> Header:
    return Header(stamp=Time(sec=sec, nanosec=nanosec), frame_id=frame_id)


@pytest.mark.parametrize("frame_id", FRAME_IDS)
def test_raw_image(frame_id: str) -> None:
    message = image_to_message(make_image(5, 7), header(frame_id))
    for encoding in ("bgr8", "mono16", "x"):
        message.encoding = encoding
        assert image_head(bytes(serialize_message(message)), IMAGE) == ImageHead(12_000_000_034, 7, 5)


@pytest.mark.parametrize("frame_id", FRAME_IDS)
def test_compressed_image(frame_id: str) -> None:
    message = image_to_compressed(make_image(40, 30), header(frame_id))
    assert image_head(bytes(serialize_message(message)), COMPRESSED_IMAGE) == ImageHead(12_000_000_034, 30, 40)
    png = CompressedImage(header=header(frame_id), format="png")
    png.data.frombytes(cv2.imencode(".png", make_image(6, 9))[1].tobytes())
    assert image_head(bytes(serialize_message(png)), COMPRESSED_IMAGE) == ImageHead(12_000_000_034, 9, 6)


def test_a_compressed_image_that_does_not_tell_its_size() -> None:
    message = CompressedImage(header=header(), format="jpeg")
    assert image_head(bytes(serialize_message(message)), COMPRESSED_IMAGE) == ImageHead(12_000_000_034, 0, 0)


@pytest.mark.parametrize(
    ("sec", "nanosec", "expected"),
    [(0, 0, 0), (1_700_000_000, 999_999_999, 1_700_000_000_999_999_999), (-1, 1, -999_999_999)],
)
def test_stamps(sec: int, nanosec: int, expected: int) -> None:
    message = image_to_message(make_image(1, 1), header(sec=sec, nanosec=nanosec))
    assert stamp_of(bytes(serialize_message(message))) == expected


@pytest.mark.parametrize("frame_id", FRAME_IDS)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_number_of_detections(frame_id: str, count: int) -> None:
    detections = make_detections([[i, 0, i + 5, 9] for i in range(count)])
    message = detections_to_message(detections, header(frame_id), ["car"])
    raw = bytes(serialize_message(message))
    assert detection_count(raw) == count
    assert stamp_of(raw) == 12_000_000_034


def test_big_endian() -> None:
    raw = b"\0\0\0\0" + struct.pack(">iIIB", 12, 34, 1, 0)
    assert stamp_of(raw) == 12_000_000_034


@pytest.mark.parametrize("kept", [0, 3, 7, 11, 17, 30, 50, -1])
def test_messages_cut_short(kept: int) -> None:
    raw = bytes(serialize_message(image_to_message(np.zeros((4, 4, 3), np.uint8), header())))
    with pytest.raises(CdrError, match=r"cut short|has no header|announces 48 bytes of picture, but 47 are there"):
        image_head(raw[:kept], IMAGE)


def test_a_message_with_more_than_its_picture() -> None:
    raw = bytes(serialize_message(image_to_message(np.zeros((4, 4, 3), np.uint8), header())))
    with pytest.raises(CdrError, match="announces 48 bytes"):
        image_head(raw + bytes(100), IMAGE)
