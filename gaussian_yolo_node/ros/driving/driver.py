"""Drives a perception node's lifecycle from outside and hears what it says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.node_process import NodeProcess
from gaussian_yolo_node.ros.driving.own_node import OwnNode

# Loading a model takes seconds; a node that has not answered by then never will.
TRANSITION_TIMEOUT_S = 60.0
DISCOVERY_TIMEOUT_S = 20.0
ANSWER_TIMEOUT_S = 20.0
# An answer sent before discovery is complete is lost, and not reported: a request that may be repeated is.
ASK_AGAIN_S = 2.0


class NodeDriver:
    """Speaks to one perception node.

    Args:
        own: the node of ours that speaks to it.
        name: fully qualified name of the perception node.
        process: the node's process, if it is a child of ours: its end is then known at once.

    Attributes:
        diagnostics: the latest key/values of the node's status.
        status, level: message and level of its latest status.
        reports: how many statuses have come.
    """

    def __init__(self, own: OwnNode, name: str, process: NodeProcess | None = None) -> None:
        self.name = name
        self.diagnostics: dict[str, str] = {}
        self.status = ""
        self.level = DiagnosticStatus.OK
        self.reports = 0
        self._own = own
        self._process = process
        self._change_state = own.node.create_client(ChangeState, f"{name}/change_state")
        self._get_state = own.node.create_client(GetState, f"{name}/get_state")
        self._set_parameters = own.node.create_client(SetParameters, f"{name}/set_parameters")
        self._reports = own.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def topic(self, name: str) -> str:
        """Full name of one of the node's topics."""
        return f"{self.name}/{name}"

    def count(self, key: str) -> int:
        """A counter of the node's diagnostics."""
        return int(self.diagnostics.get(key) or 0)

    @property
    def is_idle(self) -> bool:
        """Whether all frames that the node says it received are accounted for."""
        done = sum(self.count(key) for key in ("frames_processed", "frames_dropped", "frames_skipped"))
        return done >= self.count("frames_received")

    def check_alive(self) -> None:
        """Raise DrivingError if the node is a child of ours and has ended."""
        if self._process is not None:
            self._process.check_alive()

    def configure(self) -> None:
        """Have the node load its model. DrivingError with the node's own words if it cannot."""
        self._transition(Transition.TRANSITION_CONFIGURE)

    def activate(self) -> None:
        """Have the node start. DrivingError with the node's own words if it cannot."""
        self._transition(Transition.TRANSITION_ACTIVATE)

    def state(self) -> str:
        """State of the node's lifecycle, as `ros2 lifecycle get` names it.

        Raises:
            DrivingError: there is no such node.
        """
        self.until(self._get_state.service_is_ready, DISCOVERY_TIMEOUT_S, f"there is no node {self.name} to be seen")
        return str(self._ask(self._get_state, GetState.Request()).current_state.label)

    def set_parameters(self, values: Mapping[str, Any]) -> None:
        """Set parameters of the node.

        Raises:
            DrivingError: it refuses one; says why.
        """
        messages = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        response = self._ask(self._set_parameters, SetParameters.Request(parameters=messages))
        for name, result in zip(values, response.results, strict=True):
            if not result.successful:
                raise DrivingError(f"node {self.name} refuses parameter '{name}': {result.reason}")

    def holds(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Handle what comes in until the condition holds, or for the time. DrivingError if the node has ended."""
        return self._own.spins_until(condition, timeout_s, self.check_alive)

    def until(self, condition: Callable[[], bool], timeout_s: float, complaint: str) -> None:
        """Handle what comes in until the condition holds.

        Raises:
            DrivingError: it does not within the time, or the node has ended.
        """
        if not self.holds(condition, timeout_s):
            raise DrivingError(f"{complaint} within {timeout_s:.0f} s")

    def close(self) -> None:
        """Destroy the clients and the subscription."""
        for client in (self._change_state, self._get_state, self._set_parameters):
            self._own.node.destroy_client(client)
        self._own.node.destroy_subscription(self._reports)

    def _transition(self, transition: int) -> None:
        self.until(self._change_state.service_is_ready, DISCOVERY_TIMEOUT_S, "the node did not come up")
        future = self._change_state.call_async(ChangeState.Request(transition=Transition(id=transition)))
        complaint = f"node {self.name} did not answer {self._change_state.srv_name}"
        self.until(future.done, TRANSITION_TIMEOUT_S, complaint)
        if not future.result().success:
            self._own.spin(0.5)
            raise DrivingError(self.diagnostics.get("last_error") or self.status or "the node refused to start")

    def _ask(self, client: Any, request: Any) -> Any:
        """Call what changes nothing when it comes twice, until it answers."""
        self.until(client.service_is_ready, DISCOVERY_TIMEOUT_S, f"node {self.name} offers no {client.srv_name}")
        calls: list[Any] = []
        for _ in range(round(ANSWER_TIMEOUT_S / ASK_AGAIN_S)):
            calls.append(client.call_async(request))
            if self.holds(lambda: any(call.done() for call in calls), ASK_AGAIN_S):
                return next(call.result() for call in calls if call.done())
        raise DrivingError(f"node {self.name} did not answer {client.srv_name} within {ANSWER_TIMEOUT_S:.0f} s")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == f"{self.name}: perception":
                self.status, self.level = status.message, status.level
                self.diagnostics = {item.key: item.value for item in status.values}
                self.reports += 1
