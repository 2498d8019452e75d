"""The progress of a build, as TensorRT tells it, and how it is broken off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaussian_yolo_node.engine.builder import Report


def make_monitor(trt: Any, report: Report) -> Any:
    """A TensorRT progress monitor.

    Args:
        trt: TensorRT's module.
        report: is told the steps of the outermost phase. What it raises, and Ctrl-C, ends the build.

    Returns:
        The monitor; TensorRT's calls run within its `watch()`, at the end of which is raised what ended them.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outermost: dict[str, int] = {}
            self._raised: BaseException | None = None

        @contextmanager
        def watch(self) -> Iterator[None]:
            with _interrupts(self._end):
                yield
            if self._raised is not None:
                raise self._raised

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outermost[phase_name] = num_steps
                self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._outermost:
                self._tell(phase_name, step + 1)
            return self._raised is None

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self._outermost:
                self._tell(phase_name, self._outermost[phase_name])

        def _tell(self, phase: str, step: int) -> None:
            if self._raised is None:
                try:
                    report(phase, step, self._outermost[phase])
                except BaseException as error:  # it may not pass through TensorRT, and is raised after it
                    self._end(error)

        def _end(self, error: BaseException) -> None:
            self._raised = error

    return Monitor()


@contextmanager
def _interrupts(end: Any) -> Iterator[None]:
    """Hand Ctrl-C over as an exception instead of raising it, for it would be raised in TensorRT's calls and lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which never gets Ctrl-C
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.default_int_handler:
        yield  # another's handler, or none at all, is left alone
        return
    signal.signal(signal.SIGINT, lambda number, frame: end(KeyboardInterrupt()))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
