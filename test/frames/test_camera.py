from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mjpeg_server import MjpegServer

from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.frames import SourceError, SourceState, open_source
from gaussian_yolo_node.frames.camera import CameraSource

COLOUR = np.full((4, 6, 3), 7, np.uint8)
GREY = np.full((4, 6), 7, np.uint8)
WITH_ALPHA = np.full((4, 6, 4), 7, np.uint8)
UNDECODABLE = None


class Device:
    """A fake camera that delivers the given frames and then fails, or blocks until it is unblocked."""

    def __init__(self, frames: Iterable[Any] = (), *, opens: bool = True, blocks: bool = False) -> None:
        self._frames = list(frames)
        self._opens = opens
        self._blocks = blocks
        self._grabbed: Any = None
        self.unblock = threading.Event()
        self.released = threading.Event()

    def isOpened(self) -> bool:
        return self._opens

    def grab(self) -> bool:
        if not self._frames:
            if self._blocks:
                self.unblock.wait()
            return False
        time.sleep(0.002)
        self._grabbed = self._frames.pop(0)
        return True

    def retrieve(self) -> tuple[bool, Any]:
        return self._grabbed is not None, self._grabbed

    def get(self, prop: int, /) -> float:
        return 30.0 if prop == cv2.CAP_PROP_FPS else 0.0

    def release(self) -> None:
        self.released.set()


def open_devices(*devices: Device, **settings: Any) -> CameraSource:
    """A source that opens the devices in order, and then the last one for ever."""
    left = list(devices)
    _devices.extend(devices)
    settings = {"retry_min_s": 0.01, "retry_max_s": 0.04} | settings
    return CameraSource.open("0", opener=lambda _: left.pop(0) if len(left) > 1 else left[0], **settings)


_devices: list[Device] = []


class LargeDevice(Device):
    """A device that announces frames of 900 megapixels."""

    def get(self, prop: int, /) -> float:
        return 30_000.0 if prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT) else super().get(prop)


def shut(source: CameraSource) -> None:
    """Close without waiting for devices that block."""
    while _devices:
        _devices.pop().unblock.set()
    source.close()


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("the condition did not come true")


def test_frames_are_numbered_and_stamped() -> None:
    before = time.time()
    source = open_devices(Device([COLOUR] * 3, blocks=True))

    frame = source.read()

    assert frame is not None
    assert frame.name == str(frame.index)
    assert before <= frame.stamp <= time.time()
    assert (source.state, source.fps, source.length) == (SourceState.STREAMING, 30.0, None)
    shut(source)


@pytest.mark.parametrize("image", [GREY, GREY[..., np.newaxis], COLOUR, WITH_ALPHA], ids=["hw", "hw1", "bgr", "bgra"])
def test_frames_are_bgr_whatever_the_device_gives(image: np.ndarray) -> None:
    source = open_devices(Device([image], blocks=True))

    frame = source.read()

    assert frame is not None
    np.testing.assert_array_equal(frame.image, COLOUR)
    shut(source)


def test_slow_reader_gets_the_newest_frame_and_the_others_are_counted() -> None:
    source = open_devices(Device([COLOUR] * 20, blocks=True))
    wait_for(lambda: source.dropped == 19)

    frame = source.read()

    assert frame is not None and frame.index == 19
    shut(source)


def test_lost_camera_is_reopened_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    closed = Device(opens=False)
    source = open_devices(Device([COLOUR]), closed, closed, Device([COLOUR], blocks=True), retry_min_s=0.1)

    first = source.read()
    wait_for(lambda: source.state is SourceState.LOST)
    assert "camera 0 stopped sending; next try in 0.1 s" in source.message
    second = source.read()

    assert first is not None and second is not None
    assert (first.index, second.index) == (0, 1)
    assert (source.state, source.reopened) == (SourceState.STREAMING, 1)
    assert "camera 0 cannot be reopened" in source.message
    assert "camera 0 is back" in caplog.text
    shut(source)


def test_pauses_double_up_to_the_longest_and_start_anew(caplog: pytest.LogCaptureFixture) -> None:
    closed = Device(opens=False)
    source = open_devices(
        Device([COLOUR]), closed, closed, closed, Device([COLOUR]), Device([COLOUR], blocks=True),
        retry_min_s=0.1, retry_max_s=0.3,
    )  # fmt: skip
    for _ in range(3):
        assert source.read() is not None
    shut(source)

    pauses = [message.split("next try in ")[1] for message in caplog.messages if "next try" in message]
    assert pauses == ["0.1 s", "0.2 s", "0.3 s", "0.3 s", "0.1 s"]


def test_camera_that_opens_but_sends_nothing_is_retried() -> None:
    source = open_devices(Device(), Device(), Device([COLOUR], blocks=True))

    frame = source.read()

    assert frame is not None
    assert source.reopened == 1
    shut(source)


def test_backend_that_raises_is_a_camera_that_cannot_be_opened() -> None:
    def opener(_: str) -> Device:
        raise cv2.error("no such backend")

    with pytest.raises(SourceError, match="camera 0 cannot be opened"):
        CameraSource.open("0", opener=opener)


def test_undecodable_frame_is_skipped_and_counted() -> None:
    source = open_devices(Device([UNDECODABLE, COLOUR], blocks=True))

    frame = source.read()

    assert frame is not None and frame.index == 1
    assert source.skipped == 1
    assert "cannot be decoded" in source.message
    shut(source)


def test_device_that_sends_nothing_decodable_is_reopened() -> None:
    source = open_devices(Device([COLOUR] + [UNDECODABLE] * 100), Device([COLOUR], blocks=True))
    source.read()

    assert source.read() is not None
    assert (source.skipped, source.reopened) == (30, 1)
    shut(source)


def test_silent_camera_is_reported_as_lost() -> None:
    device = Device([COLOUR], blocks=True)
    source = open_devices(device, stall_s=0.05)
    source.read()

    wait_for(lambda: source.state is SourceState.LOST)
    assert "camera 0 has sent no frame for" in source.message
    shut(source)


@pytest.mark.parametrize("blocks", [True, False], ids=["blocked in the driver", "waiting to be reopened"])
def test_close_ends_a_read_that_waits(blocks: bool) -> None:
    device = Device([COLOUR], blocks=blocks)
    source = open_devices(device, retry_min_s=60.0)
    source.read()
    frames: list[Any] = ["not returned"]
    reader = threading.Thread(target=lambda: frames.append(source.read()))
    reader.start()

    source.close()
    reader.join(5)

    assert frames[1:] == [None]
    assert source.state is SourceState.CLOSED
    device.unblock.set()
    assert device.released.wait(5)
    assert source.state is SourceState.CLOSED


def test_camera_index_that_does_not_exist(capfd: pytest.CaptureFixture[str]) -> None:
    if Path("/dev/video63").exists():
        pytest.skip("this machine has 64 cameras")

    with pytest.raises(SourceError, match="camera 63 cannot be opened: there is no such camera"):
        open_source("63")

    assert capfd.readouterr().err == ""


def test_stream_that_nobody_serves(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"stream rtsp://user:\*\*\*@127.0.0.1:9/x cannot be opened"):
        open_source("rtsp://user:secret@127.0.0.1:9/x")

    assert capfd.readouterr().err == ""


def test_pipeline_that_cannot_start() -> None:
    with pytest.raises(SourceError, match="pipeline 'no_such_element ! appsink'"):
        open_source("no_such_element ! appsink")


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ("rtsp://user:secret@host:554/a", "rtsp://user:***@host:554/a"),
        ("rtspsrc location=rtsp://u:p@h/a ! appsink", "rtspsrc location=rtsp://u:***@h/a ! appsink"),
        ("http://host:80/a", "http://host:80/a"),
        ("0", "0"),
    ],
)
def test_without_secrets(spec: str, shown: str) -> None:
    assert without_secrets(spec) == shown


def test_network_camera_that_goes_away_and_comes_back() -> None:
    with MjpegServer() as server:
        source = open_source(server.url)
        first = source.read()
        assert first is not None and first.image.shape == (64, 96, 3)

        server.stop()
        wait_for(lambda: source.state is SourceState.LOST)
        server.start()
        wait_for(lambda: source.reopened == 1)

        assert source.read() is not None
        assert source.state is SourceState.STREAMING
        source.close()


def test_process_ends_cleanly_while_a_network_camera_stalls() -> None:
    code = """
import sys
from gaussian_yolo_node.frames import open_source
source = open_source(sys.argv[1])
print(source.read().index, flush=True)
sys.stdin.readline()
source.close()
print(source.read())
"""
    with MjpegServer() as server:
        child = subprocess.Popen(
            [sys.executable, "-c", code, server.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline().strip().isdigit()
        server.stalled.set()
        out, _ = child.communicate("\n", timeout=30)

    assert out == "None\n"
    assert child.returncode == 0


def test_process_that_never_closes_its_source_ends_cleanly(tmp_path: Path) -> None:
    for index in range(50):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((1000, 1000, 3), np.uint8))
    code = "import sys; from gaussian_yolo_node.frames import open_source; s = open_source(sys.argv[1]); s.read()"

    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, stderr=subprocess.PIPE, text=True)

    assert (result.returncode, result.stderr) == (0, "")


def test_a_camera_of_too_many_megapixels_is_not_read() -> None:
    with pytest.raises(SourceError, match=r"^camera 0 is not read: it has 900 megapixels, and at most 64 are read$"):
        open_devices(LargeDevice([COLOUR]))
    source = open_devices(LargeDevice([COLOUR], blocks=True), max_megapixels=1000.0)
    assert source.read() is not None
    shut(source)
