"""The progress of a build, as TensorRT tells it, and how it is broken off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaussian_yolo_node.engine.builder import Report


def make_monitor(trt: Any, report: Report) -> Any:
    """A TensorRT progress monitor.

    Args:
        trt: TensorRT's module.
        report: is told the steps of the outermost phase. What it raises, and Ctrl-C, ends the build.

    Returns:
        The monitor; `raise_again()` raises what ended the build.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outermost: dict[str, int] = {}
            self._raised: BaseException | None = None

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

        def raise_again(self) -> None:
            if self._raised is not None:
                raise self._raised

        def _tell(self, phase: str, step: int) -> None:
            if self._raised is None:
                try:
                    report(phase, step, self._outermost[phase])
                except BaseException as error:  # it may not pass through TensorRT, and is raised after it
                    self._raised = error

    return Monitor()
