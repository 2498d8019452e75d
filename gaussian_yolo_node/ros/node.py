"""The perception node: a lifecycle around a detector, its input and its outputs.

configure loads the model, activate opens the input, deactivate closes the input, cleanup frees the model. An error
fails the transition and stays on /diagnostics until it is fixed.
"""

from __future__ import annotations

import json
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.ros import parameters
from gaussian_yolo_node.ros.diagnostics import FrameStatistics, build_status
from gaussian_yolo_node.ros.inputs import Arrival, Input, SourceInput, TopicInput
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.outputs import Outputs
from gaussian_yolo_node.ros.parameter_table import PARAMETERS, ParameterError, PerceptionParameters
from gaussian_yolo_node.ros.worker import Worker
from gaussian_yolo_node.runtime import RuntimeOptions

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE
_ERROR = TransitionCallbackReturn.ERROR


class PerceptionNode(LifecycleNode):
    """Detects objects in the frames of a source or topic.

    Args:
        stopping: set by a signal handler when the process must end; the node then stops waiting for a model to load.
        node_arguments: passed to rclpy's node, such as `context` or `parameter_overrides`.
    """

    def __init__(self, stopping: threading.Event | None = None, **node_arguments: Any) -> None:
        super().__init__("perception", **node_arguments)
        self._stopping = stopping or threading.Event()
        self._refused = parameters.declare(self)
        self._trouble = ""
        self._loading = False
        self._detector: Detector | None = None
        self._outputs: Outputs | None = None
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._statistics = FrameStatistics()
        self._input: Input | None = None
        self._worker: Worker | None = None
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Wall time regardless of use_sim_time: a node without a clock must still start and report.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        started = parameters.read(self)
        self._report_timer = self.create_timer(started.diagnostics_period, self.report, clock=steady)
        if started.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    def report(self) -> None:
        """Publish the node's status on /diagnostics."""
        detector = self._detector
        level, message = self._health()
        message_array = DiagnosticArray()
        message_array.header.stamp = self.get_clock().now().to_msg()
        message_array.status = [
            build_status(
                f"{self.get_fully_qualified_name()}: perception",
                detector.card.name if detector else self.get_parameter("model").value,
                level,
                message,
                self._values(),
            )
        ]
        self._diagnostics.publish(message_array)

    def release(self) -> None:
        """Stop all threads and free the model, in any state of the node."""
        self._close_input()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._detector is not None:
            self._detector.close()
            self._detector = None

    def destroy_node(self) -> None:
        """Release everything, including all ROS entities of the node."""
        self.release()
        super().destroy_node()
        # rclpy leaves the state machine to the garbage collector. It keeps the DDS participant alive, whose files would
        # stay in /dev/shm after the process ends.
        self._state_machine.destroy_when_not_in_use()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model."""
        result = self._attempt(self._configure)
        return super().on_configure(state) if result == _SUCCESS else result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open the input and start detecting."""
        super().on_activate(state)
        result = self._attempt(self._open_input)
        if result != _SUCCESS:
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the input; the model stays loaded."""
        self._close_input()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.release()
        self._trouble = ""
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the input and free the model."""
        self.release()
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an internal error, which stays on /diagnostics."""
        self.release()
        return _SUCCESS

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def _attempt(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Run one step of the lifecycle; an exception becomes the node's error status."""
        self._trouble = ""
        try:
            step()
        except GaussianYoloError as error:
            self._trouble = str(error)
            self.get_logger().error(self._trouble)
        except _Stopped:
            return _FAILURE
        except Exception as error:  # rclpy would swallow it
            self._trouble = f"internal error: {error!r}"
            self.get_logger().error(traceback.format_exc())
        self.report()
        if not self._trouble:
            return _SUCCESS
        return _ERROR if self._trouble.startswith("internal error") else _FAILURE

    def _configure(self) -> None:
        if self._refused:
            raise ParameterError("; ".join(self._refused.values()))
        values = parameters.read(self)
        values.check()
        self._loading = True
        self.get_logger().info(f"loading model {values.model}")
        self.report()
        try:
            self._detector = self._wait_for(_in_thread(lambda: _load(values)))
        finally:
            self._loading = False
        try:
            self._apply_thresholds({})
        except SettingError:
            self.release()
            raise
        self._outputs = Outputs(self, self._detector.card.classes)
        loaded = self._detector
        self.get_logger().info(f"model {loaded.card.name} ({loaded.model_hash}) on {loaded.runtime.description}")

    def _wait_for(self, future: Future[Detector]) -> Detector:
        """Wait for the model; keep reporting meanwhile, and stop on a signal."""
        period = self.get_parameter("diagnostics_period").value
        reported = time.monotonic()
        while not future.done():
            if self._stopping.is_set():
                raise _Stopped
            # Wait in short steps: Python handles signals only between them.
            wait([future], timeout=0.05)
            if time.monotonic() - reported >= period:
                reported = time.monotonic()
                self.report()
        return future.result()

    def _open_input(self) -> None:
        assert self._detector is not None and self._outputs is not None  # on_configure has run
        values = parameters.read(self)
        values.check()
        self._mailbox = Mailbox()
        self._statistics = FrameStatistics()
        kind = TopicInput if values.image_topic else SourceInput
        self._input = kind(self, values, self._mailbox, self._statistics)
        self._worker = Worker(
            self._mailbox,
            self._detector,
            self._outputs,
            self._statistics,
            self.get_clock(),
            self.get_logger(),
        )
        self.get_logger().info(f"detecting in {values.shown_input}")

    def _close_input(self) -> None:
        self._mailbox.close()
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._worker is not None:
            self._worker.join(1.0)
            self._worker = None

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        for change in changes:
            reason = parameters.refusal(change.name, change.value)
            when = PARAMETERS[change.name].changes if change.name in PARAMETERS else "live"
            if not reason and when == "on configure" and self._detector is not None:
                reason = f"'{change.name}' is read when the node is configured: clean it up first"
            if not reason and when == "on activate" and self._input is not None:
                reason = f"'{change.name}' is read when the node is activated: deactivate it first"
            if reason:
                return SetParametersResult(successful=False, reason=reason)
        try:
            self._apply_thresholds({change.name: change.value for change in changes})
        except SettingError as error:  # these settings are built into a GPU engine
            self._apply_thresholds({})  # restore the values from before the refused change
            return SetParametersResult(successful=False, reason=str(error))
        for change in changes:
            self._refused.pop(change.name, None)
        return SetParametersResult(successful=True)

    def _apply_thresholds(self, changes: dict[str, Any]) -> None:
        """Pass the live parameters to the detector, with `changes` applied."""
        detector = self._detector
        if detector is None:
            return
        score, iou, vote, criterion = (
            changes.get(name, self.get_parameter(name).value)
            for name in ("score_threshold", "iou_threshold", "variance_vote", "criterion")
        )
        detector.score_threshold = score or detector.card.score_threshold
        detector.iou_threshold = iou or detector.card.iou_threshold
        detector.variance_vote = detector.card.variance_vote if vote == "card" else vote
        detector.criterion = criterion

    def _health(self) -> tuple[bytes, str]:
        failures = self._statistics.take_unreported_failures()
        if self._trouble:
            return DiagnosticStatus.ERROR, self._trouble
        if self._loading:
            return DiagnosticStatus.OK, f"loading model {self.get_parameter('model').value}"
        if self._detector is None:
            return DiagnosticStatus.OK, "unconfigured"
        if self._input is None:
            return DiagnosticStatus.OK, "inactive"
        if self._input.trouble:
            return DiagnosticStatus.ERROR, self._input.trouble
        if self._statistics.failing:
            return DiagnosticStatus.ERROR, self._statistics.last_error
        if failures:
            return DiagnosticStatus.WARN, f"{failures} frames failed: {self._statistics.last_error}"
        if self._input.notice:
            return DiagnosticStatus.WARN, self._input.notice
        return DiagnosticStatus.OK, f"{self._input.state}, {self._statistics.rate_hz:.1f} Hz"

    def _values(self) -> dict[str, str]:
        detector, statistics = self._detector, self._statistics
        values = parameters.read(self)
        skipped = self._input.skipped if self._input else 0
        dropped = self._input.dropped if self._input else 0
        source_error = self._input.message if self._input else ""
        return {
            "frames_received": str(statistics.received + skipped + dropped),
            "frames_processed": str(statistics.processed),
            "frames_dropped": str(self._mailbox.dropped + dropped),
            "frames_skipped": str(statistics.failed + skipped),
            **statistics.values(),
            "model": str(detector.model_path) if detector else values.model,
            "model_card": json.dumps(detector.card, default=vars) if detector else "",
            "model_hash": detector.model_hash if detector else "",
            "runtime": detector.runtime.description if detector else values.runtime,
            "score_threshold": f"{detector.score_threshold:g}" if detector else "",
            "iou_threshold": f"{detector.iou_threshold:g}" if detector else "",
            "criterion": detector.criterion if detector else values.criterion,
            "source": values.shown_input,
            "source_state": self._input.state if self._input else "closed",
            "last_error": self._trouble or statistics.last_error or source_error,
        }


class _Stopped(Exception):
    """The process must end while the model is still loading."""


def _load(values: PerceptionParameters) -> Detector:
    options = RuntimeOptions(threads=values.threads, precision=values.precision)
    return Detector.open(values.model, values.runtime, options=options)


def _in_thread(function: Callable[[], Detector]) -> Future[Detector]:
    """Run a function in a daemon thread, which does not keep the process alive."""
    future: Future[Detector] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="load", daemon=True).start()
    return future
