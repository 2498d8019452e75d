from __future__ import annotations

import json
import resource
from contextlib import nullcontext
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


@pytest.mark.parametrize("end", [None, KeyboardInterrupt(), ValueError("a camera that fails")], ids=repr)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_file_is_there_whole_at_the_end(tmp_path: Path, count: int, end: BaseException | None) -> None:
    path = tmp_path / "out.json"
    path.write_text("what was there before, longer than what comes")
    with nullcontext() if end is None else pytest.raises(type(end)), JsonArrayFile(path) as file:
        for number in range(count):
            file.append({"frame": number})
        assert path.read_text() == "what was there before, longer than what comes"
        if end is not None:
            raise end
    assert json.loads(path.read_text()) == [{"frame": number} for number in range(count)]
    assert list(tmp_path.iterdir()) == [path]


def test_a_result_that_cannot_be_written_takes_the_others_with_it(tmp_path: Path) -> None:
    with (
        pytest.raises(RecordingError),
        JsonArrayFile(tmp_path / "out.json") as file,
        VideoRecording(tmp_path / "out.mp4", 10) as video,
    ):
        file.append({"frame": 0})
        video.write(np.zeros((48, 64, 3), np.uint8))
        raise RecordingError("another file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_that_the_disk_does_not_take_whole(tmp_path: Path, suffix: str) -> None:
    """OpenCV says nothing about it, and leaves the end out; a limit of this process stands for a full disk."""
    path = tmp_path / f"out{suffix}"
    path.write_bytes(b"what was there")
    noise = np.random.default_rng(0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        refused = pytest.raises(RecordingError, match=rf"out{suffix} cannot be written: .* the disk may be full")
        with refused, VideoRecording(path, 10) as video:
            for _ in range(20):
                video.write(noise.integers(0, 255, (192, 256, 3), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"what was there"
    assert list(tmp_path.iterdir()) == [path]


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


@pytest.mark.parametrize("shape", [(48, 1), (1, 48), (1, 1)])
def test_frames_too_small_for_a_video_are_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = tmp_path / "a.mp4"
    wanted = pytest.raises(RecordingError, match=f"2x2 px, .*{shape[1]}x{shape[0]} px")
    with VideoRecording(path, 10.0) as video, wanted:
        video.write(np.zeros((*shape, 3), np.uint8))
    assert not path.exists()


@pytest.mark.parametrize(("name", "shape"), [("a.mp4", (16, 9000)), ("a.webm", (17000, 16))])
def test_frames_too_large_for_the_encoder_are_refused(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    wanted = pytest.raises(
        RecordingError, match=f"{shape[1]}x{shape[0]} px there: the encoder takes no frames so large"
    )
    with VideoRecording(tmp_path / name, 10.0) as video, wanted:
        video.write(np.zeros((*shape, 3), np.uint8))


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="only to names in UTF-8"):
        VideoRecording(tmp_path / "caf\udce9.mp4", 10.0)
