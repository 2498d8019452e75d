"""Waiting for a slow function without letting go of signals, diagnostics and systemd's watchdog."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from gaussian_yolo_node.ros import service_manager

Result = TypeVar("Result")

# Python handles signals only between the steps of a wait, s.
_STEP_S = 0.05


class Stopped(Exception):
    """The process must end while the function still runs."""


def wait_for(
    function: Callable[[], Result],
    stopping: threading.Event,
    meanwhile: Callable[[], object],
    limit_s: float = math.inf,
) -> Result:
    """Run a function in a daemon thread, which does not keep the process alive, and return its result.

    Args:
        function: what to run.
        stopping: ends the waiting.
        meanwhile: called between the steps.
        limit_s: how long it may take, s.

    Raises:
        Stopped: `stopping` was set.
        TimeoutError: it took longer than `limit_s`.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    deadline = time.monotonic() + limit_s
    while not future.done():
        if stopping.is_set():
            raise Stopped
        if time.monotonic() > deadline:
            raise TimeoutError(f"took longer than {limit_s:g} s")
        wait([future], timeout=_STEP_S)
        service_manager.alive()
        meanwhile()
    return future.result()
