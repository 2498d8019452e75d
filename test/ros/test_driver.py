"""Calls to a perception node: requests without an answer are repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 not present")

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.task import Future

from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving import driver as module
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.own_node import OwnNode


class LossyClient:
    """A client of get_state whose first answers are lost, as before discovery is complete."""

    srv_name = "/perception/get_state"

    def __init__(self, lost: int) -> None:
        self.asked = 0
        self._lost = lost

    def service_is_ready(self) -> bool:
        return True

    def call_async(self, request: GetState.Request) -> Any:
        self.asked += 1
        future = Future()
        if self.asked > self._lost:
            future.set_result(GetState.Response(current_state=State(id=1, label="unconfigured")))
        return future


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[NodeDriver]:
    monkeypatch.setattr(module, "ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(module, "ASK_AGAIN_S", 0.25)
    with OwnNode("asking") as own:
        yield NodeDriver(own, "/perception")


@pytest.mark.parametrize("lost", [0, 1, 3])
def test_a_lost_answer_is_asked_for_again(driver: NodeDriver, monkeypatch: pytest.MonkeyPatch, lost: int) -> None:
    client = LossyClient(lost)
    monkeypatch.setattr(driver, "_get_state", client)
    assert driver.state() == "unconfigured"
    assert client.asked == lost + 1


def test_a_node_that_never_answers_is_named(driver: NodeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "_get_state", LossyClient(lost=100))
    with pytest.raises(DrivingError, match="node /perception did not answer /perception/get_state within 1 s"):
        driver.state()
