"""Serialise the messages of frames and their ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace as Fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, IMAGE, STRING
from gaussian_yolo_node.bags.ros1_types import ros2_message
from gaussian_yolo_node.bags.typestore import make_typestore

_Box = tuple[float, float, float, float]


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header, to be used in other messages."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    return Fields(stamp=Fields(sec=seconds, nanosec=nanoseconds), frame_id=frame_id)


def raw_image(picture: NDArray[np.uint8], header: Any) -> bytes:
    """A sensor_msgs/Image with encoding bgr8 from a uint8 [H, W, 3] image."""
    height, width = picture.shape[:2]
    data = np.ascontiguousarray(picture).reshape(-1)
    return serialized(IMAGE, header=header, height=height, width=width, encoding="bgr8", step=width * 3, data=data)


def compressed_image(data: bytes, layout: str, header: Any) -> bytes:
    """A sensor_msgs/CompressedImage with the bytes of an image file; `layout` is "jpeg" or "png"."""
    return serialized(COMPRESSED_IMAGE, header=header, format=layout, data=np.frombuffer(data, np.uint8))


def text(content: str) -> bytes:
    """A std_msgs/String."""
    return serialized(STRING, data=content)


def truth(objects: Iterable[tuple[str, _Box]], header: Any) -> bytes:
    """A vision_msgs/Detection2DArray from categories and boxes x1 y1 x2 y2 in px, with score 1 and zero covariance."""
    return serialized(DETECTIONS, header=header, detections=[_detection(name, box, header) for name, box in objects])


def _detection(name: str, box: _Box, header: Any) -> Any:
    x1, y1, x2, y2 = box
    centre = Fields(x=(x1 + x2) / 2, y=(y1 + y2) / 2)
    pose = Fields(position=centre, orientation=Fields(w=1.0))
    result = Fields(hypothesis=Fields(class_id=name, score=1.0), pose=Fields(pose=pose))
    bbox = Fields(center=Fields(position=centre), size_x=x2 - x1, size_y=y2 - y1)
    return Fields(header=header, results=[result], bbox=bbox)


def serialized(kind: str, **fields: Any) -> bytes:
    """A serialised message; fields that are not given are 0 or empty."""
    store = make_typestore()
    return bytes(store.serialize_cdr(ros2_message(Fields(**fields), kind, store), kind))
