"""What the node publishes for each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.ros import autoware_objects, foxglove_annotations
from gaussian_yolo_node.ros.label_info import LabelInfoPublisher
from gaussian_yolo_node.ros.messages import detections_to_message, image_to_compressed, image_to_message
from gaussian_yolo_node.ros.newest_only import NewestOnly
from gaussian_yolo_node.ros.qos import create_publisher

DETECTIONS_DEPTH = 10
PICTURES_DEPTH = 5  # a subscriber too slow for the pictures loses the oldest ones


class Outputs:
    """Publishers of detections and annotated frames, which publish while the node is active, and of the labels.

    Annotated frames are drawn in a thread of their own, so that they never delay detections; the newest frame wins.
    """

    def __init__(self, node: LifecycleNode, classes: Sequence[str], class_id_format: str) -> None:
        self._node = node
        self._classes = tuple(classes)
        self._class_ids = [str(index) for index in range(len(classes))] if class_id_format == "index" else classes
        create = node.create_lifecycle_publisher
        self._detections = create_publisher(create, Detection2DArray, "~/detections", DETECTIONS_DEPTH)
        self._picture = create_publisher(create, Image, "~/image_annotated", PICTURES_DEPTH)
        self._compressed = create_publisher(create, CompressedImage, "~/image_annotated/compressed", PICTURES_DEPTH)
        # Messages of other packages, each in a file of its own, where they are installed.
        self._others = [
            (create_publisher(create, kind, form.TOPIC, DETECTIONS_DEPTH), form.to_message)
            for form in (foxglove_annotations, autoware_objects)
            if (kind := form.message_type()) is not None
        ]
        self.labels = LabelInfoPublisher(node, classes)
        self._drawing = NewestOnly("drawing", self._draw, node.get_logger())

    def publish_detections(self, detections: Detections, header: Header) -> None:
        self._detections.publish(detections_to_message(detections, header, self._class_ids))
        for publisher, to_message in self._others:
            if publisher.get_subscription_count() > 0:
                publisher.publish(to_message(detections, header, self._classes))

    def publish_annotated(self, image_bgr: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        """Have the frame drawn and published, but only if a topic has subscribers."""
        if any(self._wanted()):
            self._drawing.put((image_bgr, detections, header))

    def _wanted(self) -> tuple[bool, bool]:
        return self._picture.get_subscription_count() > 0, self._compressed.get_subscription_count() > 0

    def _draw(self, frame: tuple[NDArray[np.uint8], Detections, Header]) -> None:
        image_bgr, detections, header = frame
        raw_wanted, compressed_wanted = self._wanted()
        drawn = draw_detections(image_bgr, detections, self._classes)
        if raw_wanted:
            self._picture.publish(image_to_message(drawn, header))
        if compressed_wanted:
            self._compressed.publish(image_to_compressed(drawn, header))

    def destroy(self) -> None:
        self._drawing.close()
        for publisher in (self._detections, self._picture, self._compressed, *(each for each, _ in self._others)):
            self._node.destroy_lifecycle_publisher(publisher)
        self.labels.destroy()
