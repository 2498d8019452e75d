"""Keeps what a perception node publishes while it plays its source."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.ros.driving.cdr import stamp_of
from gaussian_yolo_node.ros.driving.driver import DISCOVERY_TIMEOUT_S, NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess
from gaussian_yolo_node.ros.driving.own_node import OwnNode

# After the source's end: how long the last messages may be on their way.
SETTLE_S = 2.0

Sink = Callable[[str, int, bytes], None]


class Observer:
    """Subscribes to a perception node's outputs before it starts, so that nothing of the run is missed.

    Args:
        process: the node's.
        sink: called with (topic, publication time in ns, serialised message) for each recorded message.
        annotated: subscribe to the compressed annotated frames too, which makes the node draw them.

    Attributes:
        driver: speaks to the node.
        published_at: ns since the epoch, a value a detections message, in order of arrival.
        ages: s from each frame's stamp to its detections' publication.
        annotated: number of annotated frames received.
    """

    def __init__(self, process: NodeProcess, sink: Sink, *, annotated: bool) -> None:
        self._own = OwnNode("demo_observer")
        self.driver = NodeDriver(self._own, process.name, process)
        self._sink = sink
        self.published_at: list[int] = []
        self.ages: list[float] = []
        self.annotated = 0
        self._recorded = [self._record(Detection2DArray, "detections", self._on_detections)]
        if annotated:
            self._recorded.append(self._record(CompressedImage, "image_annotated/compressed", self._on_annotated))

    # rclpy's types know raw callbacks without message info only.
    def _record(self, kind: type, name: str, callback: Any) -> Any:
        # Raw: the recorder must not compete with the node for the processor.
        topic = self.driver.topic(name)
        return self._own.node.create_subscription(kind, topic, callback, QoSProfile(depth=100), raw=True)

    def start(self) -> None:
        """Have the node load its model, and start once it is known to reach us.

        Raises:
            DrivingError: it cannot; in the node's own words.
        """
        self.driver.configure()
        self.driver.until(
            lambda: all(subscription.get_publisher_count() for subscription in self._recorded),
            DISCOVERY_TIMEOUT_S,
            "the node's topics did not appear",
        )
        self.driver.activate()

    def watch(self, seconds: float, on_progress: Callable[[int], None]) -> None:
        """Record until the source has ended and all it gave is accounted for, or for `seconds` (0: no limit)."""
        deadline = time.monotonic() + seconds if seconds else float("inf")
        settled = float("inf")
        while time.monotonic() < min(deadline, settled):
            self._own.spin()
            self.driver.check_alive()
            on_progress(len(self.published_at))
            if settled == float("inf") and self._is_over():
                settled = time.monotonic() + SETTLE_S
            if self._is_over() and self._has_everything():
                return

    def _is_over(self) -> bool:
        return self.driver.diagnostics.get("source_state") == "finished" and self.driver.is_idle

    def _has_everything(self) -> bool:
        pictures_wanted = len(self._recorded) > 1
        return len(self.published_at) >= self.driver.count("frames_processed") and (
            not pictures_wanted or self.annotated >= len(self.published_at)
        )

    def _on_detections(self, raw: bytes, info: Mapping[str, int]) -> None:
        published = int(info["source_timestamp"])
        self.published_at.append(published)
        self.ages.append((published - stamp_of(raw)) / 1e9)
        self._sink(self.driver.topic("detections"), published, raw)

    def _on_annotated(self, raw: bytes, info: Mapping[str, int]) -> None:
        self.annotated += 1
        self._sink(self.driver.topic("image_annotated/compressed"), int(info["source_timestamp"]), raw)

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        self._own.__exit__()


def percentile_ms(seconds: list[float], percentile: float) -> float | None:
    """A percentile in ms; None without values."""
    return round(float(np.percentile(seconds, percentile)) * 1e3, 2) if seconds else None
