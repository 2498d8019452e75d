from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import make_detections

from gaussian_yolo_node.frames.recording import JsonArrayFile, RecordingError, VideoRecording, detection_record


def test_detection_record() -> None:
    detections = make_detections([[1.5, 2, 30, 40]], [0.5], [1], [[1, 2, 3, 4.25]])

    record = detection_record("a.jpg", (375, 1242), detections, ("car", "pedestrian"))

    assert record == {
        "frame": "a.jpg",
        "width": 1242,
        "height": 375,
        "detections": [
            {"class": "pedestrian", "score": 0.5, "box": [1.5, 2.0, 30.0, 40.0], "sigma": [1.0, 2.0, 3.0, 4.25]}
        ],
    }
    assert json.loads(json.dumps(record)) == record  # plain Python numbers


def test_json_file_is_valid_after_each_record(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("what was there before, longer than what comes")
    with JsonArrayFile(path) as file:
        assert json.loads(path.read_text()) == []
        for count in range(1, 4):
            file.append({"frame": count})
            assert json.loads(path.read_text()) == [{"frame": number} for number in range(1, count + 1)]


def test_json_file_refuses_what_json_has_not_and_stays_valid(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with JsonArrayFile(path) as file:
        file.append({"frame": 0})
        with pytest.raises(ValueError):
            file.append({"frame": float("nan")})

    assert json.loads(path.read_text()) == [{"frame": 0}]


@pytest.mark.parametrize("name", ["file/out.json", "."])
def test_json_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="cannot be written"):
        JsonArrayFile(tmp_path / name)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("size", [(48, 64), (47, 63)], ids=["even", "odd"])
def test_video_of_frames_of_several_sizes(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    with VideoRecording(path, 12.5) as video:
        for height, width in (size, size, (100, 64), (10, 10), (48, 65)):
            video.write(np.full((height, width, 3), 200, np.uint8))

    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 12.5
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(size[0] // 2 * 2, size[1] // 2 * 2, 3)] * 5
    assert all(abs(int(frame[frame.shape[0] // 2, frame.shape[1] // 2, 0]) - 200) < 10 for frame in frames)
    assert frames[2][24, 2, 0] < 50  # a tall frame has black bars at its sides


@pytest.mark.parametrize(
    ("name", "message"), [("file/out.mp4", "Not a directory|File exists"), ("out.gif", "an .mp4 or a .webm file")]
)
def test_video_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=message):
        VideoRecording(tmp_path / name, 10.0)


def test_video_that_the_encoder_refuses(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with VideoRecording(tmp_path / "out.mp4", 10.0) as video, pytest.raises(RecordingError, match="cannot write"):
        (tmp_path / "out.mp4").mkdir()  # after the check of the path
        video.write(np.zeros((48, 64, 3), np.uint8))
    assert capfd.readouterr().err == ""


def test_video_without_frames_leaves_no_file(tmp_path: Path) -> None:
    with VideoRecording(tmp_path / "out.mp4", 10.0):
        pass

    assert not (tmp_path / "out.mp4").exists()
