"""The perception node: a lifecycle around a detector, its input and its outputs.

configure loads the model, activate opens the input, deactivate closes the input, cleanup frees the model. An error
fails the transition and stays on /diagnostics until it is fixed.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import SetBool

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.display import safe
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames import SourceState
from gaussian_yolo_node.ros import model, parameters
from gaussian_yolo_node.ros.diagnostics import FrameStatistics
from gaussian_yolo_node.ros.health import Parts, statuses
from gaussian_yolo_node.ros.inputs import Arrival, Input, SourceInput, TopicInput
from gaussian_yolo_node.ros.mailbox import Mailbox
from gaussian_yolo_node.ros.outputs import Outputs
from gaussian_yolo_node.ros.parameter_table import PARAMETERS, ParameterError, PerceptionParameters
from gaussian_yolo_node.ros.qos import create_publisher
from gaussian_yolo_node.ros.supervisor import EXIT_HELD, LOOK_S, Action, Supervisor
from gaussian_yolo_node.ros.waiting import Result, Stopped, wait_for
from gaussian_yolo_node.ros.worker import Worker
from gaussian_yolo_node.view.camera import Camera
from gaussian_yolo_node.view.server import open_camera

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE
_ERROR = TransitionCallbackReturn.ERROR
# A new worker must be there after this time, s.
_RESTART_LIMIT_S = 60.0


class PerceptionNode(LifecycleNode):
    """Detects objects in the frames of a source or topic.

    Args:
        stopping: set by a signal handler when the process must end; the node then stops waiting for a model to load.
        share: part of the machine that this node may use; the cameras of one process share it.
        refusal: why the node cannot be configured, for its status; empty if nothing is wrong.
        node_arguments: passed to rclpy's node, such as `context` or `parameter_overrides`.

    Attributes:
        exit_code: with which the process must end after `stopping` is set.
    """

    def __init__(
        self, stopping: threading.Event | None = None, share: float = 1.0, refusal: str = "", **node_arguments: Any
    ) -> None:
        super().__init__("perception", **node_arguments)
        self._share = share
        self._stopping = stopping or threading.Event()
        self._refused = parameters.declare(self) | ({"": refusal} if refusal else {})
        self.exit_code = 0
        self._error = ""
        self._busy_with = ""
        self._ended = False
        self._detector: Detector | None = None
        self._outputs: Outputs | None = None
        self._view: Camera | None = None
        self._mailbox: Mailbox[Arrival] = Mailbox()
        self._statistics = FrameStatistics()
        self._input: Input | None = None
        self._keeper: RateKeeper | None = None
        self._worker: Worker | None = None
        self._supervisor = Supervisor()
        self._enabled = threading.Event()
        self._enabled.set()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._diagnostics = create_publisher(self.create_publisher, DiagnosticArray, "/diagnostics", 10)
        # Wall time regardless of use_sim_time: a node without a clock must still start and report.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        started = parameters.read(self)
        self._report_timer = self.create_timer(started.diagnostics_period, self.report, clock=steady)
        self._supervision_timer = self.create_timer(LOOK_S, self._supervise, clock=steady)
        if started.autostart:
            self._autostart_timer = self.create_timer(0.0, self._autostart, clock=steady)

    def report(self) -> None:
        """Publish the node's status on /diagnostics."""
        parts = self._parts()
        message = DiagnosticArray(status=statuses(parts))
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)
        if self._view is not None:
            summary = message.status[0]
            values = {item.key: item.value for item in summary.values}
            self._view.report(summary.level[0], summary.message, values)
        if parts.input is not None:
            if parts.input.notice and self._worker is not None and self._enabled.is_set():
                self.get_logger().warning(parts.input.notice, throttle_duration_sec=10.0)
            if parts.input.state == SourceState.FINISHED.value and not self._ended:
                self._end_of_source()

    def _end_of_source(self) -> None:
        self._ended = True
        values = parameters.read(self)
        self.get_logger().info(f"{values.shown_input} has ended after {self._statistics.processed} frames")
        if values.on_end == "shutdown":
            self._stopping.set()

    def release(self) -> None:
        """Stop all threads and free the model, in any state of the node."""
        self._close_input()
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._detector is not None:
            self._detector.close()
            self._detector = None
        self._close_view()

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
            self._close_input()
            super().on_deactivate(state)
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the input; the model stays loaded."""
        self._close_input()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self.release()
        self._error = ""
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close the input and free the model; after an internal error too, which stays on /diagnostics."""
        self.release()
        return _SUCCESS

    on_error = on_shutdown

    def _autostart(self) -> None:
        self.destroy_timer(self._autostart_timer)
        if self.trigger_configure() == _SUCCESS:
            self.trigger_activate()

    def _attempt(self, step: Callable[[], None]) -> TransitionCallbackReturn:
        """Run one step of the lifecycle; an exception becomes the node's error status."""
        self._error = ""
        try:
            step()
        except GaussianYoloError as error:
            self._error = str(error)
            self.get_logger().error(self._error)
        except Stopped:
            return _FAILURE
        except Exception as error:  # rclpy would swallow it
            self._error = f"internal error: {error!r}"
            self.get_logger().error(safe(traceback.format_exc()))
        self.report()
        if not self._error:
            return _SUCCESS
        return _ERROR if self._error.startswith("internal error") else _FAILURE

    def _configure(self) -> None:
        if self._refused:
            raise ParameterError("; ".join(self._refused.values()))
        values = parameters.read(self)
        values.check()
        self._open_view(values)
        self.get_logger().info(f"loading model {values.model}")
        loaded = self._detector = self._load(values)
        try:
            self._outputs = Outputs(self, loaded.card.classes, values.class_id_format, self._view)
            self._apply_thresholds({})
        except GaussianYoloError:
            self.release()
            raise
        self.get_logger().info(f"model {loaded.card.name} ({loaded.model_hash}) on {loaded.runtime.description}")

    def _open_view(self, values: PerceptionParameters) -> None:
        """The page stays while a model cannot be loaded, and says why."""
        self._close_view()
        if values.view_port:
            self._view = open_camera(self.get_fully_qualified_name(), values.view_port, values.view_host)
            self.get_logger().info(f"live view: {self._view.address}")

    def _close_view(self) -> None:
        if self._view is not None:
            self._view.close()
            self._view = None

    def _load(self, values: PerceptionParameters, limit_s: float = math.inf) -> Detector:
        return self._wait_for(lambda: model.load(values), f"loading model {values.model}", limit_s)

    def _wait_for(self, function: Callable[[], Result], what: str, limit_s: float = math.inf) -> Result:
        """`waiting.wait_for`, with reports meanwhile."""
        self._busy_with = what
        self.report()
        period, reported = self.get_parameter("diagnostics_period").value, time.monotonic()

        def meanwhile() -> None:
            nonlocal reported
            if time.monotonic() - reported >= period:
                reported = time.monotonic()
                self.report()

        try:
            return wait_for(function, self._stopping, meanwhile, limit_s)
        finally:
            self._busy_with = ""

    def _open_input(self) -> None:
        values = parameters.read(self)
        values.check()
        self._mailbox = Mailbox()
        self._statistics = FrameStatistics()
        self._supervisor = Supervisor()
        self._ended = False
        kind = TopicInput if values.image_topic else SourceInput
        self._input = kind(self, values, self._mailbox, self._statistics, self._enabled)
        keeper = self._start_worker(values, self._input.frame_size)
        self._statistics.start()
        self._input.start()
        assert self._outputs is not None  # on_configure has run
        self._outputs.road.open(values)
        self.get_logger().info(f"detecting in {values.shown_input}; {keeper.choice}")

    def _start_worker(
        self, values: PerceptionParameters, frame_size: tuple[int, int] | None, limit_s: float = math.inf
    ) -> RateKeeper:
        assert self._outputs is not None
        if self._detector is None:  # the last one was held
            self._detector = self._load(values, limit_s)
            self._apply_thresholds({})
        detector, logger = self._detector, self.get_logger()
        keeper = RateKeeper(detector, values.target_rate, share=self._share, warn=logger.warning)
        self._wait_for(
            lambda: model.choose_canvas(keeper, detector, values, frame_size), "choosing the canvas", limit_s
        )
        if keeper.notice:
            logger.warning(keeper.notice)
        self._keeper = keeper
        self._worker = Worker(
            self._mailbox, detector, keeper, self._outputs, self._statistics, self.get_clock(), logger
        )
        return keeper

    def _supervise(self) -> None:
        """Report a worker that finishes no frame, at once; start another, or end the process, if it never does."""
        if self._worker is None:
            return
        before = self._supervisor.error
        action = self._supervisor.look(self._worker.step, self._statistics.frame_s)
        if bool(before) != bool(self._supervisor.error):
            self.report()
            self.get_logger().warning(self._supervisor.error or "frames are finished again")
        if action is Action.RESTART:
            self._restart_worker()
        elif action is Action.END:
            self._end(self._supervisor.error)

    def _restart_worker(self) -> None:
        """Leave a held worker behind with its detector, and go on with others."""
        self._error = f"{self._supervisor.error}; starting another"
        self.get_logger().error(self._error)
        self._leave_worker(self._error)
        try:
            frame_size = self._input.frame_size if self._input else None
            self._start_worker(parameters.read(self), frame_size, _RESTART_LIMIT_S)
        except Stopped:
            return
        except (GaussianYoloError, TimeoutError) as error:
            self._end(f"{self._error}: {error}")
            return
        self._error = ""
        self.report()

    def _leave_worker(self, reason: str) -> None:
        """Give up a held worker. Its detector cannot be closed or used as long as a thread is in it."""
        if self._worker is not None:
            self._worker.give_up(reason)
        self._worker = self._keeper = self._detector = None

    def _end(self, reason: str) -> None:
        """End the process with EXIT_HELD, gently if possible: the program that started it starts it again."""
        self._error = f"{reason}; the process ends, to be started again"
        self.get_logger().fatal(self._error)
        self.report()
        self._leave_worker(self._error)
        self.exit_code = EXIT_HELD
        self._stopping.set()

    def _close_input(self) -> None:
        self._mailbox.close()
        if self._outputs is not None:
            self._outputs.road.close()
        if self._input is not None:
            self._input.close()
            self._input = None
        if self._worker is not None and not self._worker.join(1.0):
            self._leave_worker("the node was deactivated")
        self._worker = self._keeper = None

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        (self._enabled.set if request.data else self._enabled.clear)()
        response.success = True
        response.message = "frames are processed" if request.data else "frames are ignored"
        self.get_logger().info(response.message)
        return response

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
        except GaussianYoloError as error:  # built into a GPU engine, or a class that the model does not have
            self._apply_thresholds({})  # restore the values from before the refused change
            return SetParametersResult(successful=False, reason=str(error))
        for change in changes:
            self._refused.pop(change.name, None)
        return SetParametersResult(successful=True)

    def _apply_thresholds(self, changes: dict[str, Any]) -> None:
        """Pass the live parameters to the detector and the outputs, with `changes` applied."""
        detector = self._detector
        if detector is None:
            return
        known = {name: value for name, value in changes.items() if name in PARAMETERS}
        values = replace(parameters.read(self), **known)
        model.tune(detector, values)
        if self._outputs is not None and (known or not changes):
            self._outputs.publish_labels(detector.lowest_score)
            self._outputs.road.apply(values)

    def _parts(self) -> Parts:
        status = self._input.status if self._input else None
        skipped, dropped = (status.skipped, status.dropped) if status else (0, 0)
        self._statistics.sample(self._statistics.received + skipped + dropped, self._mailbox.dropped + dropped)
        return Parts(
            self.get_fully_qualified_name(),
            self._error,
            self._busy_with,
            self._enabled.is_set(),
            parameters.read(self),
            self.get_clock().now().nanoseconds / 1e9,
            self._statistics,
            self._mailbox,
            self._detector,
            status,
            self._keeper,
            self._supervisor.error if self._worker else "",
            self._outputs.road.notice if self._outputs else "",
        )
