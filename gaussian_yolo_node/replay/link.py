"""The topics between a replay and the node: images and the clock out, detections in."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.bags import COMPRESSED_IMAGE
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.driver import DISCOVERY_TIMEOUT_S, NodeDriver
from gaussian_yolo_node.ros.driving.own_node import OwnNode

# Discovery of an active node and all its topics takes less than this.
LISTEN_TIMEOUT_S = 5.0
# Queue of answers that arrive while a frame is published.
_ANSWERS_DEPTH = 100


# Called with a serialised detections message and its arrival time, monotonic ns.
AnswerHandler = Callable[[bytes, int], None]


class NodeLink:
    """Publishes serialised images and /clock, and passes on the node's detections.

    Args:
        own: the replay's own node.
        driver: controls the perception node.
        topic: topic of the images, before remapping.
        kind: message type of the images.
        reliable: every image must arrive; otherwise images use a camera's QoS, and a late one is overwritten.

    Attributes:
        image_topic: topic of the images, after remapping.
        notes: irregularities, one sentence each.
    """

    def __init__(self, own: OwnNode, driver: NodeDriver, topic: str, kind: str, *, reliable: bool) -> None:
        self._own = own
        self._driver = driver
        self._topic = topic
        self._kind = CompressedImage if kind == COMPRESSED_IMAGE else Image
        self._reliable = reliable
        self._on_answer: AnswerHandler | None = None
        self.image_topic = str(own.node.resolve_topic_name(topic))
        self.notes: list[str] = []
        self._images: Any = None
        self._clock = own.node.create_publisher(Clock, "/clock", QoSProfile(depth=1))
        self._clock_ns = -1
        # ROS 2 Humble passes the message without its info.
        numbered = hasattr(Subscription, "CallbackType")
        receive: Callable[..., None] = self._receive_timed if numbered else self._receive
        # Raw, because decoding would delay frames.
        self._answers: Any = own.node.create_subscription(
            Detection2DArray, driver.topic("detections"), receive, QoSProfile(depth=_ANSWERS_DEPTH), raw=True
        )

    @property
    def answer_topic(self) -> str:
        """Topic of the detections, after remapping."""
        return str(self._answers.topic_name)

    @property
    def node_is_there(self) -> bool:
        """Whether the detections topic has a publisher."""
        return bool(self._answers.get_publisher_count())

    def connect(self) -> None:
        """Wait until images and answers are connected.

        Raises:
            DrivingError: the node does not subscribe, or another publisher sends images on the topic.
        """
        if not self._driver.holds(lambda: self._listener() is not None, LISTEN_TIMEOUT_S):
            raise DrivingError(
                f"node {self._driver.name} takes its images from "
                f"{self._driver.diagnostics.get('source') or 'nowhere'}, not from {self.image_topic}: bring them "
                "together with --remap, or with the node's parameter 'image_topic'"
            )
        if self._own.node.count_publishers(self.image_topic):
            raise DrivingError(
                f"somebody else publishes on {self.image_topic}, too: stop it, or replay in a ROS_DOMAIN_ID of its own"
            )
        self._images = self._own.node.create_publisher(self._kind, self._topic, self._qos())
        self._driver.until(
            lambda: self._images.get_subscription_count() > 0 and self.node_is_there,
            DISCOVERY_TIMEOUT_S,
            f"node {self._driver.name} and the replay did not find each other",
        )

    def _listener(self) -> Any:
        """The node's subscription to the images; None if it has none."""
        for listener in self._own.node.get_subscriptions_info_by_topic(self.image_topic):
            if f"{listener.node_namespace.rstrip('/')}/{listener.node_name}" == self._driver.name:
                return listener
        return None

    def _qos(self) -> QoSProfile:
        """QoS of the images: as requested, if compatible with the node's subscription."""
        listens_reliably = self._listener().qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
        if self._reliable and not listens_reliably:
            self.notes.append(
                f"node {self._driver.name} subscribes best effort: an image that is lost on its way counts as failed; "
                "its parameter 'reliability' mends it"
            )
        reliable = self._reliable or listens_reliably
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=1, reliability=reliability)

    def hand_answers_to(self, on_answer: AnswerHandler) -> None:
        """Call this with every answer from now on."""
        self._on_answer = on_answer

    def tick(self, sim_ns: int) -> None:
        """Publish the time in ns; the time never runs backwards and is never repeated."""
        if sim_ns > self._clock_ns:
            self._clock_ns = sim_ns
            seconds, nanoseconds = divmod(sim_ns, 1_000_000_000)
            self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def send(self, raw: bytes) -> None:
        """Publish a serialised image."""
        self._images.publish(raw)

    def close(self) -> None:
        """Destroy the publishers and the subscription."""
        node = self._own.node
        if self._images is not None:
            node.destroy_publisher(self._images)
        node.destroy_publisher(self._clock)
        node.destroy_subscription(self._answers)

    def _receive_timed(self, raw: bytes, info: Mapping[str, int]) -> None:
        # Use the time of reception by the middleware: a delay in this process does not make the answer older.
        waited_ns = max(0, time.time_ns() - info["received_timestamp"]) if info["received_timestamp"] else 0
        if self._on_answer is not None:
            self._on_answer(raw, time.monotonic_ns() - waited_ns)

    def _receive(self, raw: bytes) -> None:
        if self._on_answer is not None:
            self._on_answer(raw, time.monotonic_ns())
