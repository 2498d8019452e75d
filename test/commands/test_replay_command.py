"""`gaussian-yolo replay` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from commands.conftest import Run
from factories import make_image
from ros.harness import REPOSITORY

FRAMES = 6


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "gaussian_yolo_node.commands", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    path = f"{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"
    return {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONPATH": path, **changes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames, and bag.mcap with the same frames next to it."""
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")
    from replay.replay_bags import image, write_bag

    folder = tmp_path_factory.mktemp("drive")
    pictures = [make_image(75, 121, seed=index) for index in range(FRAMES)]
    (folder / "frames").mkdir()
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "frames" / f"{index:03}.png"), picture)
    write_bag(folder / "bag.mcap", [image(picture) for picture in pictures], truth=True)
    write_bag(folder / "long.mcap", [image(pictures[0])] * 300)
    return folder


def test_lockstep_equals_detect_and_itself(run: Run, folder: Path, tmp_path: Path, tiny_model: Path) -> None:
    detected = run(
        *("detect", folder / "frames", "--model", tiny_model, "--score-threshold", 0.005),
        *("--json", tmp_path / "detect.json"),
    )
    assert detected.code == 0, detected.err
    for name in ("first", "second"):
        done = run(
            "replay", folder / "bag.mcap", "-o", tmp_path / name, "--model", tiny_model, "--no-report", "--lockstep"
        )
        assert done.code == 0, done.err
        assert f"{FRAMES} frames played, {FRAMES} answered, 0 dropped, 0 failed" in done.out
        assert "age of the answers p50" in done.out
    first, second = tmp_path / "first", tmp_path / "second"
    assert (first / "detections.json").read_bytes() == (tmp_path / "detect.json").read_bytes()
    assert (first / "detections.json").read_bytes() == (second / "detections.json").read_bytes()
    assert (first / "answers.mcap").read_bytes() == (second / "answers.mcap").read_bytes()
    assert json.loads((first / "run.json").read_text())["command"][:2] == ["gaussian-yolo", "replay"]


def test_ctrl_c_keeps_what_there_is(folder: Path, tmp_path: Path, tiny_model: Path) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("replay", folder / "long.mcap", "-o", run, "--model", tiny_model, "--hz", 20, "--no-report"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    log = run / "node.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "detecting in" in log.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    document = json.loads((run / "run.json").read_text())
    assert 0 < document["counters"]["answered"] == len(json.loads((run / "detections.json").read_text())) < 300
    assert "the replay was interrupted" in document["notes"]
    assert f"{document['counters']['played']} frames played" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["{bag}", "-o", "{full}"], "holds a run already (run.json)", id="folder taken"),
        pytest.param(["/nowhere/drive.mcap"], "/nowhere/drive.mcap", id="no bag"),
        pytest.param(["{bag}", "--image-topic", "/rear"], "/camera/image_raw", id="no such topic"),
        pytest.param(["{bag}", "--rate", "0"], "must be above 0", id="rate 0"),
        pytest.param(["{bag}", "--timeout", "0"], "must be above 0 s", id="no patience"),
        pytest.param(["{bag}", "--remap", "/a=/b"], "not of the form from:=to", id="no remap"),
        pytest.param(["{bag}", "--parameter", "tracking"], "is not of the form NAME:=VALUE", id="no value"),
        pytest.param(["{bag}", "--node", "perception"], "is not a full name", id="no full name"),
        pytest.param(["{bag}", "--rate", "2", "--hz", "5"], "exclude each other", id="two rates"),
        pytest.param(["{bag}", "--model", "no_such_model"], "no_such_model", id="no model"),
        pytest.param(["{bag}", "--runtime", "abacus"], "abacus", id="no runtime", marks=pytest.mark.slow),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, folder: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "run.json").write_text("{}")
    words = [word.format(bag=folder / "bag.mcap", full=full) for word in arguments]
    done = run("replay", *words, *([] if "-o" in words else ["-o", tmp_path / "run"]))
    assert done.code == 2
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run" / "run.json").exists()


def test_without_ros_the_way_to_it_is_told(tmp_path: Path) -> None:
    # A Python that cannot import rclpy, on any machine.
    (tmp_path / "rclpy.py").write_text("raise ModuleNotFoundError(\"No module named 'rclpy'\", name='rclpy')\n")
    path = f"{tmp_path}:{REPOSITORY}:{os.environ.get('PYTHONPATH', '')}"
    done = subprocess.run(
        command("replay", tmp_path / "bag.mcap", "-o", tmp_path / "run"),
        capture_output=True,
        text=True,
        env=environment(PYTHONPATH=path),
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: replay plays through the ROS 2 node")
    assert "setup.bash" in done.stderr and len(done.stderr.splitlines()) == 1
