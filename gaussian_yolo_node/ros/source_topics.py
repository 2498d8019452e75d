"""The frames of a source as topics, as a camera's driver has them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from gaussian_yolo_node.frames.camera_calibration import Calibration
from gaussian_yolo_node.frames.rectification import Rectifier, rectified
from gaussian_yolo_node.ros.camera_info import camera_info_message
from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message
from gaussian_yolo_node.ros.newest_only import NewestOnly
from gaussian_yolo_node.ros.outputs import PICTURES_DEPTH
from gaussian_yolo_node.ros.qos import create_publisher


class SourceTopics:
    """Publishes `~/image_raw`, `~/image_raw/compressed`, and `~/camera_info` if there is a calibration.

    A thread converts and publishes what has subscribers, so that detections never wait; the newest frame wins.

    Args:
        node: publishes.
        calibration: of the camera.
        rectifier: rectifies the frames of the topics; None for frames as they are.
    """

    def __init__(self, node: Node, calibration: Calibration | None, rectifier: Rectifier | None) -> None:
        self._node = node
        self._calibration = rectified(calibration) if calibration is not None and rectifier is not None else calibration
        self._rectifier = rectifier
        create = node.create_publisher
        self._image = create_publisher(create, Image, "~/image_raw", PICTURES_DEPTH)
        self._compressed = create_publisher(create, CompressedImage, "~/image_raw/compressed", PICTURES_DEPTH)
        self._camera = create_publisher(create, CameraInfo, "~/camera_info", PICTURES_DEPTH) if calibration else None
        self._publishing = NewestOnly("image_raw", self._publish, node.get_logger())

    def publish(self, image_bgr: NDArray[np.uint8], header: Header) -> None:
        """Have a frame of the source published, but only if a topic has subscribers."""
        if any(publisher.get_subscription_count() for publisher in self._publishers()):
            self._publishing.put((image_bgr, header))

    def _publish(self, frame: tuple[NDArray[np.uint8], Header]) -> None:
        image, header = frame
        if self._camera is not None and self._calibration is not None and self._camera.get_subscription_count():
            self._camera.publish(camera_info_message(self._calibration, (image.shape[0], image.shape[1]), header))
        raw, compressed = self._image.get_subscription_count(), self._compressed.get_subscription_count()
        if self._rectifier is not None and (raw or compressed):
            image = self._rectifier(image)
        if raw:
            self._image.publish(image_to_message(image, header))
        if compressed:
            self._compressed.publish(image_to_compressed(image, header))

    def _publishers(self) -> list[Publisher]:
        return [self._image, self._compressed, *([self._camera] if self._camera is not None else [])]

    def destroy(self) -> None:
        """Wait for the current frame, and end the topics."""
        self._publishing.close()
        for publisher in self._publishers():
            self._node.destroy_publisher(publisher)
