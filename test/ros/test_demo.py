"""The demo on a few frames with the tiny model: every promised file is in the folder and readable."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from ros.harness import FRAMES

from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.ros.demo.__main__ import main
from gaussian_yolo_node.ros.demo.pictures import contact_sheet
from gaussian_yolo_node.ros.driving.node_process import EXECUTABLE, find_installed
from gaussian_yolo_node.view import DEFAULT_PORT, LOCALHOST


def listens() -> bool:
    """Whether something listens on the port of the live view."""
    with socket.socket() as probe:
        return probe.connect_ex((LOCALHOST, DEFAULT_PORT)) == 0


CAN_VIEW = find_spec("aiohttp") is not None and not listens()


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, folder: Path, tiny_model: Path) -> Path:
    """What the demo leaves, with the live view if that can be; its output is in stdout.txt."""
    find_installed(EXECUTABLE)
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "gaussian_yolo_node.ros.demo", "--source", str(folder), "--out", str(out)]
    command += ["--model", str(tiny_model), *(["--view"] if CAN_VIEW else [])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (out / "stdout.txt").write_text(done.stdout)
    return out


def test_the_demo_leaves_video_bag_sheet_and_summary(out: Path) -> None:
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
    boxes = sum(len(message.detections) for message in messages)
    assert boxes == sum(summary["detections_per_class"].values()) > 0
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
    assert sheet is not None and sheet.shape[1] == min(3, summary["frames_annotated"]) * 640


def test_the_demo_shows_itself_live(out: Path) -> None:
    """Its page is there during both passes, and gone at the end."""
    if not CAN_VIEW:
        pytest.skip(f"aiohttp is not installed (extra 'view'), or something listens on port {DEFAULT_PORT}")
    address = f"live view: http://{LOCALHOST}:{DEFAULT_PORT}/"
    assert address in (out / "stdout.txt").read_text().splitlines()
    for log in ("node.log", "node_fastest.log"):
        assert address in (out / log).read_text()
    assert not listens()


@pytest.mark.parametrize(
    ("source", "model", "message"),
    [("/nowhere/clip.mp4", "", "/nowhere/clip.mp4"), (None, "no_such_model", "no_such_model")],
)
def test_what_is_missing_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str | None, model: str, message: str
) -> None:
    with pytest.raises(typer.Exit) as end:
        main(source or str(folder), tmp_path / "out", model=model)
    assert end.value.exit_code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("count", "shape"), [(1, (10, 20)), (3, (10, 60)), (4, (20, 60)), (12, (40, 60))])
def test_contact_sheet(count: int, shape: tuple[int, int]) -> None:
    tiles = [np.full((10, 20, 3), 40 + index, np.uint8) for index in range(count)]
    sheet = contact_sheet(tiles)
    assert sheet.shape[:2] == shape
    assert sheet[-1, (count - 1) % 3 * 20, 0] == 40 + count - 1
