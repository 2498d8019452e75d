"""The latched topic that tells which class is which number."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node
from vision_msgs.msg import LabelInfo, VisionClass

from gaussian_yolo_node.ros.qos import create_publisher


class LabelInfoPublisher:
    """Publishes `~/label_info`; a subscriber that comes later gets it, too."""

    def __init__(self, node: Node, classes: Sequence[str]) -> None:
        self._node = node
        self._classes = [VisionClass(class_id=index, class_name=str(name)) for index, name in enumerate(classes)]
        self._threshold: float | None = None
        self._publisher = create_publisher(node.create_publisher, LabelInfo, "~/label_info", 1, latched=True)

    def publish(self, threshold: float) -> None:
        """Publish the classes with the least score of a detection, 0..1, if that has changed."""
        if threshold == self._threshold:
            return
        self._threshold = threshold
        message = LabelInfo(class_map=self._classes, threshold=float(threshold))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def destroy(self) -> None:
        self._node.destroy_publisher(self._publisher)
