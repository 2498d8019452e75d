"""Serialise the messages of frames and their ground truth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags import CAMERA_INFO, COMPRESSED_IMAGE, DETECTIONS, IMAGE, STRING
from gaussian_yolo_node.bags.camera_calibration import Calibration
from gaussian_yolo_node.bags.typestore import make_typestore

_Box = tuple[float, float, float, float]


def header(stamp_ns: int, frame_id: str) -> Any:
    """A std_msgs/Header, to be used in other messages."""
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = _new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return _new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def raw_image(picture: NDArray[np.uint8], header: Any) -> bytes:
    """A sensor_msgs/Image with encoding bgr8 from a uint8 [H, W, 3] image."""
    height, width = picture.shape[:2]
    return _bytes(
        IMAGE,
        header=header,
        height=height,
        width=width,
        encoding="bgr8",
        is_bigendian=0,
        step=width * 3,
        data=np.ascontiguousarray(picture).reshape(-1),
    )


def compressed_image(data: bytes, layout: str, header: Any) -> bytes:
    """A sensor_msgs/CompressedImage with the bytes of an image file; `layout` is "jpeg" or "png"."""
    return _bytes(COMPRESSED_IMAGE, header=header, format=layout, data=np.frombuffer(data, np.uint8))


def camera_info(calibration: Calibration, size: tuple[int, int], header: Any) -> bytes:
    """A sensor_msgs/CameraInfo; `size` is (height, width) of the image in px."""
    whole = _new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    return _bytes(
        CAMERA_INFO,
        header=header,
        height=size[0],
        width=size[1],
        distortion_model=calibration.distortion_model,
        d=calibration.distortion,
        k=calibration.camera_matrix.reshape(-1),
        r=calibration.rectification.reshape(-1),
        p=calibration.projection.reshape(-1),
        binning_x=0,
        binning_y=0,
        roi=whole,
    )


def text(content: str) -> bytes:
    """A std_msgs/String."""
    return _bytes(STRING, data=content)


def truth(objects: Iterable[tuple[str, _Box]], header: Any) -> bytes:
    """A vision_msgs/Detection2DArray from categories and boxes x1 y1 x2 y2 in px, with score 1 and zero covariance."""
    return _bytes(DETECTIONS, header=header, detections=[_detection(name, box, header) for name, box in objects])


def _detection(name: str, box: _Box, header: Any) -> Any:
    x1, y1, x2, y2 = box
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    pose = _new(
        "geometry_msgs/msg/Pose",
        position=_new("geometry_msgs/msg/Point", x=x, y=y, z=0.0),
        orientation=_new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
    )
    result = _new(
        "vision_msgs/msg/ObjectHypothesisWithPose",
        hypothesis=_new("vision_msgs/msg/ObjectHypothesis", class_id=name, score=1.0),
        pose=_new("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
    )
    centre = _new("vision_msgs/msg/Pose2D", position=_new("vision_msgs/msg/Point2D", x=x, y=y), theta=0.0)
    bbox = _new("vision_msgs/msg/BoundingBox2D", center=centre, size_x=x2 - x1, size_y=y2 - y1)
    return _new("vision_msgs/msg/Detection2D", header=header, results=[result], bbox=bbox, id="")


def _new(kind: str, **fields: Any) -> Any:
    return make_typestore().types[kind](**fields)


def _bytes(kind: str, **fields: Any) -> bytes:
    return bytes(make_typestore().serialize_cdr(_new(kind, **fields), kind))
