"""Ctrl-C at any moment: exit code 0 within 3 s, no traceback, no child process and no shared memory left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from factories import make_model
from onnx import helper, numpy_helper

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros.given import ERROR, OK
from ros.harness import NodeProcess, Ros, left_in_shared_memory

StartNode = Callable[..., NodeProcess]


def ends_cleanly(node: NodeProcess, signum: int = signal.SIGINT) -> None:
    files = node.shared_memory()
    assert node.interrupt(signum) == 0, node.output
    assert "Traceback" not in node.output
    assert node.left_behind() == []
    assert left_in_shared_memory(files) == []


@pytest.mark.parametrize(
    "delay", [0.0, 0.2, 0.5, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.1, 0.3, 0.8))]
)
def test_while_it_starts(ros: Ros, start_node: StartNode, delay: float) -> None:
    node = start_node(autostart=False)
    ros.until(node.has_handlers, "signal handlers")
    time.sleep(delay)
    ends_cleanly(node)


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGHUP,
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
    ],
    ids=lambda signum: signum.name,
)
def test_before_configure(ros: Ros, start_node: StartNode, signum: int) -> None:
    node = start_node(autostart=False)
    ros.until_status(OK, "unconfigured")
    assert node.shared_memory()
    ends_cleanly(node, signum)


def test_while_a_model_loads(ros: Ros, start_node: StartNode, tmp_path: Path) -> None:
    model = slow_to_load(make_model(tmp_path / "slow.onnx"))
    node = start_node(model=model, runtime="openvino", image_topic="/image")
    ros.until(lambda: "loading model" in node.output, "the model to be loading")
    time.sleep(0.3)  # until OpenVINO is busy
    assert node.shared_memory()
    ends_cleanly(node)
    assert "OpenVINO" not in node.output  # logged once loading is done


@pytest.mark.parametrize(
    ("playback", "signum"),
    [
        ("fastest", signal.SIGINT),
        ("realtime", signal.SIGTERM),
        pytest.param("fastest", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("fastest", signal.SIGHUP, marks=pytest.mark.slow),
        pytest.param("realtime", signal.SIGINT, marks=pytest.mark.slow),
        pytest.param("realtime", signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_while_running(
    ros: Ros, start_node: StartNode, tiny_model: Path, folder: Path, playback: str, signum: int
) -> None:
    node = start_node(model=tiny_model, source=folder, playback=playback, loop=True)
    ros.until(lambda: len(ros.detections) > 5, "detections")
    ends_cleanly(node, signum)


def test_while_subscribed_to_a_topic(ros: Ros, start_node: StartNode, tiny_model: Path) -> None:
    node = start_node(model=tiny_model, image_topic="/image")
    ros.until(lambda: "detecting in /image" in node.output, "the node to be active")
    ends_cleanly(node)


def test_while_waiting_for_a_camera(ros: Ros, start_node: StartNode, tiny_model: Path) -> None:
    node = start_node(model=tiny_model, source="/dev/video97")
    ros.until_status(ERROR, "/dev/video97")
    ends_cleanly(node)


def test_after_a_failed_start(ros: Ros, start_node: StartNode) -> None:
    node = start_node(model="nowhere.onnx", image_topic="/image")
    ros.until_status(ERROR, "nowhere.onnx")
    ends_cleanly(node)


def slow_to_load(path: Path) -> Path:
    """Add products of constants to a tiny model, which OpenVINO folds slowly while loading."""
    size = 2500
    model = onnx.load(str(path))
    constants = {"weights": np.full((size, size), 1e-9, np.float32), "four_ones": np.ones(4, np.int64)}
    for name, values in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    nodes = [
        helper.make_node("MatMul", ["weights", "weights"], ["square"]),
        helper.make_node("MatMul", ["square", "weights"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["largest"], keepdims=0),
        helper.make_node("Reshape", ["largest", "four_ones"], ["burden"]),
        helper.make_node("Add", ["trace", "burden"], ["burdened_trace"]),
    ]
    for node in model.graph.node:
        if node.op_type == "Add":
            node.input[1] = "burdened_trace"
    position = next(i for i, node in enumerate(model.graph.node) if node.output[0] == "trace") + 1
    for offset, node in enumerate(nodes):
        model.graph.node.insert(position + offset, node)
    onnx.save(model, str(path))
    return path


def test_what_a_killed_node_left_goes_at_the_next_start(ros: Ros, start_node: StartNode) -> None:
    node = start_node(autostart=False)
    ros.until_status(OK, "unconfigured")
    files = node.shared_memory()
    node.process.kill()
    node.process.wait()
    assert left_in_shared_memory(files)
    for file in map(Path, files):  # a node that is killed while it starts has files that are as young
        if file.exists():
            os.utime(file, (time.time() - 60,) * 2)
    again = start_node(autostart=False)
    ros.until(lambda: again.shared_memory(), "the next node to start")
    assert left_in_shared_memory(files) == []
