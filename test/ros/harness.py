"""A ROS domain for the tests, with nodes under test in this process or in their own processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.ros.fastdds_profile import VARIABLES, fastdds_profile

REPOSITORY = Path(__file__).resolve().parents[2]

# Before the first import of rclpy: messages that check their fields, the shipped transport profile, and a separate
# domain, so that other nodes on this machine are not seen. Domains up to 101 are safe everywhere.
os.environ["ROS_PYTHON_CHECK_FIELDS"] = "1"
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
for variable in VARIABLES:
    os.environ[variable] = str(REPOSITORY / "launch" / fastdds_profile())

FRAMES = 6  # in the fixture `folder`
# Generous: this limits how long a failing test takes, not a passing one.
PATIENCE_S = 30.0


class Ros:
    """A ROS context with an observer node, and perception nodes under test."""

    def __init__(self) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from vision_msgs.msg import Detection2DArray

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.observer = rclpy.create_node("observer", context=self.context)
        self.executor.add_node(self.observer)
        self.detections: list[Any] = []
        self.statuses: list[Any] = []  # summaries
        self.parts: list[Any] = []  # statuses of input, detector and output
        self.observer.create_subscription(Detection2DArray, "/perception/detections", self.detections.append, 100)
        self.observer.create_subscription(DiagnosticArray, "/diagnostics", self._sort, 100)
        self.nodes: list[Any] = []

    def node(self, **parameters: Any) -> Any:
        """A PerceptionNode in this process; it does not autostart unless asked to."""
        from rclpy.parameter import Parameter

        from gaussian_yolo_node.ros.node import PerceptionNode

        # Frames of the tests have whole seconds as stamps.
        values = {"autostart": False, "diagnostics_period": 0.1, "max_age": 2.0, **parameters}
        node = PerceptionNode(
            context=self.context, parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
        )
        self.add(node)
        return node

    def active(self, model: object, **parameters: Any) -> Any:
        """A PerceptionNode of this model that is active."""
        from rclpy.lifecycle import TransitionCallbackReturn

        node = self.node(model=str(model), **parameters)
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        return node

    def refused(self, reason: str, model: object, step: str = "configure", /, **parameters: Any) -> Any:
        """A PerceptionNode that cannot be configured, or with step "activate" not be activated, for this reason."""
        from diagnostic_msgs.msg import DiagnosticStatus
        from rclpy.lifecycle import TransitionCallbackReturn

        node = self.node(**{"model": str(model), **parameters})
        if step == "activate":
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert getattr(node, f"trigger_{step}")() == TransitionCallbackReturn.FAILURE
        self.until_status(DiagnosticStatus.ERROR, reason)
        return node

    def add(self, node: Any) -> None:
        """Spin a node with the others, and destroy it at the end."""
        self.nodes.append(node)
        self.executor.add_node(node)

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Spin until the condition holds, and return its value."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            result = condition()
            if result:
                return result
            self.executor.spin_once(timeout_sec=0.02)
        last = self.statuses[-1] if self.statuses else "no status"
        pytest.fail(f"waited {PATIENCE_S:.0f} s in vain: {what}; last status: {last}")

    def _sort(self, message: Any) -> None:
        for status in message.status:
            (self.statuses if status.name.endswith(": perception") else self.parts).append(status)

    def until_status(self, level: bytes, words: str, part: str = "perception") -> dict[str, str]:
        """Spin until a new status of this level contains these words in its message; returns its values."""
        statuses = self.statuses if part == "perception" else self.parts
        statuses.clear()

        def found() -> Any:
            new = (s for s in statuses if s.name.endswith(f": {part}"))
            return next((s for s in new if s.level == level and words in s.message), None)

        status = self.until(found, f"a status {level!r} of {part} with '{words}'")
        return {value.key: value.value for value in status.values}

    def until_subscribed(self, publisher: Any) -> None:
        self.until(publisher.get_subscription_count, f"a subscription to {publisher.topic_name}")

    def close(self) -> None:
        self.executor.shutdown()
        for node in (*self.nodes, self.observer):
            node.destroy_node()
        self.context.try_shutdown()


class NodeProcess:
    """The installed node's `main` in its own process, as a launch file starts it."""

    def __init__(self, log: Path, parameters: dict[str, Any], name: str = "perception") -> None:
        arguments = ["--ros-args", "-r", f"__node:={name}"]
        for name, value in {"diagnostics_period": 0.1, **parameters}.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            arguments += ["-p", f"{name}:={text}"]
        self._log = log
        self._files_before = _files_in_shared_memory()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gaussian_yolo_node.ros.perception_node", *arguments],
                cwd=REPOSITORY,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        """All output so far."""
        return self._log.read_text()

    def has_handlers(self) -> bool:
        """Whether it has installed its signal handlers."""
        return handles_signals(self.process.pid)

    def shared_memory(self) -> set[str]:
        """Files under /dev/shm that this process has open or mapped and that it created."""
        return _shared_memory(self.process.pid) - self._files_before

    def interrupt(self, signum: int = signal.SIGINT) -> int:
        """Send a signal and return the exit code; a process that survives it by 3 s is an error."""
        self.process.send_signal(signum)
        return self.process.wait(3.0)

    def left_behind(self) -> list[str]:
        """Command lines of processes left in its process group."""
        lines = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                group = int((folder / "stat").read_text().rpartition(")")[2].split()[2])
                if group == self.process.pid:
                    lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
                continue
        return lines

    def stop(self) -> None:
        """End the process if it is alive, gently: a killed process leaves files in shared memory."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def handles_signals(pid: int) -> bool:
    """Whether a process has a handler for SIGTERM; without one, Python itself is still starting."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def left_in_shared_memory(files: set[str]) -> list[str]:
    """Files that still exist and that no process uses; domains share some of Fast DDS's ports."""
    left = files & _files_in_shared_memory()
    return sorted(left - _shared_memory_in_use()) if left else []


def _files_in_shared_memory() -> set[str]:
    return {str(path) for path in Path("/dev/shm").iterdir()}


def _shared_memory_in_use() -> set[str]:
    files: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            files |= _shared_memory(int(folder.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):  # ended, or of another user
            continue
    return files


def _shared_memory(pid: int) -> set[str]:
    folder = Path("/proc") / str(pid)
    paths = {line.split()[-1] for line in (folder / "maps").read_text().splitlines() if "/dev/shm/" in line}
    for descriptor in (folder / "fd").iterdir():
        try:
            paths.add(os.readlink(descriptor))
        except FileNotFoundError:  # closed meanwhile
            continue
    return {path for path in paths if path.startswith("/dev/shm/")}
