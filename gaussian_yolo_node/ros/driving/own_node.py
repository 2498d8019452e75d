"""A ROS node of ours in a context of its own, spun by the caller that waits."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from gaussian_yolo_node.processes import on_end_signals
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.shared_memory import reclaim

# How long a wait for a message may keep Ctrl-C and a dead node from being seen.
STEP_S = 0.05


class OwnNode:
    """A ROS node and its executor; as a context manager it leaves ROS on leaving.

    Args:
        name: of the node.
        arguments: of ROS, such as `--ros-args -r /image:=/front/image`; anything else in them is left alone.

    Raises:
        DrivingError: ROS cannot read the arguments.
    """

    def __init__(self, name: str, arguments: Sequence[str] = ()) -> None:
        reclaim()
        self._context = Context()
        try:
            rclpy.init(args=list(arguments), context=self._context)
        except Exception as error:  # rclpy has no common type for malformed arguments
            raise DrivingError(f"ROS cannot read the arguments {' '.join(arguments)}: {error}") from error
        self.node = rclpy.create_node(name, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)

    def spin(self, timeout_s: float = STEP_S) -> None:
        """Handle what has come in: one callback, or none within the time."""
        with interrupt_afterwards():
            self._executor.spin_once(timeout_sec=timeout_s)

    def spins_until(self, condition: Callable[[], bool], timeout_s: float, check: Callable[[], None]) -> bool:
        """Handle what comes in until the condition holds; False if it does not in time. `check` is called between."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            check()
            self.spin()
        return True

    def __enter__(self) -> OwnNode:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self._context)


@contextmanager
def interrupt_afterwards() -> Iterator[None]:
    """Keep Ctrl-C and what else ends a program back until the block is through.

    Raised amid rclpy's C++, it comes out as some other error.
    """
    caught: list[signal.Signals] = []
    with on_end_signals(lambda number, frame: caught.append(signal.Signals(number))) as before:
        yield
    if caught and callable(before[caught[0]]):
        before[caught[0]](caught[0], None)
