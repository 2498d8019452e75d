from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy", reason="ROS 2 not present")

from gaussian_yolo_node.ros.driving.own_node import interrupt_afterwards


@pytest.fixture(autouse=True)
def _python_s_own_handler() -> Iterator[None]:
    """Restores Python's SIGINT handler: a shell's background jobs ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_when_the_block_is_through() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt_afterwards():
        os.kill(os.getpid(), signal.SIGINT)
        done.append(1)
    assert done == [1] and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_one_nothing_comes_and_errors_pass() -> None:
    with interrupt_afterwards():
        pass
    with pytest.raises(ValueError, match="of the block"), interrupt_afterwards():
        raise ValueError("of the block")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_handler_of_others_is_called() -> None:
    numbers: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: numbers.append(number))
    with interrupt_afterwards():
        os.kill(os.getpid(), signal.SIGINT)
        assert not numbers
    assert numbers == [signal.SIGINT]


def test_other_threads_are_left_alone() -> None:
    passed: list[int] = []

    def run() -> None:
        with interrupt_afterwards():
            passed.append(1)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert passed == [1]
