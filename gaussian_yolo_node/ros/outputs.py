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
from vision_msgs.msg import Detection2DArray, Detection3DArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.messages import (
    detections_to_message,
    image_to_compressed,
    image_to_message,
    tracks_to_message,
)
from gaussian_yolo_node.ros.places import places_to_message
from gaussian_yolo_node.ros.road import Road

# Reliable, so that both reliable and best-effort subscribers match. A subscriber too slow for the pictures loses the
# oldest ones.
_DETECTIONS_QOS = QoSProfile(depth=10, reliability=QoSReliabilityPolicy.RELIABLE)
_PICTURES_QOS = QoSProfile(depth=5, reliability=QoSReliabilityPolicy.RELIABLE)


class Outputs:
    """Publishers of detections, tracks, places and annotated frames; they publish while the node is active.

    Tracks and places become messages only for subscribers. Annotated frames are drawn in a thread of their own, so that
    they never delay detections; the newest frame wins.
    """

    def __init__(self, node: LifecycleNode, classes: Sequence[str]) -> None:
        self._node = node
        self._classes = tuple(classes)
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", _DETECTIONS_QOS)
        self._tracks = node.create_lifecycle_publisher(Detection2DArray, "~/tracks", _DETECTIONS_QOS)
        self._places = node.create_lifecycle_publisher(Detection3DArray, "~/detections_3d", _DETECTIONS_QOS)
        self.road = Road(node, classes)
        self._picture = node.create_lifecycle_publisher(Image, "~/image_annotated", _PICTURES_QOS)
        self._compressed = node.create_lifecycle_publisher(
            CompressedImage, "~/image_annotated/compressed", _PICTURES_QOS
        )
        self._to_draw: Mailbox[tuple[NDArray[np.uint8], Detections, Header]] = Mailbox()
        self._drawing = threading.Thread(target=self._draw_all, name="drawing", daemon=True)
        self._drawing.start()

    def publish_detections(self, detections: Detections, header: Header, frame_size: tuple[int, int]) -> None:
        """Publish what was detected in a frame of (height, width) in px, and what follows from it."""
        tracks = self.road.follow(detections, header, frame_size)
        seen = {} if tracks is None else dict(zip(tracks.rows.tolist(), map(str, tracks.ids.tolist()), strict=True))
        self._detections.publish(detections_to_message(detections, header, self._classes, seen))
        if tracks is not None and self._tracks.get_subscription_count() > 0:
            self._tracks.publish(tracks_to_message(tracks, header, self._classes))
        if self._places.get_subscription_count() > 0:
            objects = self.road.place(detections, tracks, header, frame_size)
            if objects is not None:
                self._places.publish(places_to_message(objects, header, self._classes, self.road.base_frame))

    def publish_annotated(self, image_bgr: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        """Have the frame drawn and published, but only if a topic has subscribers."""
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
        self.road.close()
        for publisher in (self._detections, self._tracks, self._places, self._picture, self._compressed):
            self._node.destroy_lifecycle_publisher(publisher)
