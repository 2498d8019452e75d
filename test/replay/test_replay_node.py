"""The executable `replay_node`, started as by launch, beside a perception node that waits to be configured."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from replay.replay_bags import image, pictures, write_bag
from ros.harness import REPOSITORY, NodeProcess, handles_signals

from gaussian_yolo_node.commands.replay_node_run import run as run_here

StartNode = Callable[..., NodeProcess]


def ros_arguments(parameters: Sequence[str]) -> list[str]:
    return ["--ros-args", "-r", "__node:=replay", *(word for parameter in parameters for word in ("-p", parameter))]


def start(*parameters: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "gaussian_yolo_node.commands.replay_node", *ros_arguments(parameters)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"},
    )


def run(*parameters: str) -> tuple[int, str]:
    process = start(*parameters)
    output, _ = process.communicate(timeout=60)
    return process.returncode, output


def test_it_drives_the_node_plays_the_bag_and_ends(start_node: StartNode, tmp_path: Path, tiny_model: Path) -> None:
    start_node(model=tiny_model, autostart=False)
    bag = write_bag(tmp_path / "bag.mcap", [image(picture) for picture in pictures(5)], truth=True)
    code, output = run(f"bag:={bag}", f"output:={tmp_path / 'run'}", "report:=false")
    assert code == 0, output
    assert "5 frames played, 5 answered, 0 dropped, 0 failed" in output
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["counters"]["answered"] == 5
    assert len(json.loads((tmp_path / "run" / "detections.json").read_text())) == 5


def test_a_signal_ends_it_with_what_there_is(start_node: StartNode, tmp_path: Path, tiny_model: Path) -> None:
    start_node(model=tiny_model, autostart=False)
    bag = write_bag(tmp_path / "bag.mcap", [image(pictures(1)[0])] * 200)
    process = start(f"bag:={bag}", f"output:={tmp_path / 'run'}", "mode:=realtime")
    assert process.stdout is not None
    for line in process.stdout:
        if "replaying 200 images" in line:
            break
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["counters"]["played"] < 200
    assert "the replay was interrupted" in document["notes"]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=lambda signum: signum.name)
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_signal_while_it_starts(tmp_path: Path, signum: int, delay: float) -> None:
    bag = write_bag(tmp_path / "bag.mcap", [image(pictures(1)[0])])
    process = start(f"bag:={bag}", f"output:={tmp_path / 'run'}")  # the node it looks for does not exist
    deadline = time.monotonic() + 30
    while not handles_signals(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(signum)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        pytest.param(["output:=run"], "parameter 'bag' is empty", id="no bag"),
        pytest.param(["bag:=/nowhere.mcap", "output:=run"], "/nowhere.mcap", id="bag is not there"),
        pytest.param(["bag:=b", "output:=run", "mode:=slow"], "'mode' is 'slow'", id="no mode"),
        pytest.param(["bag:=b", "output:=run", "rate:=fast"], "parameter 'rate' must be like 1.0", id="no rate"),
        pytest.param(["bag:=b", "output:=run", "rate:=-1.0"], "must be above 0", id="backwards"),
    ],
)
def test_what_is_wrong_is_named(capfd: pytest.CaptureFixture[str], parameters: Sequence[str], message: str) -> None:
    code = run_here(["replay_node", *ros_arguments(parameters)])
    output = "".join(capfd.readouterr())
    assert code == 2
    assert message in output
    assert "Traceback" not in output
