"""Live sources: cameras, network streams, GStreamer pipelines."""

from __future__ import annotations

import atexit
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.frames.capture import declared_frame_pixels, has_backend, is_url, open_live
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS, PictureError, check_pixels
from gaussian_yolo_node.frames.files import decode_picture
from gaussian_yolo_node.frames.source import JOIN_S, Frame, SourceError, SourceState
from gaussian_yolo_node.frames.urls import has_end

_log = logging.getLogger(__name__)

# A device is considered lost after this many undecodable frames in a row.
_MAX_BAD_FRAMES = 30
_JPEG_START = b"\xff\xd8"


class CameraSource:
    """The newest frame of a camera: a frame that is not read in time is overwritten and counted.

    A daemon thread owns the capture and reads it as fast as it delivers. So no buffer in the driver fills up, and a
    blocking device does not block `read` or `close`. A capture that fails is reopened without limit, with pauses that
    double from `retry_min_s` to `retry_max_s`; at the end of what a server sends as a file, the source is finished.

    Args:
        spec: as for `capture.open_camera`; also names the camera in messages.
        opener: opens the capture; called in the reader thread for each attempt.
        retry_min_s, retry_max_s: first and longest pause before a lost camera is reopened, s.
        stall_s: a camera without frames for longer than this is reported as lost, s.
        max_megapixels: a capture whose frames have more than so many million pixels is not read.
    """

    def __init__(
        self,
        spec: str,
        *,
        opener: Callable[[str], cv2.VideoCapture] = open_live,
        retry_min_s: float = 0.5,
        retry_max_s: float = 10.0,
        stall_s: float = 3.0,
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self._spec = spec
        self._name = without_secrets(spec)
        self._opener = opener
        self._max_megapixels = max_megapixels
        self._retry_min_s, self._retry_max_s, self._stall_s = retry_min_s, retry_max_s, stall_s
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._tried = threading.Event()
        self._open_error: str | None = None
        self._refused = ""
        self._newest: Frame | None = None
        self._alive_at = 0.0
        self._state = SourceState.OPENING
        self._message = ""
        self.fps = 0.0
        self.length: int | None = None
        self.frame_size: tuple[int, int] | None = None  # a camera may come back with another size
        self.states_length = False  # whether the stream that is open states its length, as a recorded one does
        self._index = 0
        self.skipped = self.dropped = self.reopened = 0
        self._thread = threading.Thread(target=self._read_capture, name=f"camera {self._name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @classmethod
    def open(cls, spec: str, **settings: Any) -> CameraSource:
        """Open a camera and wait for the result. SourceError if it cannot be opened; an open one raises no errors."""
        source = cls(spec, **settings)
        try:
            # Ctrl-C can interrupt this wait, but not the open call itself.
            source._tried.wait()
        except BaseException:
            source.close()
            raise
        if source._open_error is not None:
            source.close()
            raise SourceError(source._open_error)
        return source

    @property
    def state(self) -> SourceState:
        return SourceState.LOST if self._stalled() else self._state

    @property
    def message(self) -> str:
        if self._stalled():
            return f"camera {self._name} has sent no frame for {time.monotonic() - self._alive_at:.1f} s"
        return self._message

    def read(self) -> Frame | None:
        """The newest unread frame; blocks until there is one. None after `close`, or at the end of a file."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._closing.is_set() or self._state is SourceState.FINISHED
            )
            if self._closing.is_set():
                return None
            frame, self._newest = self._newest, None
            return frame

    def close(self) -> None:
        with self._changed:
            self._closing.set()
            self._state = SourceState.CLOSED
            self._changed.notify_all()
        # Long enough to release a working camera. A device that blocks in its driver is left to the daemon thread.
        self._thread.join(JOIN_S)
        atexit.unregister(self.close)

    def _stalled(self) -> bool:
        if self._state not in (SourceState.OPENING, SourceState.STREAMING) or not self._alive_at:
            return False
        return time.monotonic() - self._alive_at > self._stall_s

    # The methods below run in the reader thread.

    def _read_capture(self) -> None:
        pause_s = self._retry_min_s
        while not self._closing.is_set():
            capture = self._open_capture()
            if capture and is_url(self._spec):
                frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)  # from the duration; below 0 if that is unknown
                self.states_length = math.isfinite(frames) and frames > 0
            if not self._tried.is_set():
                self._open_error = None if capture else self._refused or _open_failure(self._spec)
                self._alive_at = time.monotonic()
                self._tried.set()
                if not capture:
                    return
            delivered = False
            if capture:
                self.fps = _plausible_fps(capture.get(cv2.CAP_PROP_FPS))
                delivered = self._deliver_until_lost(capture)
                capture.release()
                if delivered and is_url(self._spec) and has_end(self._spec):
                    self._finish()
                    return
            pause_s = self._retry_min_s if delivered else min(2 * pause_s, self._retry_max_s)
            self._report_lost("stopped sending" if capture else "cannot be reopened", pause_s)
            self._closing.wait(pause_s)

    def _open_capture(self) -> cv2.VideoCapture | None:
        try:
            capture = self._opener(self._spec)
        except cv2.error as error:  # some backends raise instead of failing to open
            _log.debug("opening %s: %s", self._name, error)
            return None
        self._refused = ""
        if capture.isOpened():
            try:
                check_pixels(declared_frame_pixels(capture), self._max_megapixels)
                return capture
            except PictureError as error:
                self._refused = f"camera {self._name} is not read: {error}"
        capture.release()
        return None

    def _deliver_until_lost(self, capture: cv2.VideoCapture) -> bool:
        """Deliver frames until the capture fails; returns whether any frame was delivered."""
        delivered = False
        bad = 0
        while not self._closing.is_set() and bad < _MAX_BAD_FRAMES and capture.grab():
            stamp = time.time()
            image = _retrieve(capture, self._max_megapixels)
            index = self._index
            self._index += 1
            if image is None:
                bad += 1
                self.skipped += 1
                self._message = f"camera {self._name} sent a frame that cannot be decoded"
                continue
            bad = 0
            if not delivered and self._state is SourceState.LOST:
                self.reopened += 1
                _log.warning("camera %s is back", self._name)
            delivered = True
            self._deliver(Frame(image, stamp, index, str(index)))
        return delivered

    def _deliver(self, frame: Frame) -> None:
        with self._changed:
            if self._closing.is_set():
                return
            self.dropped += self._newest is not None
            self._newest = frame
            self._alive_at = time.monotonic()
            self._state = SourceState.STREAMING
            self._changed.notify_all()

    def _finish(self) -> None:
        with self._changed:
            if not self._closing.is_set():
                self._state = SourceState.FINISHED
                self._changed.notify_all()

    def _report_lost(self, reason: str, pause_s: float) -> None:
        message = f"camera {self._name} {reason}; next try in {pause_s:.1f} s"
        with self._changed:
            if self._closing.is_set():
                return
            self._state, self._message = SourceState.LOST, message
        _log.warning("%s", message)


def _retrieve(capture: Any, max_megapixels: float) -> NDArray[np.uint8] | None:
    """The grabbed frame as BGR; None if it cannot be decoded."""
    try:
        ok, image = capture.retrieve()
    except cv2.error:
        return None
    if not ok or image is None or not image.size:
        return None
    if image.shape[0] == 1 and image.ravel()[:2].tobytes() == _JPEG_START:  # see `capture.open_live`
        return decode_picture(image.tobytes(), "", max_megapixels).image
    return _to_bgr(image)


def _to_bgr(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert to BGR; GStreamer pipelines may deliver grey or BGRA frames."""
    conversion = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}.get(1 if image.ndim == 2 else image.shape[2])
    return image if conversion is None else np.asarray(cv2.cvtColor(image, conversion), np.uint8)


def _plausible_fps(fps: float) -> float:
    """The rate in Hz, 0 if implausible; drivers return -1, NaN or a time base such as 90000 for an unknown rate."""
    return fps if 0 < fps <= 1000 else 0.0


def _open_failure(spec: str) -> str:
    name = without_secrets(spec)
    if " ! " in spec:
        if not has_backend(cv2.CAP_GSTREAMER):
            return (
                f"pipeline '{name}' needs GStreamer, and this OpenCV was built without it: "
                "use the system's python3-opencv, or a camera index or URL"
            )
        return f"pipeline '{name}' cannot be started: try it with gst-launch-1.0, and let it end in 'appsink'"
    if "://" in spec:
        return f"stream {name} cannot be opened: the address is wrong or the server does not answer"
    return f"camera {name} cannot be opened: there is no such camera, it is in use, or access to it is denied"
