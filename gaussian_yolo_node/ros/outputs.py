"""What the node publishes for each frame."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.messages import detections_to_message, image_to_compressed, image_to_message
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.frame import ViewedFrame

# Reliable, so that both reliable and best-effort subscribers match. A subscriber too slow for the pictures loses the
# oldest ones.
_DETECTIONS_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
_PICTURES_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE)


class Outputs:
    """Publishers of detections and annotated frames; they publish while the node is active.

    Annotated frames are drawn in a thread of their own, so that they never delay detections; the newest frame wins.
    """

    def __init__(self, node: LifecycleNode, classes: Sequence[str], view: Camera | None = None) -> None:
        self._node = node
        self._view = view
        self._classes = tuple(classes)
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", _DETECTIONS_QOS)
        self._picture = node.create_lifecycle_publisher(Image, "~/image_annotated", _PICTURES_QOS)
        self._compressed = node.create_lifecycle_publisher(
            CompressedImage, "~/image_annotated/compressed", _PICTURES_QOS
        )
        self._to_draw: Mailbox[tuple[NDArray[np.uint8], Detections, Header]] = Mailbox()
        self._drawing = threading.Thread(target=self._draw_all, name="drawing", daemon=True)
        self._drawing.start()

    def publish_detections(self, detections: Detections, header: Header) -> None:
        self._detections.publish(detections_to_message(detections, header, self._classes))

    def publish_annotated(self, image_bgr: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        """Have the frame drawn and published, but only if a topic has subscribers; likewise the live view."""
        if self._view is not None and self._view.wanted:
            stamp_s = header.stamp.sec + header.stamp.nanosec / 1e9
            self._view.show(ViewedFrame(image_bgr, stamp_s, header.frame_id, detections, self._classes))
        if any(self._wanted()):
            self._to_draw.put((image_bgr, detections, header))

    def _wanted(self) -> tuple[bool, bool]:
        return self._picture.get_subscription_count() > 0, self._compressed.get_subscription_count() > 0

    def _draw_all(self) -> None:
        while (job := self._to_draw.get()) is not None:
            try:
                self._draw(*job)
            except Exception as error:  # an internal error; detections go on, and so do later pictures
                self._node.get_logger().error(f"a frame cannot be drawn: {error!r}", throttle_duration_sec=10.0)

    def _draw(self, image_bgr: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        raw_wanted, compressed_wanted = self._wanted()
        drawn = draw_detections(image_bgr, detections, self._classes)
        if raw_wanted:
            self._picture.publish(image_to_message(drawn, header))
        if compressed_wanted:
            self._compressed.publish(image_to_compressed(drawn, header))

    def destroy(self) -> None:
        self._to_draw.close()
        self._drawing.join()
        for publisher in (self._detections, self._picture, self._compressed):
            self._node.destroy_lifecycle_publisher(publisher)
