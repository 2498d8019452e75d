"""Fixtures of the ROS tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ros.harness import NodeProcess, Ros


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
