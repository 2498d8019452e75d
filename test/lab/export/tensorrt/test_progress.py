from __future__ import annotations

import _thread
import io
import types
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from gaussian_yolo_node.lab.export.tensorrt.progress import run_build

PRETENDED = types.ModuleType("pretended")
PRETENDED.IProgressMonitor = object  # type: ignore[attr-defined]


def pretended(steps: Callable[[Any], Any]) -> tuple[Any, Callable[[], Any]]:
    config = types.SimpleNamespace(progress_monitor=None)
    return config, lambda: steps(config.progress_monitor)


def test_phases_are_shown_one_inside_the_other() -> None:
    shown: list[str] = []

    def steps(monitor: Any) -> str:
        monitor.phase_start("building", None, 2)
        monitor.phase_start("timing", "building", 4)
        assert monitor.step_complete("timing", 1)
        shown.extend(f"{task.description} {task.percentage:.0f}" for task in monitor._progress.tasks)
        monitor.phase_finish("timing")
        monitor.phase_finish("building")
        assert not monitor._progress.tasks
        return "engine"

    config, build = pretended(steps)
    console = Console(file=io.StringIO(), force_terminal=True)
    assert run_build(PRETENDED, config, build, console) == "engine"
    assert shown == ["building 0", "  timing 50"]


def test_ctrl_c_ends_the_build() -> None:
    ended: list[bool] = []

    def steps(monitor: Any) -> None:
        monitor.phase_start("building", None, 1)
        _thread.interrupt_main()
        while monitor.step_complete("building", 0):
            pass
        ended.append(True)

    config, build = pretended(steps)
    with pytest.raises(KeyboardInterrupt):
        run_build(PRETENDED, config, build, None)
    assert ended


def test_a_builds_own_failure_comes_through() -> None:
    def steps(monitor: Any) -> None:
        raise RuntimeError("planted")

    config, build = pretended(steps)
    with pytest.raises(RuntimeError, match="planted"):
        run_build(PRETENDED, config, build, None)
