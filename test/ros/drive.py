"""A node that follows and places objects, and the frames it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from factories import Planted, make_image
from rclpy.parameter import Parameter
from ros.harness import Ros
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.position import Camera, CameraPose, Locator, Places
from gaussian_yolo_node.ros.messages import detections_from_message, image_to_message

CLASSES = ("car", "pedestrian", "cyclist")
HEIGHT, WIDTH = SIZE = (192, 320)
MATRIX = [200.0, 0.0, 160.0, 0.0, 200.0, 80.0, 0.0, 0.0, 1.0]
CAMERA_HEIGHT = 1.65
# A car 15 m and a pedestrian 12 m ahead of a level camera.
PLANTED = (
    Planted((120.0, 82.0, 142.0, 102.0), 0, score=0.8, sigma=0.02),
    Planted((200.0, 78.0, 211.0, 107.5), 1, score=0.6, sigma=0.02),
)


class Drive:
    """An active node on /camera/image_raw, and what it publishes for frames at 10 Hz."""

    def __init__(self, ros: Ros, model: Path, subscribed: bool = True, **parameters: Any) -> None:
        self.ros = ros
        self.publisher = ros.observer.create_publisher(Image, "/camera/image_raw", 10)
        self.tracks: list[Detection2DArray] = []
        self.places: list[Detection3DArray] = []
        values = {"image_topic": "/camera/image_raw", "input_size": f"{HEIGHT}x{WIDTH}", **parameters}
        self.node = ros.active(model, **values)
        if subscribed:
            ros.observer.create_subscription(Detection2DArray, "/perception/tracks", self.tracks.append, 10)
            ros.observer.create_subscription(Detection3DArray, "/perception/detections_3d", self.places.append, 10)
            for name in ("/perception/tracks", "/perception/detections_3d"):
                ros.until(lambda name=name: self.node.count_subscribers(name), f"a subscriber of {name}")
        ros.until_subscribed(self.publisher)
        self.begun_ns = ros.observer.get_clock().now().nanoseconds

    def header(self, number: int) -> Header:
        header = Header(frame_id="camera")
        header.stamp.sec, header.stamp.nanosec = divmod(self.begun_ns + number * 100_000_000, 1_000_000_000)
        return header

    def frame(self, number: int, size: tuple[int, int] = SIZE) -> Detection2DArray:
        """The detections of a new frame."""
        header = self.header(number)
        self.publisher.publish(image_to_message(make_image(*size), header))
        return self.ros.until(lambda: of(self.ros.detections, header), f"detections of frame {number}")

    def detections(self, number: int) -> Detections:
        """What was detected in a frame that has been answered."""
        return detections_from_message(of(self.ros.detections, self.header(number)), CLASSES)

    def frame_with(self, messages: list[Any], number: int, size: tuple[int, int] = SIZE) -> Any:
        """The message of a new frame in a list."""
        self.frame(number, size)
        return self.ros.until(lambda: of(messages, self.header(number)), f"a message of frame {number}")

    def give_camera_info(self, **fields: Any) -> None:
        publisher = self.ros.observer.create_publisher(CameraInfo, "/camera/camera_info", 10)
        self.ros.until_subscribed(publisher)
        info = CameraInfo(**{"height": HEIGHT, "width": WIDTH, "k": MATRIX, **fields})

        def known() -> bool:
            publisher.publish(info)
            road = self.node._outputs.road
            return road._topics.calibration is not None or bool(road._topics._trouble)

        self.ros.until(known, "the node to take the camera's matrix")

    def set(self, **values: Any) -> str:
        """Set parameters at once; the reason why they are refused."""
        return str(self.node.set_parameters_atomically([Parameter(k, value=v) for k, v in values.items()]).reason)


def of(messages: list[Any], header: Header) -> Any:
    return next((message for message in messages if message.header.stamp == header.stamp), None)


def centres(message: Any) -> np.ndarray:
    """[N, 2], x and y of boxes in px, or of places in m."""
    positions = [each.bbox.center.position for each in message.detections]
    return np.reshape([(position.x, position.y) for position in positions], (-1, 2))


def ids(message: Any) -> list[str]:
    return [detection.id for detection in message.detections]


def covariances(message: Any) -> np.ndarray:
    return np.array([each.results[0].pose.covariance for each in message.detections]).reshape(-1, 6, 6)


def locate(detections: Detections, pose: CameraPose | None = None, depth: Any = None) -> Places:
    """Places by a `Locator`; by default of a level camera."""
    return Locator(camera(pose), CLASSES)(detections, depth)


def camera(pose: CameraPose | None = None) -> Camera:
    return Camera(np.reshape(MATRIX, (3, 3)), SIZE, pose or CameraPose.level(CAMERA_HEIGHT))
