"""The demo on a few frames with the tiny model: every promised file is in the folder and readable."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.ros.demo.pictures import contact_sheet
from gaussian_yolo_node.ros.driving.node_process import EXECUTABLE, find_installed
from gaussian_yolo_node.view import DEFAULT_PORT, LOCALHOST

FRAMES = 12


def run_demo(source: str, out: Path, model: Path | str, *options: str) -> subprocess.CompletedProcess[str]:
    find_installed(EXECUTABLE)
    command = [sys.executable, "-m", "gaussian_yolo_node.ros.demo", "--source", source, "--out", str(out)]
    return subprocess.run([*command, "--model", str(model), *options], capture_output=True, text=True, timeout=120)


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(FRAMES):
        cv2.imwrite(str(folder / f"{index:03}.png"), make_image(75, 121, seed=index))
    return folder


def test_the_demo_leaves_video_bag_sheet_and_summary(frames: Path, tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    done = run_demo(str(frames), out, tiny_model)
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["frames_in"] == FRAMES
    assert summary["frames_processed"] + summary["frames_dropped"] == FRAMES
    assert summary["frames_recorded"] == summary["frames_processed"]
    assert summary["fastest_frames"] == FRAMES  # nothing is dropped when the node sets the pace
    assert summary["canvas"] == "64x96"
    assert summary["frame_age_p50_ms"] > 0 and summary["bare_network_ms"] > 0

    with BagReader(out / "detections.mcap") as reader:
        messages = [message.decode() for message in reader.messages({"/demo/perception/detections"})]
    assert len(messages) == summary["frames_recorded"]
    found = sum(len(message.detections) for message in messages)
    assert found == sum(summary["detections_per_class"].values()) > 0
    assert all(d.results[0].pose.covariance[0] > 0 for message in messages for d in message.detections)

    # A frame is not drawn if a newer one is there before its turn.
    for name in ("annotated.mp4", "annotated.webm"):
        video = cv2.VideoCapture(str(out / name))
        count = 0
        while video.grab():
            count += 1
        assert count == summary["frames_annotated"], name
    assert 0 < summary["frames_annotated"] <= summary["frames_recorded"]
    sheet = cv2.imread(str(out / "contact_sheet.png"))
    assert sheet is not None and sheet.shape[1] == 3 * 640


@pytest.mark.parametrize(
    ("source", "model", "message"),
    [
        ("/nowhere/clip.mp4", None, "/nowhere/clip.mp4"),
        (None, "no_such_model", "no_such_model"),
    ],
)
def test_what_is_missing_is_named(
    frames: Path, tmp_path: Path, tiny_model: Path, source: str | None, model: str | None, message: str
) -> None:
    done = run_demo(source or str(frames), tmp_path / "out", model or tiny_model)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("count", "shape"), [(1, (10, 20)), (3, (10, 60)), (4, (20, 60)), (12, (40, 60))])
def test_contact_sheet(count: int, shape: tuple[int, int]) -> None:
    tiles = [np.full((10, 20, 3), 40 + index, np.uint8) for index in range(count)]
    sheet = contact_sheet(tiles)
    assert sheet.shape[:2] == shape
    assert sheet[-1, (count - 1) % 3 * 20, 0] == 40 + count - 1


def test_the_demo_shows_itself_live(frames: Path, tmp_path: Path, tiny_model: Path) -> None:
    """Its page is there during both passes, and gone at the end."""
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (extra 'view')")
    with socket.socket() as probe:
        if probe.connect_ex((LOCALHOST, DEFAULT_PORT)) == 0:
            pytest.skip(f"something listens on port {DEFAULT_PORT} of this machine")
    done = run_demo(str(frames), tmp_path / "out", tiny_model, "--view", "--rate", "5")
    assert done.returncode == 0, done.stderr
    address = f"live view: http://{LOCALHOST}:{DEFAULT_PORT}/"
    assert address in done.stdout.splitlines()
    for log in ("node.log", "node_fastest.log"):
        assert address in (tmp_path / "out" / log).read_text()
    with socket.socket() as probe:
        assert probe.connect_ex((LOCALHOST, DEFAULT_PORT)) != 0
