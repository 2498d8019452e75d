"""A ROS node that drives the perception node's lifecycle and keeps what it publishes."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.ros.demo import DemoError
from gaussian_yolo_node.ros.demo.node_process import NodeProcess

# Loading a model takes seconds; a node that has not answered by then never will.
TRANSITION_TIMEOUT_S = 60.0
DISCOVERY_TIMEOUT_S = 20.0
# After the source's end: how long the last messages may be on their way.
SETTLE_S = 2.0

Sink = Callable[[str, int, bytes], None]


class Observer:
    """Subscribes to a perception node's outputs before it starts, so that nothing of the run is missed.

    Args:
        node_name: fully qualified name of the perception node.
        sink: called with (topic, publication time in ns, serialised message) for each recorded message.
        annotated: subscribe to the compressed annotated frames too, which makes the node draw them.

    Attributes:
        diagnostics: the latest key/values of the node's status.
        status: the latest message of its status.
        published_at: ns since the epoch, a value a detections message, in order of arrival.
        ages: s from each frame's stamp to its detections' publication.
        annotated: number of annotated frames received.
    """

    def __init__(self, node_name: str, sink: Sink, *, annotated: bool) -> None:
        self._context = Context()
        rclpy.init(context=self._context)
        self._node = rclpy.create_node("demo_observer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._sink = sink
        self._name = node_name
        self.diagnostics: dict[str, str] = {}
        self.status = ""
        self.published_at: list[int] = []
        self.ages: list[float] = []
        self.annotated = 0
        self._change_state = self._node.create_client(ChangeState, f"{node_name}/change_state")
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._recorded = [self._record(Detection2DArray, "detections", self._on_detections)]
        if annotated:
            self._recorded.append(self._record(CompressedImage, "image_annotated/compressed", self._on_annotated))

    def topic(self, name: str) -> str:
        """Full name of one of the node's topics."""
        return f"{self._name}/{name}"

    # rclpy's types know raw callbacks without message info only.
    def _record(self, kind: type, name: str, callback: Any) -> Any:
        # Raw: the recorder must not compete with the node for the processor.
        return self._node.create_subscription(kind, self.topic(name), callback, QoSProfile(depth=100), raw=True)

    def configure(self, process: NodeProcess) -> None:
        """Have the node load its model. DemoError with the node's own words if it cannot."""
        self._transition(Transition.TRANSITION_CONFIGURE, process)

    def activate(self, process: NodeProcess) -> None:
        """Have the node start, once it is known to reach us."""
        self._spin_until(
            lambda: all(subscription.get_publisher_count() for subscription in self._recorded),
            DISCOVERY_TIMEOUT_S,
            process,
            "the node's topics did not appear",
        )
        self._transition(Transition.TRANSITION_ACTIVATE, process)

    def watch(self, process: NodeProcess, seconds: float, on_progress: Callable[[int], None]) -> None:
        """Record until the source has ended and all it gave is accounted for, or for `seconds` (0: no limit)."""
        deadline = time.monotonic() + seconds if seconds else float("inf")
        settled = float("inf")
        while time.monotonic() < min(deadline, settled):
            self._executor.spin_once(timeout_sec=0.05)
            process.check_alive()
            on_progress(len(self.published_at))
            if settled == float("inf") and self._is_over():
                settled = time.monotonic() + SETTLE_S
            if self._is_over() and self._has_everything():
                return

    def count(self, key: str) -> int:
        """A counter of the node's diagnostics."""
        return int(self.diagnostics.get(key) or 0)

    def _is_over(self) -> bool:
        if self.diagnostics.get("source_state") != "finished":
            return False
        done = sum(self.count(key) for key in ("frames_processed", "frames_dropped", "frames_skipped"))
        return done >= self.count("frames_received")

    def _has_everything(self) -> bool:
        pictures_wanted = len(self._recorded) > 1
        return len(self.published_at) >= self.count("frames_processed") and (
            not pictures_wanted or self.annotated >= len(self.published_at)
        )

    def _transition(self, transition: int, process: NodeProcess) -> None:
        self._spin_until(self._change_state.service_is_ready, DISCOVERY_TIMEOUT_S, process, "the node did not come up")
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(id=transition)))
        self._spin_until(future.done, TRANSITION_TIMEOUT_S, process, "the node did not answer")
        response = future.result()
        if response is None or not response.success:
            self._executor.spin_once(timeout_sec=0.5)
            raise DemoError(self.diagnostics.get("last_error") or self.status or "the node refused to start")

    def _spin_until(self, condition: Callable[[], bool], timeout: float, process: NodeProcess, complaint: str) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise DemoError(f"{complaint} within {timeout:.0f} s")
            process.check_alive()
            self._executor.spin_once(timeout_sec=0.05)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith(self._name):
                self.status = status.message
                self.diagnostics = {item.key: item.value for item in status.values}

    def _on_detections(self, raw: bytes, info: Mapping[str, int]) -> None:
        published = int(info["source_timestamp"])
        self.published_at.append(published)
        self.ages.append((published - stamp_of(raw)) / 1e9)
        self._sink(self.topic("detections"), published, raw)

    def _on_annotated(self, raw: bytes, info: Mapping[str, int]) -> None:
        self.annotated += 1
        self._sink(self.topic("image_annotated/compressed"), int(info["source_timestamp"]), raw)

    def close(self) -> None:
        """Leave ROS."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def stamp_of(raw: bytes) -> int:
    """header.stamp, ns, of a serialised message that starts with a std_msgs/Header (little-endian CDR)."""
    seconds, nanoseconds = struct.unpack_from("<iI", raw, 4)
    return int(seconds * 1_000_000_000 + nanoseconds)


def percentile_ms(seconds: list[float], percentile: float) -> float | None:
    """A percentile in ms; None without values."""
    return round(float(np.percentile(seconds, percentile)) * 1e3, 2) if seconds else None
