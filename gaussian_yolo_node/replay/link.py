"""The connection between a replay and its node: starts or finds the node, activates it, and joins the topics."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from vision_msgs.msg import Detection2DArray, Detection3DArray

from gaussian_yolo_node.replay import ReplayOptions
from gaussian_yolo_node.replay.frames import Selection
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.driver import DISCOVERY_TIMEOUT_S, NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess, installed_fastdds_environment
from gaussian_yolo_node.ros.driving.own_node import OwnNode

LOG_FILE = "node.log"
# Discovery of an active node and all its topics takes less than this.
LISTEN_TIMEOUT_S = 5.0
# Namespace of a node that the replay starts.
_NAMESPACE = "/replay"
# Average precision needs the low scores, too.
_LEAST_SCORE_FOR_TRUTH = 0.005
# Interval of the node's reports, s; a failed frame is known after the next one.
_REPORT_PERIOD_S = 0.1
# Queue of answers that arrive while a frame is published.
_ANSWERS_DEPTH = 100


class NodeLink:
    """Publishes serialised images, the camera's matrix and /clock, and passes on the node's detections and places.

    Args:
        own: the replay's own node.
        driver: controls the perception node.
        selection: the images.
        reliable: every image must arrive; otherwise images use a camera's QoS, and a late one is overwritten.
        places: whether the node computes places, which it does only for subscribers.

    Attributes:
        on_answer: called with each serialised detections message and its arrival time, monotonic ns.
        on_places: called with each serialised message of places.
        image_topic: topic of the images, after remapping.
        notes: irregularities, one sentence each.
    """

    def __init__(self, own: OwnNode, driver: NodeDriver, selection: Selection, *, reliable: bool, places: bool) -> None:
        self.own = own
        self.driver = driver
        self.on_answer: Callable[[bytes, int], None] = lambda raw, arrived_ns: None
        self.on_places: Callable[[bytes], None] = lambda raw: None
        self.image_topic = str(own.node.resolve_topic_name(selection.target))
        self.notes: list[str] = []
        self._selection = selection
        self._reliable = reliable
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
        self._places: Any = None
        self._camera_info: Any = None
        if places:
            self._places = own.node.create_subscription(
                Detection3DArray,
                driver.topic("detections_3d"),
                self._receive_places,
                QoSProfile(depth=_ANSWERS_DEPTH),
                raw=True,
            )
            if selection.camera_info:
                self._camera_info = own.node.create_publisher(CameraInfo, selection.camera_info, QoSProfile(depth=10))

    @property
    def answer_topic(self) -> str:
        """Topic of the detections, after remapping."""
        return str(self._answers.topic_name)

    @property
    def places_topic(self) -> str:
        """Topic of the places, after remapping; empty if the node computes none."""
        return "" if self._places is None else str(self._places.topic_name)

    @property
    def node_is_there(self) -> bool:
        """Whether the detections topic has a publisher."""
        return bool(self._answers.get_publisher_count())

    def connect(self) -> None:
        """Wait until images and answers are connected.

        Raises:
            DrivingError: the node does not subscribe, or another publisher sends images on the topic.
        """
        node, driver = self.own.node, self.driver
        if not driver.holds(lambda: self._listener() is not None, LISTEN_TIMEOUT_S):
            raise DrivingError(
                f"node {driver.name} takes its images from {driver.diagnostics.get('source') or 'nowhere'}, not from "
                f"{self.image_topic}: bring them together with --remap, or with the node's parameter 'image_topic'"
            )
        if node.count_publishers(self.image_topic):
            raise DrivingError(
                f"another node publishes on {self.image_topic}, too: stop it, or replay in a ROS_DOMAIN_ID of its own"
            )
        kind = CompressedImage if self._selection.compressed else Image
        self._images = node.create_publisher(kind, self._selection.target, self._qos())
        driver.until(
            lambda: (
                self._images.get_subscription_count() > 0
                and self.node_is_there
                and (self._camera_info is None or self._camera_info.get_subscription_count() > 0)
            ),
            DISCOVERY_TIMEOUT_S,
            f"node {driver.name} and the replay did not find each other",
        )

    def _listener(self) -> Any:
        """The node's subscription to the images; None if it has none."""
        for listener in self.own.node.get_subscriptions_info_by_topic(self.image_topic):
            if f"{listener.node_namespace.rstrip('/')}/{listener.node_name}" == self.driver.name:
                return listener
        return None

    def _qos(self) -> QoSProfile:
        """QoS of the images: as requested, if compatible with the node's subscription."""
        listens_reliably = self._listener().qos_profile.reliability == QoSReliabilityPolicy.RELIABLE
        if self._reliable and not listens_reliably:
            self.notes.append(
                f"node {self.driver.name} subscribes best effort: an image that is lost on its way counts as failed; "
                "set its parameter 'reliability'"
            )
        reliable = self._reliable or listens_reliably
        reliability = QoSReliabilityPolicy.RELIABLE if reliable else QoSReliabilityPolicy.BEST_EFFORT
        return QoSProfile(depth=1, reliability=reliability)

    def tick(self, sim_ns: int) -> None:
        """Publish the time in ns; the time never runs backwards and is never repeated."""
        if sim_ns > self._clock_ns:
            self._clock_ns = sim_ns
            seconds, nanoseconds = divmod(sim_ns, 1_000_000_000)
            self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def send(self, raw: bytes) -> None:
        """Publish a serialised image."""
        self._images.publish(raw)

    def send_camera_info(self, raw: bytes) -> None:
        """Publish the camera's serialised matrix, if the node computes places."""
        if self._camera_info is not None:
            self._camera_info.publish(raw)

    def close(self) -> None:
        """Destroy the publishers and the subscriptions."""
        node = self.own.node
        for publisher in (self._images, self._camera_info, self._clock):
            if publisher is not None:
                node.destroy_publisher(publisher)
        for subscription in (self._answers, self._places):
            if subscription is not None:
                node.destroy_subscription(subscription)

    def _receive_timed(self, raw: bytes, info: Mapping[str, int]) -> None:
        # Use the time of reception by the middleware: a delay in this process does not make the answer older.
        waited_ns = max(0, time.time_ns() - info["received_timestamp"]) if info["received_timestamp"] else 0
        self.on_answer(raw, time.monotonic_ns() - waited_ns)

    def _receive_places(self, raw: Any) -> None:
        self.on_places(raw)

    def _receive(self, raw: bytes) -> None:
        self.on_answer(raw, time.monotonic_ns())


def prepare_environment(*, private: bool) -> None:
    """Set the shipped transport profile for this process, before ROS starts.

    Args:
        private: use a separate ROS domain, unless the user has chosen one.
    """
    for name, value in installed_fastdds_environment().items():
        os.environ.setdefault(name, value)
    if private:
        # A separate domain keeps other cameras out of the replay, and the replay's images away from other nodes.
        os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@contextmanager
def open_link(options: ReplayOptions, selection: Selection, own: OwnNode | None) -> Iterator[NodeLink]:
    """A link to a node that takes the selected images; a node started here is ended on leaving.

    Args:
        own: an existing node for the replay, instead of a new one.

    Raises:
        DrivingError: the node cannot be started, refuses its parameters, or does not subscribe.
    """
    parameters = _parameters(options, selection)
    with _nodes(options, parameters, own) as (ours, driver):
        _bring_to_life(options, driver, parameters)
        places = bool(options.parameters.get("position"))
        link = NodeLink(ours, driver, selection, reliable=options.mode == "lockstep", places=places)
        with closing(link):
            link.connect()
            yield link


def _parameters(options: ReplayOptions, selection: Selection) -> dict[str, Any]:
    """Node parameters: the replay as input, and the user's settings."""
    values: dict[str, Any] = {
        "source": "",
        "image_topic": selection.target,
        "image_transport": "compressed" if selection.compressed else "raw",
        "reliability": "reliable" if options.mode == "lockstep" else "best_effort",
        # The node uses the bag's clock: by today's clock the frames would be as old as the bag.
        "use_sim_time": True,
    }
    if options.mode == "lockstep":
        values["input_size"] = "card"  # the same canvas, and so the same detections, on every machine
        if selection.has_truth:
            values["score_threshold"] = _LEAST_SCORE_FOR_TRUTH
    return {**values, **options.parameters}


@contextmanager
def _nodes(
    options: ReplayOptions, parameters: Mapping[str, Any], own: OwnNode | None
) -> Iterator[tuple[OwnNode, NodeDriver]]:
    """The replay's own node and a driver of the perception node, which is started unless one is named."""
    remaps = [word for remap in options.remaps for word in ("-r", remap)]
    arguments = ["--ros-args", *remaps] if remaps else []
    if options.node:
        with (
            OwnNode("replay", arguments) if own is None else nullcontext(own) as ours,
            closing(NodeDriver(ours, options.node)) as driver,
        ):
            yield ours, driver
        return
    settings = {**parameters, "autostart": False, "diagnostics_period": _REPORT_PERIOD_S}
    with (
        NodeProcess(_NAMESPACE, settings, options.output / LOG_FILE, options.remaps) as process,
        OwnNode("replay", arguments) as ours,
    ):
        yield ours, NodeDriver(ours, process.name, process)


def _bring_to_life(options: ReplayOptions, driver: NodeDriver, parameters: Mapping[str, Any]) -> None:
    """Bring the node to the active state; an active node keeps all parameters that the user does not set."""
    state = driver.state()
    if options.node:
        driver.set_parameters(options.parameters if state == "active" else parameters)
    if state == "unconfigured":
        driver.configure()
    if state != "active":
        driver.activate()
