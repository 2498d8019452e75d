"""Fixtures of the ROS tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
from factories import make_image, make_model
from ros.harness import FRAMES, NodeProcess, Ros


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures; tests do not write to it."""
    path = tmp_path_factory.mktemp("frames")
    for index in range(FRAMES):
        cv2.imwrite(str(path / f"{index:03}.png"), make_image(seed=index))
    return path


@pytest.fixture
def ros() -> Iterator[Ros]:
    """A separate Ros for each test."""
    ros = Ros()
    yield ros
    ros.close()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Starts node processes from keyword parameters, and ends them after the test."""
    started: list[NodeProcess] = []

    def start(**parameters: Any) -> NodeProcess:
        started.append(NodeProcess(tmp_path / f"node{len(started)}.log", parameters))
        return started[-1]

    yield start
    for process in started:
        process.stop()


@pytest.fixture(scope="session")
def road_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that detects `ros.drive.PLANTED`."""
    from ros.drive import PLANTED, SIZE

    return make_model(tmp_path_factory.mktemp("model") / "road.onnx", input_size=SIZE, planted=PLANTED)
