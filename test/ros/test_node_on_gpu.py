"""The node with a TensorRT engine on a simulated GPU: threads, live parameters, and freed memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from factories import make_image
from fake_cuda import Gpu
from pretend_gpu import pretended_gpu
from runtime_engines import POINTS, make_engine, make_engines

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter
from ros.given import ERROR, OK, SUCCESS, WARN, labels
from ros.harness import Ros


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gpu]:
    with pretended_gpu(monkeypatch, tmp_path) as gpu:
        yield gpu


@pytest.fixture
def frames(tmp_path: Path) -> str:
    """A folder with one picture."""
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "0.png"), make_image(64, 96))
    return str(tmp_path / "frames")


def test_detects_and_frees_all_when_it_is_cleaned_up(gpu: Gpu, ros: Ros, tmp_path: Path, frames: str) -> None:
    node = ros.active(make_engine(tmp_path), runtime="tensorrt", source=frames, playback="fastest", loop=True)
    ros.until(lambda: len(ros.detections) >= 6, "six messages")
    values = ros.until_status(OK, "")
    assert values["runtime"] == "TensorRT 10.3.0 Pretend Orin fp32, CUDA graph"
    assert all(len(message.detections) == 2 for message in ros.detections)
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    gpu.assert_clean()


def test_a_live_change_of_what_the_engine_has_built_in_is_refused(gpu: Gpu, ros: Ros, tmp_path: Path) -> None:
    node = ros.node(model=str(make_engine(tmp_path)), runtime="tensorrt", source="unused")
    assert node.trigger_configure() == SUCCESS

    changes = {"score_threshold": 0.1, "iou_threshold": 0.7, "variance_vote": True, "criterion": "confidence"}
    for name, value in changes.items():
        before = node.get_parameter(name).value
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful and "gaussian-yolo build-engine" in result.reason
        assert node.get_parameter(name).value == before
    (result,) = node.set_parameters([Parameter("score_threshold", value=0.6)])
    assert result.successful


def test_classes_are_selected_and_have_thresholds_above_the_engine_s(
    gpu: Gpu, ros: Ros, tmp_path: Path, frames: str
) -> None:
    node = ros.active(make_engine(tmp_path), runtime="tensorrt", source=frames, loop=True)

    for name, value, names in (
        ("classes", "pedestrian", ["pedestrian"]),
        ("classes", "", ["car", "pedestrian"]),
        ("class_thresholds", "pedestrian:0.7", ["car"]),
    ):
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert result.successful
        ros.until(
            lambda names=names: ros.detections and labels(ros.detections[-1]) == names, f"{names} with {name} {value}"
        )
    (result,) = node.set_parameters([Parameter("class_thresholds", value="pedestrian:0.1")])
    assert not result.successful
    assert "class_thresholds of pedestrian is 0.1, and nothing below 0.3" in result.reason
    assert "gaussian-yolo build-engine" in result.reason


def test_starting_with_what_the_engine_does_not_have_fails_and_frees_all(gpu: Gpu, ros: Ros, tmp_path: Path) -> None:
    ros.refused("iou_threshold is 0.7", make_engine(tmp_path), runtime="tensorrt", source="unused", iou_threshold=0.7)
    gpu.assert_clean()


def test_a_lost_gpu_is_on_the_diagnostics(gpu: Gpu, ros: Ros, tmp_path: Path, frames: str) -> None:
    node = ros.node(model=str(make_engine(tmp_path)), runtime="tensorrt", source=frames, loop=True)
    assert node.trigger_configure() == SUCCESS
    gpu.fail("network", "unspecified launch failure", code=719, sticky=True)
    assert node.trigger_activate() == SUCCESS
    ros.until_status(ERROR, "was lost")
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    for left in (gpu.memory, gpu.graphs, gpu.events):
        left.clear()  # freed by the system with the process


@pytest.mark.parametrize(
    ("parameters", "canvas", "choice", "level", "says"),
    [
        ({"target_rate": 0.0}, "128x192", "canvas 128x192, the largest", OK, ""),
        ({"target_rate": 1000.0}, "64x96", "canvas 64x96: 3.0 ms of 0.8 ms at 1000 Hz", WARN, "keeps 1000 Hz"),
        ({"input_size": "96x160"}, "96x160", "canvas 96x160, fixed", OK, ""),
    ],
)
def test_the_canvas_is_one_of_those_that_have_an_engine(
    gpu: Gpu,
    ros: Ros,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    parameters: dict[str, Any],
    canvas: str,
    choice: str,
    level: bytes,
    says: str,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "frames").mkdir()
    cv2.imwrite(str(tmp_path / "frames" / "0.png"), make_image(128, 192))
    model = make_engines(tmp_path, *POINTS[1:])
    node = ros.active(model, runtime="tensorrt", source=str(tmp_path / "frames"), **parameters)
    ros.until(lambda: ros.detections, "a message")
    values = ros.until_status(level, says)
    assert values["canvas"] == canvas
    assert values["canvas_choice"].startswith(choice)
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    gpu.assert_clean()


def test_a_canvas_without_an_engine_fails_with_the_command_that_builds_it(gpu: Gpu, ros: Ros, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "0.png"), make_image(128, 192))
    reason = "no engine for 96x160; build it with `gaussian-yolo build-engine "
    parameters = {"runtime": "tensorrt", "source": str(tmp_path), "input_size": "96x160"}
    ros.refused(reason, make_engines(tmp_path), "activate", **parameters)
