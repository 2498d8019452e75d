"""The executable `perception_node`: signals, spinning, and a clean exit.

SIGINT, SIGTERM and SIGHUP end the process with exit code 0 at any moment. A worker that is held for ever ends it with
exit code 75 (`supervisor.EXIT_HELD`), so that systemd or launch starts it again. Until ROS is up there is nothing to
clean up, so this module imports nothing heavy at the top, and `run` installs its handlers before the heavy imports.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gaussian_yolo_node.ros.node import PerceptionNode

# A process whose worker is held must have ended after this time, s: the middleware may be what holds it.
_END_LIMIT_S = 5.0
# Interval in s at which the executor returns to Python, which handles signals only between bytecodes.
_POLL_S = 0.1


def main(args: list[str] | None = None) -> None:
    """Run the node until a signal, or until ROS is shut down."""
    run(_open_node, args)


def run(open_nodes: Callable[[threading.Event], Sequence[PerceptionNode]], args: list[str] | None = None) -> None:
    """Run nodes until a signal, or until ROS is shut down; `open_nodes` gets an event that a signal sets."""
    on_signals(lambda *_: os._exit(0))
    from gaussian_yolo_node.processes import end_with_starter
    from gaussian_yolo_node.ros.shared_memory import reclaim

    end_with_starter()
    reclaim()
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from gaussian_yolo_node.ros import service_manager

    stopping = threading.Event()
    on_signals(lambda *_: stopping.set())
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        nodes = open_nodes(stopping)
    except Exception as error:  # malformed --ros-args or parameter file; rclpy has no common exception type for them
        sys.exit(f"error: {error}")

    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    service_manager.ready()
    try:
        while not stopping.is_set():
            executor.spin_once(timeout_sec=_POLL_S)
            service_manager.alive()
    except ExternalShutdownException:
        pass
    finally:
        exit_code = max(node.exit_code for node in nodes)
        if exit_code:
            _end_within(_END_LIMIT_S, exit_code)
        executor.shutdown()
        for node in nodes:
            node.destroy_node()
        rclpy.try_shutdown()
    if threading.active_count() > 1:
        # Native code that cannot be interrupted is still loading a model or opening a dead camera. It would crash
        # during interpreter shutdown. ROS is already cleaned up.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    sys.exit(exit_code)


def _end_within(limit_s: float, exit_code: int) -> None:
    end = threading.Timer(limit_s, os._exit, [exit_code])
    end.daemon = True
    end.start()


def _open_node(stopping: threading.Event) -> Sequence[PerceptionNode]:
    from gaussian_yolo_node.ros.node import PerceptionNode

    return [PerceptionNode(stopping)]


def on_signals(handler: Callable[[int, FrameType | None], object]) -> None:
    """Handle the signals that end a program."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, handler)


if __name__ == "__main__":
    main()
