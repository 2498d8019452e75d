from __future__ import annotations

import threading
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.ros.newest_only import NewestOnly


class Log:
    """Takes the place of a node's logger."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def error(self, text: str, **_: Any) -> None:
        self.errors.append(text)


def test_what_comes_while_a_step_runs_is_skipped_but_the_newest() -> None:
    started, go_on, done = threading.Event(), threading.Event(), threading.Event()
    seen = []

    def step(item: int) -> None:
        seen.append(item)
        started.set()
        assert go_on.wait(30)
        if item == 3:
            done.set()

    work = NewestOnly("work", step, Log())
    work.put(1)
    assert started.wait(30)
    for item in (2, 3):  # returns at once
        work.put(item)
    go_on.set()
    assert done.wait(30)
    work.close()
    work.put(4)
    assert seen == [1, 3]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (GaussianYoloError("the frame is too small"), "work: the frame is too small"),
        (ValueError("what"), "work: internal error: ValueError('what')"),
    ],
)
def test_after_an_error_the_next_item_is_worked_on(error: Exception, text: str) -> None:
    log, failed, done = Log(), threading.Event(), threading.Event()

    def step(item: str) -> None:
        if item == "bad":
            failed.set()
            raise error
        done.set()

    work = NewestOnly("work", step, log)
    work.put("bad")
    assert failed.wait(30)
    work.put("good")
    assert done.wait(30)
    work.close()
    assert log.errors == [text]
