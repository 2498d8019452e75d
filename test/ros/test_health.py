"""What the node says when it sees nothing, or too little: each level on /diagnostics is reached and left again."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from factories import make_image, make_model, slow_inference

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import cv2
import rclpy
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from ros.harness import REPOSITORY, Ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from gaussian_yolo_node.frames.files import FileSource
from gaussian_yolo_node.ros import diagnostics, inputs
from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
BEST_EFFORT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is reported after a tenth of its time, and rates cover a fifth of theirs."""
    monkeypatch.setattr(inputs, "_SILENCE_S", 0.3)
    monkeypatch.setattr(diagnostics, "WINDOW_S", 1.0)


def start(ros: Ros, model: Path, **parameters: Any) -> Any:
    node = ros.node(model=str(model), **parameters)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    return node


def picture(ros: Ros, skew_s: float = 0.0, **fields: Any) -> Image:
    """An image stamped by the clock of the tests, changed by `skew_s`."""
    now = ros.observer.get_clock().now().nanoseconds + int(skew_s * 1e9)
    header = Header(frame_id="front")
    header.stamp.sec, header.stamp.nanosec = divmod(now, 1_000_000_000)
    message = image_to_message(make_image(), header)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def jpeg(ros: Ros) -> CompressedImage:
    return image_to_compressed(make_image(), picture(ros).header)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cv2.imwrite(str(tmp_path / "0.png"), make_image())
    return tmp_path


def keep_publishing(ros: Ros, publisher: Any, message: Callable[[], Any], hz: float = 30.0) -> Any:
    return ros.observer.create_timer(1 / hz, lambda: publisher.publish(message()))


class TestNothingIsSeen:
    """Eight ways; each has its sentence, with what mends it."""

    def test_no_publisher(self, ros: Ros, tiny_model: Path) -> None:
        start(ros, tiny_model, image_topic="/image")
        ros.until_status(WARN, "no image on /image for", "input")
        ros.until_status(WARN, "nothing publishes it; there are no topics of images: set image_topic")

    def test_another_namespace(self, ros: Ros, tiny_model: Path) -> None:
        ros.observer.create_publisher(Image, "/front/image", 1)
        start(ros, tiny_model, image_topic="/image")
        ros.until_status(WARN, "nothing publishes it; images are on /front/image: set image_topic")

    @pytest.mark.parametrize(
        ("kind", "transport", "words"),
        [
            (String, "auto", "sends std_msgs/msg/String, not images: set image_topic"),
            (CompressedImage, "raw", "sends sensor_msgs/msg/CompressedImage: set image_transport to auto"),
        ],
    )
    def test_a_wrong_type(self, ros: Ros, tiny_model: Path, kind: type, transport: str, words: str) -> None:
        # In a context of its own: Fast DDS refuses two types of one name in a participant.
        context = rclpy.Context()
        rclpy.init(context=context)
        camera = rclpy.create_node("camera", context=context)
        camera.create_publisher(kind, "/image", 1)
        start(ros, tiny_model, image_topic="/image", image_transport=transport)
        ros.until_status(WARN, words)
        camera.destroy_node()
        context.try_shutdown()

    def test_quality_of_service(self, ros: Ros, tiny_model: Path) -> None:
        ros.observer.create_publisher(Image, "/image", BEST_EFFORT)
        start(ros, tiny_model, image_topic="/image", reliability="reliable")
        ros.until_status(WARN, "best effort, the subscription is reliable: set reliability to best_effort")

    def test_a_publisher_that_sends_nothing(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", BEST_EFFORT)
        start(ros, tiny_model, image_topic="/image")
        ros.until_status(WARN, "1 publisher (/observer; best effort) sends nothing: check the camera")
        keep_publishing(ros, publisher, lambda: picture(ros))
        ros.until_status(OK, "topic")

    def test_an_encoding(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", 1)
        start(ros, tiny_model, image_topic="/image")
        timer = keep_publishing(ros, publisher, lambda: picture(ros, encoding="nv24", data=array("B", b"123")))
        ros.until_status(ERROR, "encoding 'nv24' is not supported: publish one of bgr8", "detector")
        ros.observer.destroy_timer(timer)
        keep_publishing(ros, publisher, lambda: picture(ros))
        ros.until_status(OK, "tiny on canvas 64x96", "detector")

    def test_stamps_of_zero(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", 1)
        start(ros, tiny_model, image_topic="/image")
        keep_publishing(ros, publisher, lambda: picture(ros, header=Header()))
        ros.until_status(WARN, "stamps of zero", "input")

    def test_simulated_time_without_a_clock(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", 1)
        start(ros, tiny_model, image_topic="/image", use_sim_time=True)
        keep_publishing(ros, publisher, lambda: picture(ros))
        ros.until_status(WARN, "use_sim_time is true and nothing publishes /clock", "input")
        clock = ros.observer.create_publisher(Clock, "/clock", 1)
        keep_publishing(ros, clock, lambda: Clock(clock=ros.observer.get_clock().now().to_msg()))
        ros.until_status(OK, "topic")

    def test_a_camera_that_is_not_there(self, ros: Ros, tiny_model: Path) -> None:
        start(ros, tiny_model, source="97")
        ros.until_status(ERROR, "camera 97 cannot be opened", "input")


@pytest.mark.parametrize(
    ("skew_s", "words"), [(5.0, "ahead of this node's clock"), (-100.0, "100 s old: set the clocks in step")]
)
def test_a_skewed_clock(ros: Ros, tiny_model: Path, skew_s: float, words: str) -> None:
    publisher = ros.observer.create_publisher(Image, "/image", 1)
    start(ros, tiny_model, image_topic="/image")
    timer = keep_publishing(ros, publisher, lambda: picture(ros, skew_s))
    ros.until_status(WARN, words, "input")
    ros.observer.destroy_timer(timer)
    keep_publishing(ros, publisher, lambda: picture(ros))
    ros.until_status(OK, "topic", "input")


def test_a_publisher_that_goes_away(ros: Ros, tiny_model: Path) -> None:
    publisher = ros.observer.create_publisher(Image, "/image", 1)
    start(ros, tiny_model, image_topic="/image")
    timer = keep_publishing(ros, publisher, lambda: picture(ros))
    ros.until_status(OK, "topic", "input")
    ros.observer.destroy_timer(timer)
    ros.observer.destroy_publisher(publisher)
    ros.until_status(WARN, "nothing publishes it", "input")
    keep_publishing(ros, ros.observer.create_publisher(Image, "/image", 1), lambda: picture(ros))
    ros.until_status(OK, "topic", "input")


@pytest.mark.parametrize(
    ("first", "then"), [("/image", "/image/compressed"), ("/image/compressed", "/image")], ids=["to jpeg", "to raw"]
)
def test_a_publisher_that_comes_back_with_another_type(ros: Ros, tiny_model: Path, first: str, then: str) -> None:
    start(ros, tiny_model, image_topic="/image")
    for topic in (first, then):
        compressed = topic.endswith("/compressed")
        publisher = ros.observer.create_publisher(CompressedImage if compressed else Image, topic, 1)
        timer = keep_publishing(ros, publisher, lambda: jpeg(ros) if compressed else picture(ros))  # noqa: B023
        ros.until_status(OK, "topic", "input")
        ros.observer.destroy_timer(timer)
        ros.observer.destroy_publisher(publisher)
        ros.until_status(WARN, "nothing publishes it", "input")


def test_a_reader_that_fails(ros: Ros, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(FileSource, "read", fail)
    start(ros, tiny_model, source=str(folder))
    ros.until_status(ERROR, "internal error: RuntimeError('out of order')", "input")


def test_a_slow_detector(ros: Ros, tmp_path: Path) -> None:
    model = slow_inference(make_model(tmp_path / "slow.onnx"))
    publisher = ros.observer.create_publisher(Image, "/image", 1)
    node = start(ros, model, image_topic="/image", threads=1)
    timer = keep_publishing(ros, publisher, lambda: picture(ros), hz=60)
    ros.until_status(WARN, "of the frames are dropped, more than max_dropped, 10 %", "detector")
    ros.until_status(WARN, "dropped")
    ros.observer.destroy_timer(timer)
    keep_publishing(ros, publisher, lambda: picture(ros), hz=2)
    ros.until_status(OK, "on canvas", "detector")
    assert node.get_parameter("max_dropped").value == 0.1


def test_old_detections(ros: Ros, tiny_model: Path) -> None:
    publisher = ros.observer.create_publisher(Image, "/image", 1)
    start(ros, tiny_model, image_topic="/image", max_age=1.0)
    timer = keep_publishing(ros, publisher, lambda: picture(ros, -3.0))
    ros.until_status(WARN, "more than max_age, 1 s", "output")
    ros.observer.destroy_timer(timer)
    keep_publishing(ros, publisher, lambda: picture(ros))
    ros.until_status(OK, "frames published", "output")


def test_too_few_images(ros: Ros, tiny_model: Path) -> None:
    publisher = ros.observer.create_publisher(Image, "/image", 1)
    start(ros, tiny_model, image_topic="/image", min_rate=20.0)
    timer = keep_publishing(ros, publisher, lambda: picture(ros), hz=5)
    ros.until_status(WARN, "fewer than min_rate, 20 Hz", "input")
    ros.observer.destroy_timer(timer)
    keep_publishing(ros, publisher, lambda: picture(ros), hz=40)
    ros.until_status(OK, "topic", "input")


def test_the_camera_is_the_hardware(ros: Ros, tiny_model: Path) -> None:
    start(ros, tiny_model, image_topic="/front/image")
    ros.until_status(WARN, "no image")
    ros.until(lambda: len({status.name for status in ros.parts}) == 3, "all parts")
    assert {status.hardware_id for status in (*ros.statuses, *ros.parts)} == {"/front/image"}


def test_the_aggregators_groups_hold_every_status_once(ros: Ros, tiny_model: Path) -> None:
    file = REPOSITORY / "launch" / "config" / "diagnostic_aggregator.yaml"
    groups = yaml.safe_load(file.read_text())["analyzers"]["ros__parameters"]
    wanted = [text for group in groups.values() if isinstance(group, dict) for text in group["contains"]]
    start(ros, tiny_model, image_topic="/front/image")
    ros.until(lambda: ros.statuses and len({status.name for status in ros.parts}) == 3, "all parts")
    for status in (*ros.statuses, *ros.parts):
        assert sum(text in status.name for text in wanted) == 1, status.name


@pytest.mark.parametrize("on_end", ["keep", "shutdown"])
def test_the_end_of_a_source(ros: Ros, tiny_model: Path, tmp_path: Path, on_end: str) -> None:
    import threading

    from gaussian_yolo_node.ros.node import PerceptionNode

    cv2.imwrite(str(tmp_path / "0.png"), make_image())
    from rclpy.parameter import Parameter

    stopping = threading.Event()
    values = {"model": str(tiny_model), "source": str(tmp_path), "on_end": on_end, "diagnostics_period": 0.1}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    ros.add(PerceptionNode(stopping, context=ros.context, parameter_overrides=overrides))
    ros.until_status(OK, "finished")
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline and not stopping.is_set():
        ros.executor.spin_once(timeout_sec=0.05)
    assert stopping.is_set() == (on_end == "shutdown")
