from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter

from gaussian_yolo_node.ros import parameters
from gaussian_yolo_node.ros.parameter_table import PARAMETERS, ParameterError


@pytest.fixture
def make_node() -> Iterator[Callable[..., Node]]:
    """Makes plain nodes with start values for parameters."""
    context = rclpy.Context()
    rclpy.init(context=context)
    nodes: list[Node] = []

    def make(**values: Any) -> Node:
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        nodes.append(Node("holder", context=context, parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    context.try_shutdown()


def test_every_parameter_is_declared_and_described(make_node: Callable[..., Node]) -> None:
    node = make_node()
    assert parameters.declare(node) == {}
    for name in PARAMETERS:
        assert node.describe_parameter(name).description.endswith(".")


def test_start_values_are_read(make_node: Callable[..., Node]) -> None:
    node = make_node(source="drive.mp4", score_threshold=0.4, threads=2, variance_vote=True)
    assert parameters.declare(node) == {}
    values = parameters.read(node)
    assert (values.source, values.score_threshold, values.threads) == ("drive.mp4", 0.4, 2)
    assert values.variance_vote is True
    assert values.playback == "realtime"


def test_two_inputs_are_named_without_the_password(make_node: Callable[..., Node]) -> None:
    node = make_node(source="rtsp://driver:secret@camera/stream", image_topic="/image")
    parameters.declare(node)
    with pytest.raises(ParameterError, match=r"driver:\*\*\*@camera") as refused:
        parameters.read(node).check()
    assert "secret" not in str(refused.value)


class TestSecrets:
    """A source's password, which other nodes must not read."""

    def test_cannot_be_read_back_but_is_used(self, make_node: Callable[..., Node]) -> None:
        node = make_node(source="rtsp://me:p@ss@camera/stream")
        assert parameters.declare(node) == {}
        assert node.get_parameter("source").value == "rtsp://me:***@camera/stream"
        assert parameters.read(node).source == "rtsp://me:p@ss@camera/stream"

    @pytest.mark.skipif(not hasattr(Node, "add_pre_set_parameters_callback"), reason="ROS 2 Humble cannot")
    def test_set_later(self, make_node: Callable[..., Node]) -> None:
        node = make_node()
        parameters.declare(node)

        def set_source(source: str) -> tuple[str, str]:
            assert node.set_parameters([Parameter("source", value=source)])[0].successful
            return node.get_parameter("source").value, parameters.read(node).source

        assert set_source("rtsp://me:first@camera") == ("rtsp://me:***@camera", "rtsp://me:first@camera")
        # What a tool has read, it may set again.
        assert set_source("rtsp://me:***@camera") == ("rtsp://me:***@camera", "rtsp://me:first@camera")
        assert set_source("drive.mp4") == ("drive.mp4", "drive.mp4")
        assert set_source("rtsp://me:second@camera") == ("rtsp://me:***@camera", "rtsp://me:second@camera")
        assert not node.set_parameters([Parameter("source", value=3)])[0].successful

    def test_two_nodes_keep_their_own(self, make_node: Callable[..., Node]) -> None:
        nodes = [make_node(source=f"rtsp://me:{word}@camera") for word in ("one", "two")]
        for node in nodes:
            parameters.declare(node)
        assert [parameters.read(node).source for node in nodes] == ["rtsp://me:one@camera", "rtsp://me:two@camera"]

    def test_are_not_among_the_parameter_events(self, make_node: Callable[..., Node]) -> None:
        node = make_node(source="rtsp://me:secret@camera/stream")
        told: list[str] = []
        node._parameter_event_publisher.publish = lambda event: told.append(str(event))
        parameters.declare(node)
        node.set_parameters([Parameter("source", value="rtsp://me:secret@other/stream")])
        assert any("me:***@other" in event for event in told)
        assert not any("secret" in event for event in told)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("score_threshold", 2.0, "'score_threshold' lies outside 0..0.99"),
        ("score_threshold", -0.1, "'score_threshold' lies outside"),
        ("score_threshold", float("nan"), "'score_threshold' lies outside"),
        ("score_threshold", 0, "'score_threshold' must be of type double"),
        ("iou_threshold", 1.0, "'iou_threshold' lies outside"),
        ("threads", -1, "'threads' lies outside 0..256"),
        ("source", 0, "'source' must be of type string, quoted twice on a command line: -p source:='\"0\"'"),
        ("runtime", "tensorflow", "one of: auto, openvino, onnxruntime"),
        ("image_transport", "theora", "one of: auto, raw, compressed"),
        ("reliability", "perhaps", "one of: best_effort, reliable"),
        ("playback", "slow", "one of: realtime, fastest"),
        ("variance_vote", "maybe", "one of: card, true, false"),
        ("variance_vote", 1, "one of: card, true, false"),
        ("criterion", "luck", "one of: gaussian, confidence"),
        ("criterion", "", "one of: gaussian, confidence"),
        ("diagnostics_period", 0.0, "'diagnostics_period' lies outside"),
        ("autostart", "yes", "'autostart' must be of type bool"),
    ],
)
def test_bad_start_values_are_refused_and_replaced(
    make_node: Callable[..., Node], name: str, value: object, reason: str
) -> None:
    node = make_node(**{name: value})
    refused = parameters.declare(node)
    assert list(refused) == [name]
    assert reason in refused[name]
    assert node.get_parameter(name).value == PARAMETERS[name].default


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "no input: set parameter 'source'"),
        ({"source": "0", "image_topic": "/image"}, "two inputs: parameters 'source' (0) and 'image_topic' (/image)"),
    ],
    ids=["none", "both"],
)
def test_one_input_is_needed(make_node: Callable[..., Node], values: dict[str, str], reason: str) -> None:
    node = make_node(**values)
    parameters.declare(node)
    with pytest.raises(ParameterError) as refusal:
        parameters.read(node).check()
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("topic", "transport", "subscribed"),
    [
        ("/camera/image", "auto", "/camera/image"),
        ("/camera/image", "raw", "/camera/image"),
        ("/camera/image", "compressed", "/camera/image/compressed"),
        ("/camera/image/compressed", "compressed", "/camera/image/compressed"),
    ],
)
def test_compressed_images_lie_beside_the_raw_ones(
    make_node: Callable[..., Node], topic: str, transport: str, subscribed: str
) -> None:
    node = make_node(image_topic=topic, image_transport=transport)
    parameters.declare(node)
    assert parameters.read(node).subscribed_topic == subscribed
