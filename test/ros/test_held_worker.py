"""A worker that does not finish its frame: ERROR, and OK afterwards; or another worker, or the end of the process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros.given import ERROR, OK, SUCCESS
from ros.harness import NodeProcess, Ros

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.ros import outputs, service_manager, supervisor
from gaussian_yolo_node.ros.supervisor import EXIT_HELD

PATIENCE_S = 60.0
StartNode = Callable[..., NodeProcess]


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker counts as held after a third of its time."""
    monkeypatch.setattr(supervisor, "HELD_S", 0.3)


class Hold:
    """Holds all threads that come to it, until it is released; counts them."""

    def __init__(self) -> None:
        self.active = False
        self.held = 0
        self.only: object = None  # holds calls of this object alone
        self._free = threading.Event()

    def __call__(self, caller: object) -> None:
        if self.active and self.only in (None, caller):
            self.held += 1
            self._free.wait(PATIENCE_S)

    def release(self) -> None:
        self.active = False
        self._free.set()


@pytest.fixture
def hold() -> Iterator[Hold]:
    hold = Hold()
    yield hold
    hold.release()


def held_in(monkeypatch: pytest.MonkeyPatch, hold: Hold, owner: Any, method: str) -> None:
    original = getattr(owner, method)

    def held(self: Any, *arguments: Any) -> Any:
        hold(self)
        return original(self, *arguments)

    monkeypatch.setattr(owner, method, held)


def start(ros: Ros, model: Path, folder: Path) -> Any:
    node = ros.active(model, source=str(folder), playback="realtime", loop=True, target_rate=0.0, max_dropped=1.0)
    ros.until(lambda: len(ros.detections) > 3, "detections")
    return node


@pytest.mark.parametrize(
    ("owner", "method", "words"),
    [
        (Detector, "prepare", "the worker is putting a frame on the canvas"),
        (Detector, "detect", "the worker is running the network"),
        (outputs.Outputs, "publish_detections", "the worker is publishing detections"),
    ],
)
def test_an_error_while_it_is_held_and_ok_again_after(
    ros: Ros,
    tiny_model: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    hold: Hold,
    owner: Any,
    method: str,
    words: str,
) -> None:
    held_in(monkeypatch, hold, owner, method)
    start(ros, tiny_model, folder)
    hold.active = True
    ros.until_status(ERROR, words, "detector")
    ros.until_status(ERROR, words)
    assert hold.held == 1
    hold.release()
    ros.until_status(OK, "on canvas", "detector")
    ros.until_status(OK, "streaming")


def test_held_for_ever_another_worker_goes_on(
    ros: Ros, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    monkeypatch.setattr(supervisor, "LEAVE_S", 0.3)
    held_in(monkeypatch, hold, Detector, "detect")
    node = start(ros, tiny_model, folder)
    former = hold.only = node._detector
    hold.active = True
    ros.until_status(ERROR, "running the network; starting another")
    ros.detections.clear()
    ros.until(lambda: len(ros.detections) > 3, "detections of another worker")
    assert node._detector is not former
    values = ros.until_status(OK, "streaming")
    assert values["frames_skipped"] == "1"
    assert "starting another" in values["last_error"]

    published = len(ros.detections)
    hold.release()  # the former worker ends without a word
    ros.until(lambda: len(ros.detections) > published + 3, "more detections")
    values = ros.until_status(OK, "streaming")
    assert values["frames_skipped"] == "1"
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in ros.detections]
    assert stamps == sorted(set(stamps))
    assert node.exit_code == 0


def test_held_again_it_asks_for_the_end_of_the_process(
    ros: Ros, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    monkeypatch.setattr(supervisor, "LEAVE_S", 0.3)
    held_in(monkeypatch, hold, Detector, "detect")
    node = start(ros, tiny_model, folder)
    hold.active = True
    ros.until_status(ERROR, "the process ends, to be started again")
    assert hold.held == 2
    assert node.exit_code == EXIT_HELD
    assert node._stopping.is_set()


def test_deactivated_while_it_is_held_and_activated_again(
    ros: Ros, tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, hold: Hold
) -> None:
    held_in(monkeypatch, hold, Detector, "detect")
    node = start(ros, tiny_model, folder)
    former = hold.only = node._detector
    hold.active = True
    ros.until_status(ERROR, "running the network")
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    assert node._detector not in (None, former)
    ros.until_status(OK, "streaming")


def test_the_process_ends_with_the_documented_code(ros: Ros, tiny_model: Path, folder: Path) -> None:
    program = f"""
import threading
from gaussian_yolo_node.ros import perception_node, supervisor
from gaussian_yolo_node.detector.detector import Detector
supervisor.LEAVE_S = supervisor.LOADING_S = 0.3
Detector.detect = lambda *arguments: threading.Event().wait()
perception_node.main(["--ros-args", "-p", "model:={tiny_model}", "-p", "source:={folder}", "-p", "loop:=true"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == EXIT_HELD, done.stderr
    assert "the worker is running the network" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def listening(name: str) -> Iterator[socket.socket]:
    """A socket as systemd has it, by its path or abstract name."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        listener.settimeout(PATIENCE_S)
        yield listener


class TestServiceManager:
    """The messages to systemd; the test is systemd."""

    def test_a_node_says_that_it_is_ready_and_again_and_again_that_it_is_alive(
        self, start_node: StartNode, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        with listening(str(tmp_path / "notify")) as listener:
            monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
            start_node(model=tiny_model, image_topic="/image")
            assert [listener.recv(100) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]

    @pytest.mark.parametrize("address", ["", "/nowhere/notify", "@nobody"])
    def test_without_a_manager_nothing_happens(self, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        service_manager.ready()

    @pytest.mark.parametrize("kind", ["path", "abstract"])
    def test_a_full_socket_does_not_hold_the_node(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
    ) -> None:
        name = str(tmp_path / "notify") if kind == "path" else f"@gaussian_yolo_{os.getpid()}"
        with listening(name) as listener:
            monkeypatch.setenv("NOTIFY_SOCKET", name)
            for _ in range(10_000):
                service_manager.ready()
            assert listener.recv(100) == b"READY=1"
