"""What the node publishes for each frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray, Detection3DArray, LabelInfo, VisionClass

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import draw_detections
from gaussian_yolo_node.position import Places
from gaussian_yolo_node.ros import autoware_objects, foxglove_annotations
from gaussian_yolo_node.ros.messages import (
    detections_to_message,
    image_to_compressed,
    image_to_message,
    tracks_to_message,
)
from gaussian_yolo_node.ros.newest_only import NewestOnly
from gaussian_yolo_node.ros.places import places_to_message
from gaussian_yolo_node.ros.qos import create_publisher
from gaussian_yolo_node.ros.road import Road
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.frame import ViewedFrame

DETECTIONS_DEPTH = 10
PICTURES_DEPTH = 5  # a subscriber too slow for the pictures loses the oldest ones


class Outputs:
    """Publishers of detections, tracks, places, labels and annotated frames; they publish while the node is active.

    Tracks and places become messages only for subscribers; places are computed for these and for the live view.
    Annotated frames are drawn in a thread of their own, so that they never delay detections; the newest frame wins.
    """

    def __init__(
        self, node: LifecycleNode, classes: Sequence[str], class_id_format: str, view: Camera | None = None
    ) -> None:
        self._node = node
        self._view = view
        self._classes = tuple(classes)
        # Of the latest detections, for the view: ids, places and velocities.
        self._ids: NDArray[np.int64] | None = None
        self._whereabouts: tuple[Places, NDArray[np.float64]] | None = None
        self._class_ids = [str(index) for index in range(len(classes))] if class_id_format == "index" else classes
        create = node.create_lifecycle_publisher
        self._detections = create_publisher(create, Detection2DArray, "~/detections", DETECTIONS_DEPTH)
        self._tracks = create_publisher(create, Detection2DArray, "~/tracks", DETECTIONS_DEPTH)
        self._places = create_publisher(create, Detection3DArray, "~/detections_3d", DETECTIONS_DEPTH)
        self._picture = create_publisher(create, Image, "~/image_annotated", PICTURES_DEPTH)
        self._compressed = create_publisher(create, CompressedImage, "~/image_annotated/compressed", PICTURES_DEPTH)
        # Messages of other packages, each in a file of its own, where they are installed.
        self._others = [
            (create_publisher(create, kind, form.TOPIC, DETECTIONS_DEPTH), form.to_message)
            for form in (foxglove_annotations, autoware_objects)
            if (kind := form.message_type()) is not None
        ]
        # A subscriber that comes later gets the labels, too.
        self._labels = create_publisher(node.create_publisher, LabelInfo, "~/label_info", 1, latched=True)
        self._threshold: float | None = None
        self.road = Road(node, classes)
        self._drawing = NewestOnly("drawing", self._draw, node.get_logger())

    def publish_labels(self, threshold: float) -> None:
        """Publish which class has which index, and the least score of a detection, 0..1, if that has changed."""
        if threshold == self._threshold:
            return
        self._threshold = threshold
        classes = [VisionClass(class_id=index, class_name=str(name)) for index, name in enumerate(self._classes)]
        message = LabelInfo(class_map=classes, threshold=float(threshold))
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._labels.publish(message)

    def publish_detections(self, detections: Detections, header: Header, frame_size: tuple[int, int]) -> None:
        """Publish what was detected in a frame of (height, width) in px, and what follows from it."""
        tracks = self.road.follow(detections, header, frame_size)
        seen = {} if tracks is None else dict(zip(tracks.rows.tolist(), map(str, tracks.ids.tolist()), strict=True))
        self._detections.publish(detections_to_message(detections, header, self._class_ids, seen))
        self._ids = None if tracks is None else tracks.ids_of(len(detections))
        if tracks is not None and self._tracks.get_subscription_count() > 0:
            self._tracks.publish(tracks_to_message(tracks, header, self._class_ids))
        subscribed, self._whereabouts = self._places.get_subscription_count() > 0, None
        if subscribed or (self._view is not None and self._view.wanted):
            objects = self.road.place(detections, tracks, header, frame_size)
            if objects is not None:
                self._whereabouts = objects.of_detections(len(detections))
                if subscribed:
                    self._places.publish(places_to_message(objects, header, self._class_ids, self.road.base_frame))
        for publisher, to_message in self._others:
            if publisher.get_subscription_count() > 0:
                publisher.publish(to_message(detections, header, self._classes))

    def publish_annotated(self, image_bgr: NDArray[np.uint8], detections: Detections, header: Header) -> None:
        """Have the frame drawn and published, but only if a topic has subscribers; likewise the live view."""
        if self._view is not None and self._view.wanted:
            stamp_s = header.stamp.sec + header.stamp.nanosec / 1e9
            places, velocities = self._whereabouts or (None, None)
            self._view.show(
                ViewedFrame(
                    image_bgr, stamp_s, header.frame_id, detections, self._classes, self._ids, places, velocities
                )
            )
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
        self.road.close()
        publishers = (self._detections, self._tracks, self._places, self._picture, self._compressed)
        for publisher in (*publishers, *(each for each, _ in self._others)):
            self._node.destroy_lifecycle_publisher(publisher)
        self._node.destroy_publisher(self._labels)
