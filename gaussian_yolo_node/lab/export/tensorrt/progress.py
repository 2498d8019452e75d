"""Progress display and interruption of a build, which TensorRT itself lacks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from gaussian_yolo_node.processes import note_signal, on_end_signals

_WAIT_S = 0.1  # polling interval for Ctrl-C


def run_build(trt: Any, config: Any, build: Callable[[], Any], console: Console | None) -> Any:
    """Run a build in its own thread, show its phases, and stop it on Ctrl-C.

    Args:
        trt: TensorRT's package.
        config: of the builder, to monitor.
        build: takes minutes; releases the GIL.
        console: for progress output; None for none.

    Returns:
        What `build` returns.

    Raises:
        KeyboardInterrupt: the build was interrupted; it has ended.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console or Console(quiet=True), transient=True) as progress:
        monitor = _monitor_class(trt)(progress)
        config.progress_monitor = monitor
        results: list[Any] = []
        failures: list[BaseException] = []

        def work() -> None:
            try:
                results.append(build())
            except BaseException as error:
                failures.append(error)

        thread = threading.Thread(target=work, name="build-engine")
        with _stopping_on_ctrl_c(monitor.stop) as interrupted:
            thread.start()
            while thread.is_alive():
                # This thread stays in Python, because signals are handled only there.
                thread.join(_WAIT_S)
        if interrupted.is_set():
            raise KeyboardInterrupt
        if failures:
            raise failures[0]
        return results[0]


@contextmanager
def _stopping_on_ctrl_c(stop: Callable[[], None]) -> Iterator[threading.Event]:
    """Call `stop` on Ctrl-C instead of raising KeyboardInterrupt; yields an event set by Ctrl-C."""
    interrupted = threading.Event()

    def handle(number: int, frame: object) -> None:
        note_signal(number)
        interrupted.set()
        stop()

    with on_end_signals(handle):
        yield interrupted


@cache
def _monitor_class(trt: Any) -> type[Any]:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Called by TensorRT's threads; each phase is a task, nested phases are tasks below it."""

        def __init__(self, progress: Progress) -> None:
            trt.IProgressMonitor.__init__(self)
            self._progress = progress
            self._tasks: dict[str, TaskID] = {}
            self._depths: dict[str, int] = {}
            self._stopped = threading.Event()

        def stop(self) -> None:
            self._stopped.set()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.phase_finish(phase_name)  # an unfinished earlier phase of the same name
            depth = self._depths.get(parent_phase or "", -1) + 1
            self._depths[phase_name] = depth
            self._tasks[phase_name] = self._progress.add_task("  " * depth + phase_name, total=num_steps)

        def phase_finish(self, phase_name: str) -> None:
            task = self._tasks.pop(phase_name, None)
            self._depths.pop(phase_name, None)
            if task is not None:
                self._progress.remove_task(task)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._tasks:
                self._progress.update(self._tasks[phase_name], completed=step + 1)
            return not self._stopped.is_set()

    return Monitor
