"""Publishes pictures at a fixed rate, in its own process.

    python image_publisher.py raw|compressed|ENCODING RATE_HZ COUNT [FOLDER]

With the name of an encoding, images are raw, and their rows have padding.
Repeats the first picture until a line arrives on stdin, which means that discovery is complete. Then publishes COUNT
pictures and prints their stamps in ns on stdout as a JSON list. Ends when stdin closes.
"""

from __future__ import annotations

import json
import select
import sys
import time
from array import array
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import rclpy
from raw_images import encode
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message


def main(transport: str, rate_hz: float, count: int, folder: str | None = None) -> None:
    pictures = load(Path(folder), count) if folder else synthetic(count)
    rclpy.init()
    node = rclpy.create_node("camera_driver")
    kind, topic = (CompressedImage, "/image/compressed") if transport == "compressed" else (Image, "/image")
    publisher = node.create_publisher(kind, topic, qos_profile_sensor_data)
    make = {"raw": image_to_message, "compressed": image_to_compressed}.get(transport, partial(encoded, transport))
    messages = [make(picture, Header(frame_id="camera_left")) for picture in pictures]

    def publish(message: Image | CompressedImage) -> int:
        now = node.get_clock().now()
        message.header.stamp = now.to_msg()
        publisher.publish(message)
        return int(now.nanoseconds)

    while not select.select([sys.stdin], [], [], 0.1)[0]:
        publish(messages[0])
    sys.stdin.readline()

    stamps = []
    start = time.monotonic()
    for index in range(count):
        time.sleep(max(0.0, start + index / rate_hz - time.monotonic()))
        stamps.append(publish(messages[index % len(messages)]))
    print(json.dumps(stamps), flush=True)
    sys.stdin.read()  # messages in transit need their sender
    node.destroy_node()
    rclpy.shutdown()


def encoded(encoding: str, picture: np.ndarray, header: Header) -> Image:
    fields = encode(picture[: len(picture) // 2 * 2], encoding)  # nv12 has even heights
    return Image(header=header, **{**fields, "data": array("B", fields["data"].tobytes())})


def load(folder: Path, count: int) -> list[np.ndarray]:
    return [cv2.imread(str(path)) for path in sorted(folder.iterdir())[:count]]


def synthetic(count: int) -> list[np.ndarray]:
    """Pictures of KITTI's size."""
    rng = np.random.default_rng(0)
    blocks = [rng.integers(0, 256, (47, 156, 3), np.uint8) for _ in range(min(count, 10))]
    return [cv2.resize(block, (1242, 375), interpolation=cv2.INTER_NEAREST) for block in blocks]


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
