from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from mjpeg_server import JPEG, MjpegServer
from video_factory import avi, jpeg, matroska

from gaussian_yolo_node.frames import Source, SourceState, open_source
from gaussian_yolo_node.frames.camera import CameraSource
from gaussian_yolo_node.frames.files import FileSource, decode_picture
from gaussian_yolo_node.frames.video import VideoFile, video_name
from gaussian_yolo_node.labels.bag_making import DEFAULT_START_NS, MakeOptions, make_bag
from gaussian_yolo_node.labels.sequence_labels import read_video_labels
from gaussian_yolo_node.labels.sequences import open_sequence

EVEN = [0, 33, 67, 100, 133, 167]
# 30 Hz, then 10 Hz.
UNEVEN = [0, 33, 67, 100, 200, 300, 400]
SHOWN = [True] * 4 + [False, False, True] * 3


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def consume(source: Source) -> list[float]:
    stamps = []
    while (frame := source.read()) is not None:
        stamps.append(frame.stamp)
    return stamps


@pytest.mark.parametrize(
    ("name", "content", "times_ms", "length"),
    [
        ("file.mkv", matroska(EVEN, duration_ms=200), EVEN, None),
        ("live.mkv", matroska(EVEN), EVEN, None),
        ("live.webm", matroska(EVEN, doctype=b"webm"), EVEN, None),
        ("vfr.mkv", matroska(UNEVEN, duration_ms=500), UNEVEN, None),
        ("one.mkv", matroska([0]), [0], None),
        ("late.mkv", matroska([1000, 1040, 1080]), [0, 40, 80], None),
        ("cfr.avi", avi([True] * 6), EVEN, 6),
        ("vfr.avi", avi(SHOWN), UNEVEN, 7),
        ("noindex.avi", avi([True] * 6).replace(b"idx1", b"JUNK"), EVEN, None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_frames_have_the_times_of_the_container(
    tmp_path: Path, name: str, content: bytes, times_ms: list[int], length: int | None
) -> None:
    video = VideoFile(write(tmp_path / name, content))

    times = [picture.time_s for picture in video.play()]

    np.testing.assert_allclose(times, np.array(times_ms) / 1000, atol=0.001)
    np.testing.assert_allclose(video.times(), times, atol=0.001)
    assert (video.length, video.shortfall(len(times))) == (length, "")


@pytest.mark.parametrize(
    ("content", "fps"),
    [
        (matroska(range(0, 1000, 40)), 25.0),  # the container's unit, 1 ms, is no rate
        (matroska([0]), None),
        (matroska(UNEVEN), None),
        (avi([True] * 10, fps=25), 25.0),
    ],
    ids=["even", "one frame", "uneven", "avi"],
)
def test_the_rate_is_that_of_the_frames(tmp_path: Path, content: bytes, fps: float | None) -> None:
    found = VideoFile(write(tmp_path / "a.video", content)).fps

    assert 0 < found <= 1000
    if fps is not None:
        assert abs(found - fps) < 0.01 * fps


@pytest.mark.parametrize("times_ms", [EVEN, UNEVEN])
def test_in_realtime_stamps_are_as_far_apart_as_the_frames(tmp_path: Path, times_ms: list[int]) -> None:
    path = write(tmp_path / "a.mkv", matroska(times_ms))

    stamps = consume(open_source(str(path), playback="realtime"))

    # On a busy machine a frame may be late, but never early.
    assert (np.diff(stamps) > np.diff(times_ms) / 1000 - 0.002).all()


def test_a_given_rate_replaces_the_times(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", matroska([0, 20_000, 40_000]))

    assert len(consume(open_source(str(path), playback="realtime", fps=100.0))) == 3


def test_a_recording_that_lacks_its_second_half_is_said(tmp_path: Path) -> None:
    source = open_source(str(write(tmp_path / "a.mkv", matroska(EVEN, duration_ms=600_000))))

    assert len(consume(source)) == 6
    assert "a.mkv ended after" in source.message and "600.0 s" in source.message


def test_a_fragmented_mp4_counts_no_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (64, 48))
    for grey in range(8):
        writer.write(np.full((48, 64, 3), 30 * grey, np.uint8))
    writer.release()
    assert VideoFile(path).length == 8

    write(path, path.read_bytes() + (8).to_bytes(4, "big") + b"moof")
    assert VideoFile(path).length is None


def test_a_bag_has_the_stamps_of_the_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", matroska(UNEVEN))

    summary = make_bag(open_sequence(path), tmp_path / "a.mcap", MakeOptions())

    assert (summary.first_ns, summary.last_ns) == (DEFAULT_START_NS, DEFAULT_START_NS + 400_000_000)


@pytest.mark.parametrize(("stamp_ms", "index"), [(0, 0), (100, 3), (210, 4), (390, 6), (10_000, 6)])
def test_labels_by_time_belong_to_the_nearest_frame(tmp_path: Path, stamp_ms: int, index: int) -> None:
    video = VideoFile(write(tmp_path / "a.mkv", matroska(UNEVEN)))
    labels = write(tmp_path / "a.json", b'[{"name": "a.mov", "timestamp": %d, "labels": []}]' % stamp_ms)

    assert list(read_video_labels(labels, "a", video.times)) == [index]


@pytest.mark.parametrize(
    ("name", "wanted"), [("a.mov", "a"), ("a.2024-01-02", "a.2024-01-02"), ("d/a.webm", "d/a"), ("a", "a")]
)
def test_names_of_videos(name: str, wanted: str) -> None:
    assert video_name(name) == wanted


class _Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class _Chunked(_Handler):
    """Sends a file without its length, as a camera's recorder does."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Content-Length":
            super().send_header(keyword, value)


@pytest.fixture(params=[_Handler])
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    handler = functools.partial(request.param, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("clip.avi", avi([True] * 9)),
        ("whole.mkv", matroska(EVEN, duration_ms=200)),
        ("live.mkv", matroska(EVEN)),  # only the server knows that it ends
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_video_behind_http_ends(tmp_path: Path, server: str, name: str, content: bytes) -> None:
    write(tmp_path / name, content)

    source = open_source(f"{server}/{name}")
    frames = list(iter(source.read, None))

    assert frames and source.state is SourceState.FINISHED
    assert all(frame.image.shape == (48, 64, 3) for frame in frames if frame is not None)
    if isinstance(source, FileSource):
        assert len(frames) == (9 if name == "clip.avi" else 6)  # none is dropped
    source.close()


@pytest.mark.parametrize("server", [_Chunked], indirect=True)
def test_a_stream_without_a_length_is_live(tmp_path: Path, server: str) -> None:
    write(tmp_path / "live.mkv", matroska(EVEN))

    source = open_source(f"{server}/live.mkv")

    assert isinstance(source, CameraSource) and source.read() is not None
    source.close()


@pytest.mark.parametrize("folder", ["plain", "with space", "caf\udce9"])
def test_a_file_url_is_a_file(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir()
    path = write(tmp_path / folder / "a.mkv", matroska(EVEN))

    source = open_source(path.as_uri())

    assert isinstance(source, FileSource) and len(consume(source)) == 6


class _HalfFrames:
    """A camera that delivers JPEGs as they are: a whole one, half of one, one with a stale tail, one of two halves."""

    def __init__(self) -> None:
        whole = jpeg(90)
        stale = whole + jpeg(200)[len(whole) // 2 :]
        halves = [whole[: len(whole) // 2], whole[: len(whole) // 2] + b"\xff\xd8\xff\xd9"[:2]]
        self._frames = [whole, halves[0], stale, halves[1], whole]
        self._next = b""

    def isOpened(self) -> bool:
        return True

    def grab(self) -> bool:
        self._next = self._frames.pop(0) if self._frames else b""
        return bool(self._next)

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.frombuffer(self._next, np.uint8)[np.newaxis]

    def get(self, prop: int, /) -> float:
        return 0.0

    def release(self) -> None:
        pass


def test_half_frames_of_an_mjpeg_camera_are_counted_not_shown() -> None:
    source = CameraSource.open("0", opener=lambda _: _HalfFrames(), retry_min_s=60.0)
    frame = source.read()

    assert frame is not None and frame.image.shape == (48, 64, 3) and abs(frame.image.mean() - 90) < 2
    while source.state is SourceState.STREAMING:
        pass
    assert source.skipped == 2
    source.close()


def test_half_frames_of_a_network_camera_are_counted_not_shown() -> None:
    with MjpegServer() as server:
        server.halves.set()
        source = open_source(server.url)
        while source.skipped < 3:
            frame = source.read()
            assert frame is not None and (frame.image == decode_picture(JPEG, "").image).all()
        source.close()
