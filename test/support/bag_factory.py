"""Small bags of all kinds for tests, optionally damaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from factories import make_image
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, IMAGE, IMAGE_TOPIC, INFO_TOPIC, STRING, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.typestore import make_typestore

START_NS = 1_700_000_000_000_000_000
PERIOD_NS = 100_000_000
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}

Record = tuple[str, int, bytes]


def new(kind: str, **values: Any) -> Any:
    """A ROS 2 message."""
    return make_typestore().types[kind](**values)


def serialized(message: Any) -> bytes:
    return bytes(make_typestore().serialize_cdr(message, message.__msgtype__))


def text(content: str) -> bytes:
    return serialized(new(STRING, data=content))


def header(stamp_ns: int, frame_id: str = "camera") -> Any:
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
    return new("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)


def image(picture: np.ndarray, stamp_ns: int) -> bytes:
    """A bgr8 message of an image."""
    height, width = picture.shape[:2]
    return serialized(
        new(
            IMAGE,
            header=header(stamp_ns),
            height=height,
            width=width,
            encoding="bgr8",
            is_bigendian=0,
            step=width * 3,
            data=picture.reshape(-1),
        )
    )


def compressed(picture: np.ndarray, stamp_ns: int) -> bytes:
    """A PNG message of an image."""
    data = np.frombuffer(cv2.imencode(".png", picture)[1].tobytes(), np.uint8)
    return serialized(new(COMPRESSED_IMAGE, header=header(stamp_ns), format="png", data=data))


def detections(
    boxes: Sequence[tuple[str, float, tuple[float, float, float, float]]],
    stamp_ns: int,
    variances: tuple[float, float, float, float] = (1, 4, 9, 16),
) -> bytes:
    """Boxes of x1 y1 x2 y2 with their class and score; their standard deviations are 1, 2, 3 and 4 px."""
    rows = [_detection(*box, variances) for box in boxes]
    return serialized(new(DETECTIONS, header=header(stamp_ns), detections=rows))


def _detection(
    name: str, score: float, box: tuple[float, float, float, float], variances: tuple[float, float, float, float]
) -> Any:
    x1, y1, x2, y2 = box
    covariance = np.zeros(36)
    covariance[[0, 7, 14, 21]] = variances
    point = new("geometry_msgs/msg/Point", x=(x1 + x2) / 2, y=(y1 + y2) / 2, z=0.0)
    orientation = new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0)
    pose = new(
        "geometry_msgs/msg/PoseWithCovariance",
        pose=new("geometry_msgs/msg/Pose", position=point, orientation=orientation),
        covariance=covariance,
    )
    hypothesis = new("vision_msgs/msg/ObjectHypothesis", class_id=name, score=score)
    centre = new("vision_msgs/msg/Pose2D", position=new("vision_msgs/msg/Point2D", x=point.x, y=point.y), theta=0.0)
    return new(
        "vision_msgs/msg/Detection2D",
        header=header(0),
        results=[new("vision_msgs/msg/ObjectHypothesisWithPose", hypothesis=hypothesis, pose=pose)],
        bbox=new("vision_msgs/msg/BoundingBox2D", center=centre, size_x=x2 - x1, size_y=y2 - y1),
        id="",
    )


def info(stamp_ns: int, frame: str, objects: int = 0, **values: Any) -> bytes:
    """A text message with the bag's JSON record of a frame."""
    content = {"stamp_ns": stamp_ns, "frame": frame, "width": 16, "height": 8, "labelled": True}
    content |= {"ignored": [False] * objects, "truncation": [0.0] * objects, "occlusion": [0] * objects}
    return text(json.dumps(content | values))


def pictures(count: int) -> list[np.ndarray]:
    return [make_image(8, 16, seed=seed) for seed in range(count)]


def camera_records(count: int = 5) -> list[Record]:
    """Raw images at 10 Hz."""
    return [
        (IMAGE_TOPIC, START_NS + index * PERIOD_NS, image(picture, START_NS + index * PERIOD_NS))
        for index, picture in enumerate(pictures(count))
    ]


def text_records(count: int = 5, size: int = 1) -> list[Record]:
    return [("/text", START_NS + index * PERIOD_NS, text(str(index) * size)) for index in range(count)]


TYPES = {
    IMAGE_TOPIC: IMAGE,
    f"{IMAGE_TOPIC}/compressed": COMPRESSED_IMAGE,
    "/text": STRING,
    TRUTH_TOPIC: DETECTIONS,
    INFO_TOPIC: STRING,
    "/perception/detections": DETECTIONS,
}


def write_recording(
    folder: Path,
    records: Sequence[Record],
    *,
    storage: Literal["mcap", "sqlite3"] = "mcap",
    compression: Literal["none", "message", "file", "storage"] = "none",
    types: Mapping[str, str] = TYPES,
    version: Literal[8, 9] = 9,
) -> Path:
    """Write a folder like `ros2 bag record`."""
    writer = Writer(folder, version=version, storage_plugin=STORAGES[storage])
    writer.set_compression(CompressionMode[compression.upper()], CompressionFormat.ZSTD)
    with writer:
        connections = {}
        for topic in dict.fromkeys(topic for topic, _, _ in records):
            connections[topic] = writer.add_connection(topic, types[topic], typestore=make_typestore())
        for topic, stamp_ns, raw in records:
            writer.write(connections[topic], stamp_ns, raw)
    return folder


def split_recording(folder: Path, parts: Sequence[Sequence[Record]], storage: Literal["mcap", "sqlite3"]) -> Path:
    """A bag in several files, without metadata."""
    folder.mkdir()
    for number, records in enumerate(parts):
        part = write_recording(folder / "part", records, storage=storage)
        suffix = {"mcap": ".mcap", "sqlite3": ".db3"}[storage]
        (part / f"part{suffix}").rename(folder / f"bag_{number}{suffix}")
        (part / "metadata.yaml").unlink()
        part.rmdir()
    return folder


ROS1_DETECTIONS = """Header header
vision_msgs/Detection2D[] detections
================================================================================
MSG: std_msgs/Header
uint32 seq
time stamp
string frame_id
================================================================================
MSG: vision_msgs/Detection2D
Header header
vision_msgs/ObjectHypothesisWithPose[] results
vision_msgs/BoundingBox2D bbox
================================================================================
MSG: vision_msgs/ObjectHypothesisWithPose
int64 id
float64 score
geometry_msgs/PoseWithCovariance pose
================================================================================
MSG: geometry_msgs/PoseWithCovariance
geometry_msgs/Pose pose
float64[36] covariance
================================================================================
MSG: geometry_msgs/Pose
geometry_msgs/Point position
geometry_msgs/Quaternion orientation
================================================================================
MSG: geometry_msgs/Point
float64 x
float64 y
float64 z
================================================================================
MSG: geometry_msgs/Quaternion
float64 x
float64 y
float64 z
float64 w
================================================================================
MSG: vision_msgs/BoundingBox2D
geometry_msgs/Pose2D center
float64 size_x
float64 size_y
================================================================================
MSG: geometry_msgs/Pose2D
float64 x
float64 y
float64 theta
"""


ROS1_CUSTOM = """Header header
int32[2] pair
string[] names
geometry_msgs/Point[] points
duration wait
"""


def ros1_store() -> Any:
    """ROS 1's types, with the vision_msgs of its last release, and one custom type."""
    store = get_typestore(Stores.ROS1_NOETIC)
    types = get_types_from_msg(ROS1_DETECTIONS, DETECTIONS)
    types |= get_types_from_msg(ROS1_CUSTOM, "acme_msgs/msg/Custom")
    store.register({name: fields for name, fields in types.items() if name not in store.fielddefs})
    return store


def write_ros1(path: Path, messages: Sequence[tuple[str, int, Any]], compression: str = "none") -> Path:
    """Write a .bag with messages of `ros1_store`."""
    store = ros1_store()
    writer = Writer1(path)
    if compression != "none":
        writer.set_compression(Writer1.CompressionFormat[compression.upper()])
    with writer:
        connections: dict[str, Any] = {}
        for topic, stamp_ns, message in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(connections[topic], stamp_ns, store.serialize_ros1(message, message.__msgtype__))
    return path


def ros1_header(stamp_ns: int) -> Any:
    types = ros1_store().types
    seconds, nanoseconds = divmod(stamp_ns, 1_000_000_000)
    stamp = types["builtin_interfaces/msg/Time"](sec=seconds, nanosec=nanoseconds)
    return types["std_msgs/msg/Header"](seq=7, stamp=stamp, frame_id="camera")


def ros1_messages() -> list[tuple[str, int, Any]]:
    """ROS 1 messages: raw and compressed images, detections and calibration."""
    types = ros1_store().types
    messages: list[tuple[str, int, Any]] = []
    for index, picture in enumerate(pictures(3)):
        stamp_ns = START_NS + index * PERIOD_NS
        raw = types[IMAGE](
            ros1_header(stamp_ns), 8, 16, encoding="bgr8", is_bigendian=0, step=48, data=picture.reshape(-1)
        )
        messages.append(("/raw", stamp_ns, raw))
        packed = types[COMPRESSED_IMAGE](
            ros1_header(stamp_ns), "png", np.frombuffer(compressed(picture, 0)[-4:], np.uint8)
        )
        messages.append(("/packed", stamp_ns, packed))
        pose = types["geometry_msgs/msg/PoseWithCovariance"](
            types["geometry_msgs/msg/Pose"](
                types["geometry_msgs/msg/Point"](1.0, 2.0, 0.0),
                types["geometry_msgs/msg/Quaternion"](0.0, 0.0, 0.0, 1.0),
            ),
            np.arange(36.0),
        )
        box = types["vision_msgs/msg/BoundingBox2D"](types["geometry_msgs/msg/Pose2D"](5.0, 6.0, 0.5), 2.0, 4.0)
        result = types["vision_msgs/msg/ObjectHypothesisWithPose"](3, 0.75, pose)
        detection = types["vision_msgs/msg/Detection2D"](ros1_header(stamp_ns), [result], box)
        messages.append(("/found", stamp_ns, types[DETECTIONS](ros1_header(stamp_ns), [detection])))
    info = types["sensor_msgs/msg/CameraInfo"]
    region = types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    matrices = np.zeros(5), np.arange(9.0), np.eye(3).ravel(), np.zeros(12)
    intrinsics = info(ros1_header(START_NS), 8, 16, "plumb_bob", *matrices, 0, 0, region)
    return [*messages, ("/info", START_NS + 3 * PERIOD_NS, intrinsics)]


def read_texts(path: Path) -> tuple[list[str], list[str]]:
    """The texts in a bag, and the reader's notes."""
    with BagReader(path) as reader:
        found = [message.decode().data for message in reader.messages({"/text"})]
        assert reader.topics["/text"].count == len(found)
        return found, reader.notes
