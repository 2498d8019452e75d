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
from data_factory import make_kitti
from factories import make_image

pytest.importorskip("rosbags", reason="rosbags is not installed")

from gaussian_yolo_node.commands.gaussian_yolo import main

REPOSITORY = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "gaussian_yolo_node.commands"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY)}


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["gaussian-yolo", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    return int(caught.value.code or 0)


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    make_kitti(folder, ["000000", "000001", "000002"])
    (folder / "labels" / "000002.txt").unlink()
    return folder


def test_a_bag_is_made_and_listed(tmp_path, data, monkeypatch, capsys):
    (data / "images" / "000003.jpg").write_bytes(b"no image")
    bag = tmp_path / "drive.mcap"
    assert run(monkeypatch, "bag", "make", data, "-o", bag, "--start", "2011-09-26T13:02:25") == 0
    output = capsys.readouterr()
    assert f"{bag}: 3 frames of 128x64 px, 2 with truth (2 objects), 0.2 s (10.0 Hz), 1 skipped" in output.out
    assert "skipped 000003.jpg: not an image" in output.err

    assert run(monkeypatch, "bag", "info", bag, "--json", tmp_path / "info.json") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "8 messages, 0.200 s from 2011-09-26 13:02:25.000 UTC to 2011-09-26 13:02:25.200 UTC"
    assert lines[2].split() == ["topic", "type", "messages", "rate", "largest", "gap", "delay", "images"]
    assert lines[3].split("  ")[0] == "/camera/image_raw"
    assert lines[3].endswith("10.00 Hz  0.100 s at 0.0 s  0.0 ms  128x64 bgr8")
    document = json.loads((tmp_path / "info.json").read_text())
    assert {topic["name"]: topic["count"] for topic in document["topics"]} == {
        "/camera/image_raw": 3,
        "/ground_truth": 2,
        "/ground_truth/info": 3,
    }


def test_every_option_reaches_the_bag(tmp_path, data, monkeypatch, capsys):
    options = ["--format", "folder", "--labels", data / "labels", "--image", "compressed", "--compression", "zstd"]
    options += ["--storage", "sqlite3", "--rate", "20", "--frames", "7", "--frame-id", "left", "--start", "5.5"]
    options += ["--camera-info", REPOSITORY / "calib" / "kitti_left_color.yaml"]
    bag = tmp_path / "bag"
    assert run(monkeypatch, "bag", "make", data / "images", "-o", bag, *options) == 0
    assert run(monkeypatch, "bag", "make", data / "images", "-o", bag, *options) == 2
    assert "error: " in capsys.readouterr().err
    assert run(monkeypatch, "bag", "make", data / "images", "-o", bag, *options, "--overwrite") == 0
    capsys.readouterr()
    assert run(monkeypatch, "bag", "info", bag) == 0
    output = capsys.readouterr().out
    assert "sqlite3, compressed (zstd messages)" in output
    assert "0.300 s from 5.500 s to 5.800 s" in output
    assert "/camera/image_raw/compressed" in output and "20.00 Hz" in output
    assert "/camera/camera_info" in output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "DATA", "-o", "BAG", "--start", "noon"], "--start noon is no time"),
        (["make", "DATA", "-o", "BAG", "--rate", "-3"], "the rate must be above 0 Hz"),
        (["make", "DATA", "-o", "BAG", "--frames", "3", "--loop", "2"], "--frames and --loop exclude each other"),
        (["make", "DATA", "-o", "BAG", "--camera-info", "none.yaml"], "calibration none.yaml cannot be read"),
        (["make", "DATA", "-o", "BAG", "--storage", "sqlite3"], "does not end in .db3"),
        (["make", "DATA", "-o", "BAG", "--format", "kitti-raw"], "is not a drive of KITTI's raw data"),
        (["make", "NONE", "-o", "BAG"], "does not exist"),
        (["info", "NONE"], "does not exist"),
        (["info", "DATA"], "holds no bag"),
        (["info", "BAG"], "does not exist"),
    ],
)
def test_mistakes_are_one_line(tmp_path, data, monkeypatch, capsys, arguments, words):
    paths = {"DATA": data, "BAG": tmp_path / "bag.mcap", "NONE": tmp_path / "none"}
    assert run(monkeypatch, "bag", *(paths.get(argument, argument) for argument in arguments)) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
    assert len(errors) == 1 and errors[0].startswith("error: ") and words in errors[0]
    assert not (tmp_path / "bag.mcap").exists()


def test_what_is_interrupted_leaves_nothing(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(3):
        cv2.imwrite(str(folder / f"{index}.png"), make_image(64, 96, seed=index))
    out = tmp_path / "out"
    out.mkdir()
    command = [*COMMAND, "bag", "make", folder, "-o", out / "bag.mcap", "--frames", "1000000"]
    process = subprocess.Popen(list(map(str, command)), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not list(out.glob(".bag_*/*/*.mcap")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    # Python itself dies of the signal if it arrives inside code generated by rosbags; a shell then also reports 130.
    assert process.returncode in (130, -signal.SIGINT), errors
    assert errors.strip().endswith("interrupted") and "Traceback" not in errors
    assert os.listdir(out) == []


def test_detections_of_a_bag_are_those_of_the_folder(tmp_path, data, tiny_model, monkeypatch, capsys):
    assert run(monkeypatch, "bag", "make", data, "-o", tmp_path / "bag", "--image", "compressed") == 0
    for source, name in ((data / "images", "folder.json"), (tmp_path / "bag", "bag.json")):
        assert run(monkeypatch, "detect", source, "--model", tiny_model, "--json", tmp_path / name) == 0
    assert (tmp_path / "bag.json").read_bytes() == (tmp_path / "folder.json").read_bytes()
    capsys.readouterr()
    for truth in (data / "labels", tmp_path / "bag"):
        found = tmp_path / f"{truth.name}_ap.json"
        assert run(
            monkeypatch, "evaluate", "--ground-truth", truth, "--predictions", tmp_path / "bag.json", "--json", found
        ) == 0  # fmt: skip
    documents = [json.loads((tmp_path / f"{name}_ap.json").read_text()) for name in ("labels", "bag")]
    assert documents[0]["ap"] == documents[1]["ap"]
