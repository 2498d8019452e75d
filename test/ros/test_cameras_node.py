"""Several cameras in one process: their settings, and nodes that do not disturb each other."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter
from ros.harness import FRAMES, Ros
from vision_msgs.msg import Detection2DArray

from gaussian_yolo_node.ros.cameras_node import camera_settings, machine_shares, open_cameras
from gaussian_yolo_node.ros.parameter_table import ParameterError


def test_a_camera_has_its_own_parameters_and_then_those_of_all() -> None:
    settings = camera_settings(
        {
            "cameras": ["front", "rear"],
            "model": "a",
            "target_rate": 15.0,
            "front.source": "0",
            "front.target_rate": 30.0,
            "rear.image_topic": "/rear",
            "rear.frame_id": "tail",
            "qos_overrides./rear.subscription.depth": 5,
            "other.source": "1",
            "unrelated": 3,
        }
    )
    common = {"model": "a", "qos_overrides./rear.subscription.depth": 5}
    assert settings == {
        "front": {"frame_id": "front", **common, "target_rate": 30.0, "source": "0"},
        "rear": {"frame_id": "tail", **common, "target_rate": 15.0, "image_topic": "/rear"},
    }


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (None, "must list the names"),
        ([], "must list the names"),
        ("front", "must list the names"),
        ([1, 2], "must list the names"),
        (["front", "front"], "front is listed twice"),
        (["front left"], "'front left'"),
        (["1"], "letters, digits and _"),
        (["é"], "letters, digits and _"),
    ],
)
def test_a_wrong_list_is_refused(cameras: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        camera_settings({"cameras": cameras} if cameras is not None else {})


@pytest.mark.parametrize(
    ("rates", "shares"),
    [
        ({"a": 10.0}, {"a": 1.0}),
        ({"a": 10.0, "b": 10.0, "c": 20.0}, {"a": 0.25, "b": 0.25, "c": 0.5}),
        ({"a": None, "b": 30}, {"a": 0.5, "b": 0.5}),
        ({"a": 0.0, "b": "fast"}, {"a": 0.5, "b": 0.5}),
    ],
)
def test_the_machine_is_shared_by_rate(rates: dict[str, Any], shares: dict[str, float]) -> None:
    assert machine_shares(rates) == pytest.approx(shares)


def test_each_camera_has_its_topics_and_its_status_and_a_wrong_one_stops_no_other(
    ros: Ros, tiny_model: Path, folder: Path
) -> None:
    values: dict[str, Any] = {
        "cameras": ["front", "rear", "gone", "misspelt"],
        "model": str(tiny_model),
        "playback": "fastest",
        "diagnostics_period": 0.1,
        "front.source": str(folder),
        "rear.source": str(folder),
        "rear.frame_id": "tail",
        "gone.source": str(folder / "gone.mp4"),
        "misspelt.sorce": "0",
    }
    received: dict[str, list[Any]] = {"front": [], "rear": []}
    for camera, messages in received.items():
        ros.observer.create_subscription(Detection2DArray, f"/car/{camera}/perception/detections", messages.append, 100)
    nodes = open_cameras(
        threading.Event(),
        context=ros.context,
        namespace="/car",
        parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
    )
    for node in nodes:
        ros.add(node)
    ros.until(lambda: all(len(messages) == FRAMES for messages in received.values()), "detections of both cameras")
    assert {message.header.frame_id for message in received["front"]} == {"front"}
    assert {message.header.frame_id for message in received["rear"]} == {"tail"}

    def statuses() -> dict[str, str]:
        return {status.name: status.message for status in ros.statuses}

    for camera, words in {"gone": "gone.mp4 does not exist", "misspelt": "unknown parameters: sorce"}.items():
        name = f"/car/{camera}/perception: perception"
        ros.until(lambda name=name, words=words: words in statuses().get(name, ""), f"{words} of {camera}")
    expected = {f"/car/{camera}/perception: perception" for camera in values["cameras"]}
    ros.until(lambda: expected <= statuses().keys(), "the status of every camera")
