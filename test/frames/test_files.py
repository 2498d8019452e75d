from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from factories import make_image

from gaussian_yolo_node.frames import Frame, Source, SourceError, SourceState, files, open_source

JPEG = cv2.imencode(".jpg", make_image())[1].tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five JPEGs with different grey levels, written out of order."""
    for index in (3, 1, 4, 0, 2):
        cv2.imwrite(str(tmp_path / f"{index:06d}.jpg"), np.full((48, 160, 3), 50 * index, np.uint8))
    return tmp_path


def write_video(path: Path, frames: int = 20, fps: float = 25.0, size: tuple[int, int] = (48, 64)) -> Path:
    fourcc = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), fourcc, fps, size[::-1])
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((*size, 3), 10 * index % 256, np.uint8))
    writer.release()
    return path


def read_all(source: Source, limit: int = 1000) -> list[Frame]:
    frames = []
    while len(frames) < limit and (frame := source.read()) is not None:
        frames.append(frame)
    return frames


def test_folder_is_played_by_name(folder: Path) -> None:
    (folder / "notes.txt").write_text("not an image")
    (folder / "._000001.jpg").write_bytes(b"what macOS leaves")

    source = open_source(str(folder))
    assert (source.length, source.fps, source.state) == (5, 10.0, SourceState.OPENING)
    before = time.time()
    frames = read_all(source)

    assert [frame.name for frame in frames] == [f"{index:06d}.jpg" for index in range(5)]
    assert [frame.index for frame in frames] == list(range(5))
    np.testing.assert_allclose([frame.image.mean() for frame in frames], [0, 50, 100, 150, 200], atol=2)
    assert all(before <= frame.stamp <= time.time() for frame in frames)
    assert (source.state, source.message, source.skipped) == (SourceState.FINISHED, "", 0)
    assert source.read() is None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (JPEG[: len(JPEG) // 2], "cut short"),
        (JPEG[:100], "cut short"),
        (b"these are no pixels", "OpenCV can decode"),
        (b"", "empty"),
    ],
    ids=["truncated", "truncated in its header", "not an image", "empty"],
)
def test_corrupt_image_in_the_middle_is_skipped_counted_and_named(folder: Path, content: bytes, reason: str) -> None:
    (folder / "000002.jpg").write_bytes(content)

    source = open_source(str(folder))
    frames = read_all(source)

    assert [frame.name for frame in frames] == ["000000.jpg", "000001.jpg", "000003.jpg", "000004.jpg"]
    assert [frame.index for frame in frames] == [0, 1, 3, 4]
    assert source.skipped == 1
    assert "000002.jpg" in source.message and reason in source.message
    assert source.state is SourceState.FINISHED


def test_image_that_vanishes_is_skipped(folder: Path) -> None:
    for index in range(5, 30):  # more frames than are decoded ahead
        (folder / f"{index:06d}.jpg").write_bytes(JPEG)
    source = open_source(str(folder))
    (folder / "000029.jpg").unlink()

    assert len(read_all(source)) == 29
    assert "000029.jpg" in source.message and "No such file" in source.message


def test_folder_of_corrupt_images_finishes_also_in_a_loop(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(b"no")
    source = open_source(str(tmp_path), loop=True)

    assert source.read() is None
    assert (source.skipped, source.state) == (3, SourceState.FINISHED)


@pytest.mark.parametrize("video", [False, True], ids=["folder", "video"])
def test_a_medium_in_a_loop_that_vanishes_and_comes_back_is_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: bool
) -> None:
    monkeypatch.setattr(files, "_FIRST_PAUSE_S", 0.01)
    medium = write_video(tmp_path / "clip.avi") if video else make_folder(tmp_path / "played")
    source = open_source(str(medium), loop=True)
    assert source.read() is not None
    away = medium.rename(tmp_path / "away")
    # More than are decoded ahead.
    reader = threading.Thread(target=lambda: [source.read() for _ in range(100)], daemon=True)
    reader.start()
    wait_for(lambda: source.state is SourceState.LOST)
    assert "cannot be read any more; next try in" in source.message
    away.rename(medium)
    reader.join(60)
    assert source.read() is not None
    assert source.state is SourceState.STREAMING
    source.close()
    assert source.state is SourceState.CLOSED


def test_a_lost_medium_can_be_closed(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "played")
    source = open_source(str(folder), loop=True)
    assert source.read() is not None
    folder.rename(tmp_path / "away")
    reader = threading.Thread(target=lambda: [source.read() for _ in range(100)], daemon=True)
    reader.start()
    wait_for(lambda: source.state is SourceState.LOST)
    source.close()
    reader.join(60)
    assert not reader.is_alive()


def make_folder(path: Path) -> Path:
    path.mkdir()
    for index in range(5):
        (path / f"{index}.jpg").write_bytes(JPEG)
    return path


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_single_image(folder: Path) -> None:
    source = open_source(str(folder / "000004.jpg"))

    assert source.length == 1
    assert [frame.name for frame in read_all(source)] == ["000004.jpg"]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_video_is_played_whole(tmp_path: Path, name: str) -> None:
    source = open_source(str(write_video(tmp_path / name)))

    assert (source.length, source.fps) == (20, 25.0)
    frames = read_all(source)
    assert [frame.name for frame in frames] == [str(index) for index in range(20)]
    np.testing.assert_allclose([frame.image.mean() for frame in frames], np.arange(20) * 10, atol=6)
    assert (source.state, source.message) == (SourceState.FINISHED, "")


def test_truncated_video_is_played_as_far_as_it_goes(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", frames=40)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    source = open_source(str(path))
    frames = read_all(source)

    assert 5 < len(frames) < 40
    assert source.state is SourceState.FINISHED
    assert f"clip.avi ended after {len(frames)} of its 40 frames" in source.message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "nothing", "does not exist"),
        (lambda folder: folder / "empty", "has no images"),
        (lambda folder: folder / "garbage.mp4", "cannot be read"),
        (lambda folder: folder / "empty.mp4", "cannot be read"),
        (lambda folder: folder / "cut.mp4", "cannot be read"),
        (lambda folder: folder / "labels.txt", "cannot be read"),
        (lambda folder: folder / "cut.jpg", "cut short"),
    ],
)
def test_what_cannot_be_played_is_refused_at_open(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Callable[[Path], Path], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbage.mp4").write_bytes(b"garbage" * 1000)
    (tmp_path / "empty.mp4").touch()
    whole = write_video(tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])  # the index of an mp4 is at its end
    (tmp_path / "labels.txt").write_text("Car 0 0 0 1 2 3 4\n" * 50)  # FFmpeg would play text as a video
    (tmp_path / "cut.jpg").write_bytes(JPEG[: len(JPEG) // 2])
    path = make(tmp_path)
    capfd.readouterr()

    with pytest.raises(SourceError, match=message) as caught:
        open_source(str(path))

    assert str(path) in str(caught.value)
    assert capfd.readouterr().err == ""  # nothing besides the one error message


def test_loop_starts_again(folder: Path) -> None:
    source = open_source(str(folder), loop=True)

    assert source.length is None
    frames = read_all(source, limit=12)
    source.close()

    assert [frame.name for frame in frames] == [f"{index % 5:06d}.jpg" for index in range(12)]
    assert [frame.index for frame in frames] == list(range(12))


def test_realtime_frames_are_stamped_one_period_apart(folder: Path) -> None:
    source = open_source(str(folder), playback="realtime", fps=50.0)

    frames = read_all(source)
    now = time.time()

    assert source.fps == 50.0
    steps = np.diff([frame.stamp for frame in frames])
    # On a busy machine a frame may be late, but never early.
    assert (steps > 0.02 - 1e-4).all()
    assert frames[-1].stamp <= now


def test_realtime_frames_that_are_fetched_late_keep_their_due_time(folder: Path) -> None:
    source = open_source(str(folder), playback="realtime", fps=50.0)
    first = source.read()
    time.sleep(0.3)  # meanwhile the frames are decoded ahead

    second = source.read()
    fetched = time.time()

    assert first is not None and second is not None
    assert second.stamp < fetched - 0.1


@pytest.mark.parametrize("playback", ["fastest", "realtime"])
def test_close_ends_a_read_that_waits(folder: Path, playback: str) -> None:
    source = open_source(str(folder), playback=playback, fps=0.01, loop=True)  # type: ignore[arg-type]
    frames: list[Frame] = []
    reader = threading.Thread(target=lambda: frames.extend(read_all(source)))
    reader.start()
    while not frames and reader.is_alive() and source.state is SourceState.OPENING:
        time.sleep(0.01)

    source.close()
    reader.join(5)

    assert not reader.is_alive()
    assert source.state is SourceState.CLOSED
    assert source.read() is None
    source.close()  # a second close is allowed


def test_reading_real_footage(driving_dir: Path) -> None:
    source = open_source(str(driving_dir / "clips" / "highway.mp4"))
    assert (source.length, source.fps) == (221, 25.0)

    frames = read_all(source)

    assert len(frames) == 221
    assert all(frame.image.shape == (540, 960, 3) for frame in frames)


def test_jpeg_with_something_after_its_end_is_whole(tmp_path: Path) -> None:
    (tmp_path / "padded.jpg").write_bytes(JPEG + bytes(100))  # as written by some cameras

    assert len(read_all(open_source(str(tmp_path)))) == 1
