"""What the node says when it sees nothing, or too little: each level on /diagnostics is reached and left again."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from factories import make_image, make_model, slow_inference

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.qos import QoSProfile, QoSReliabilityPolicy
from ros.given import ERROR, OK, WARN
from ros.harness import REPOSITORY, Ros
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from gaussian_yolo_node.frames.files import FileSource
from gaussian_yolo_node.ros import diagnostics, inputs
from gaussian_yolo_node.ros.messages import image_to_compressed, image_to_message

BEST_EFFORT = QoSProfile(depth=1, reliability=QoSReliabilityPolicy.BEST_EFFORT)
NO_IMAGE = {"encoding": "nv24", "data": array("B", b"123")}


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is reported after a tenth of its time, and rates cover a fifth of theirs."""
    monkeypatch.setattr(inputs, "_SILENCE_S", 0.3)
    monkeypatch.setattr(diagnostics, "WINDOW_S", 1.0)


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


class Driver:
    """Publishes what `message` gives for now on a topic."""

    def __init__(
        self,
        ros: Ros,
        message: Callable[[Ros], Any] | None = None,
        kind: type = Image,
        topic: str = "/image",
        qos: QoSProfile | int = 1,
    ) -> None:
        self._ros = ros
        self._publisher = ros.observer.create_publisher(kind, topic, qos)
        self._timer: Any = None
        if message is not None:
            self.publish(message)

    def publish(self, message: Callable[[Ros], Any], hz: float = 30.0) -> None:
        self.pause()
        self._timer = self._ros.observer.create_timer(1 / hz, lambda: self._publisher.publish(message(self._ros)))

    def pause(self) -> None:
        if self._timer is not None:
            self._ros.observer.destroy_timer(self._timer)

    def leave(self) -> None:
        self.pause()
        self._ros.observer.destroy_publisher(self._publisher)


class TestNothingIsSeen:
    """Each way has its sentence, with what mends it."""

    def test_no_publisher(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, image_topic="/image")
        ros.until_status(WARN, "no image on /image for", "input")
        ros.until_status(WARN, "nothing publishes it; there are no topics of images: set image_topic")

    @pytest.mark.parametrize(
        ("topic", "qos", "parameters", "words"),
        [
            ("/front/image", 1, {}, "nothing publishes it; images are on /front/image: set image_topic"),
            (
                "/image",
                BEST_EFFORT,
                {"reliability": "reliable"},
                "best effort, the subscription is reliable: set reliability to best_effort",
            ),
            ("/image", BEST_EFFORT, {}, "1 publisher (/observer; best effort) sends nothing: check the camera"),
        ],
        ids=["another namespace", "quality of service", "sends nothing"],
    )
    def test_a_publisher_that_does_not_reach_it(
        self, ros: Ros, tiny_model: Path, topic: str, qos: QoSProfile | int, parameters: dict[str, Any], words: str
    ) -> None:
        driver = Driver(ros, topic=topic, qos=qos)
        ros.active(tiny_model, image_topic="/image", **parameters)
        ros.until_status(WARN, words)
        if topic == "/image" and not parameters:
            driver.publish(picture)
            ros.until_status(OK, "topic")

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
        ros.active(tiny_model, image_topic="/image", image_transport=transport)
        ros.until_status(WARN, words)
        camera.destroy_node()
        context.try_shutdown()

    def test_simulated_time_without_a_clock(self, ros: Ros, tiny_model: Path) -> None:
        Driver(ros, picture)
        ros.active(tiny_model, image_topic="/image", use_sim_time=True)
        ros.until_status(WARN, "use_sim_time is true and nothing publishes /clock", "input")
        Driver(ros, lambda ros: Clock(clock=ros.observer.get_clock().now().to_msg()), Clock, "/clock")
        ros.until_status(OK, "topic")

    def test_a_camera_that_is_not_there(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, source="97")
        ros.until_status(ERROR, "camera 97 cannot be opened", "input")


@pytest.mark.parametrize(
    ("parameters", "wrong", "hz", "part", "level", "words"),
    [
        ({}, {"header": Header()}, 30, "input", WARN, "stamps of zero"),
        ({}, {"skew_s": 5.0}, 30, "input", WARN, "ahead of this node's clock"),
        ({}, {"skew_s": -100.0}, 30, "input", WARN, "100 s old: set the clocks in step"),
        ({"min_rate": 20.0}, {}, 5, "input", WARN, "fewer than min_rate, 20 Hz"),
        ({}, NO_IMAGE, 30, "detector", ERROR, "encoding 'nv24' is not supported: publish one of bgr8"),
        ({"max_age": 1.0}, {"skew_s": -3.0}, 30, "output", WARN, "more than max_age, 1 s"),
    ],
    ids=["stamps of zero", "clock ahead", "clock behind", "too few", "encoding", "old detections"],
)
def test_wrong_images_and_then_right_ones(
    ros: Ros,
    tiny_model: Path,
    parameters: dict[str, Any],
    wrong: dict[str, Any],
    hz: float,
    part: str,
    level: bytes,
    words: str,
) -> None:
    driver = Driver(ros)
    ros.active(tiny_model, image_topic="/image", **parameters)
    driver.publish(lambda ros: picture(ros, **wrong), hz)
    ros.until_status(level, words, part)
    driver.publish(picture, hz=40)
    well = {"input": "topic", "detector": "tiny on canvas 64x96", "output": "frames published"}
    ros.until_status(OK, well[part], part)


@pytest.mark.parametrize(
    ("first", "then"),
    [("/image", "/image"), ("/image", "/image/compressed"), ("/image/compressed", "/image")],
    ids=["the same", "to jpeg", "to raw"],
)
def test_a_publisher_that_comes_back(ros: Ros, tiny_model: Path, first: str, then: str) -> None:
    ros.active(tiny_model, image_topic="/image")
    for topic in (first, then):
        compressed = topic.endswith("/compressed")
        driver = Driver(ros, jpeg, CompressedImage, topic) if compressed else Driver(ros, picture, topic=topic)
        ros.until_status(OK, "topic", "input")
        driver.leave()
        ros.until_status(WARN, "nothing publishes it", "input")


def test_a_reader_that_fails(ros: Ros, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(FileSource, "read", fail)
    ros.active(tiny_model, source=str(folder))
    ros.until_status(ERROR, "internal error: RuntimeError('out of order')", "input")


def test_a_slow_detector(ros: Ros, tmp_path: Path) -> None:
    driver = Driver(ros)
    node = ros.active(slow_inference(make_model(tmp_path / "slow.onnx")), image_topic="/image", threads=1)
    driver.publish(picture, hz=60)
    ros.until_status(WARN, "of the frames are dropped, more than max_dropped, 10 %", "detector")
    ros.until_status(WARN, "dropped")
    driver.publish(picture, hz=2)
    ros.until_status(OK, "on canvas", "detector")
    assert node.get_parameter("max_dropped").value == 0.1


def test_every_status_has_the_camera_as_hardware_and_is_in_one_group_of_the_aggregator(
    ros: Ros, tiny_model: Path
) -> None:
    file = REPOSITORY / "launch" / "config" / "diagnostic_aggregator.yaml"
    groups = yaml.safe_load(file.read_text())["analyzers"]["ros__parameters"]
    wanted = [text for group in groups.values() if isinstance(group, dict) for text in group["contains"]]
    ros.active(tiny_model, image_topic="/front/image")
    ros.until_status(WARN, "no image")
    ros.until(lambda: len({status.name for status in ros.parts}) == 3, "all parts")
    for status in (*ros.statuses, *ros.parts):
        assert status.hardware_id == "/front/image"
        assert sum(text in status.name for text in wanted) == 1, status.name


@pytest.mark.parametrize("on_end", ["keep", "shutdown"])
def test_the_end_of_a_source(ros: Ros, tiny_model: Path, folder: Path, on_end: str) -> None:
    node = ros.active(tiny_model, source=str(folder), playback="fastest", on_end=on_end)
    for _ in range(3):
        ros.until_status(OK, "finished")
    assert node._stopping.is_set() == (on_end == "shutdown")
