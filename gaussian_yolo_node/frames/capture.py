"""Open a `cv2.VideoCapture` without output on stderr; this package reports each error once."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import ExitStack
from typing import Any

import cv2

from gaussian_yolo_node.file_names import shown

# OpenCV reads FFmpeg's log level from here when it first uses FFmpeg; -8 is "quiet".
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

_JPEG_CODECS = tuple(int.from_bytes(code, "little") for code in (b"MJPG", b"mjpg", b"JPEG", b"jpeg"))


def open_camera(spec: str) -> cv2.VideoCapture:
    """Open a camera index, device path, URL or GStreamer pipeline; check `isOpened()` of the result."""
    with quiet_opencv:
        if spec.isdigit() or spec.startswith("/dev/"):
            device = int(spec) if spec.isdigit() else spec
            capture = cv2.VideoCapture(device, cv2.CAP_V4L2 if sys.platform == "linux" else cv2.CAP_ANY)
            # Two buffers, if the driver supports this: one is filled while the other is read. More would queue old
            # frames; a single one would miss frames.
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 2)
            return capture
        if " ! " in spec:
            return cv2.VideoCapture(spec, cv2.CAP_GSTREAMER)
        if not has_backend(cv2.CAP_FFMPEG):
            return cv2.VideoCapture(spec, cv2.CAP_ANY)
        timeouts = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 5000, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 5000]
        return cv2.VideoCapture(spec, cv2.CAP_FFMPEG, timeouts)


def open_live(spec: str) -> cv2.VideoCapture:
    """Open a camera, see `open_camera`; one of JPEGs delivers them as they are, uint8 `[1,N]`.

    OpenCV would decode half of a JPEG without an error.
    """
    capture = open_camera(spec)
    if capture.isOpened() and int(capture.get(cv2.CAP_PROP_FOURCC)) in _JPEG_CODECS:
        if spec.isdigit() or spec.startswith("/dev/"):
            capture.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        else:
            capture.set(cv2.CAP_PROP_FORMAT, -1)
    return capture


def open_video_file(path: str) -> cv2.VideoCapture:
    """Open a video file; check `isOpened()` of the result."""
    # FFmpeg by name if available: with CAP_ANY, OpenCV also reads patterns such as "name_%02d.jpg".
    backend = cv2.CAP_FFMPEG if has_backend(cv2.CAP_FFMPEG) else cv2.CAP_ANY
    with quiet_opencv, ExitStack() as stack:
        if path != shown(path):  # OpenCV ends the process on a name that is not UTF-8
            path = f"/proc/self/fd/{stack.enter_context(open(path, 'rb')).fileno()}"
        return cv2.VideoCapture(path, backend)


def is_url(spec: str) -> bool:
    """Whether a spec is an address such as "rtsp://..."; a file of that name is opened as a file."""
    return "://" in spec and " ! " not in spec and not os.path.exists(spec)


def declared_frame_pixels(capture: Any) -> int:
    """The number of pixels of a frame of an opened capture; 0 if it does not say."""
    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    return int(width * height) if width > 0 and height > 0 else 0


def has_backend(backend: int) -> bool:
    """Whether this OpenCV was built with a capture backend such as `cv2.CAP_GSTREAMER`."""
    return backend in cv2.videoio_registry.getBackends()


class _QuietOpenCV:
    """Suppress OpenCV's log on stderr inside the block; several threads may be inside at once."""

    _SILENT = 0

    def __init__(self) -> None:
        # In OpenCV 4.5 these functions are at the top level.
        self._log: Any = getattr(cv2.utils, "logging", cv2)
        self._lock = threading.Lock()
        self._inside = 0
        self._level_outside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._level_outside = self._log.getLogLevel()
                self._log.setLogLevel(self._SILENT)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._log.setLogLevel(self._level_outside)


quiet_opencv = _QuietOpenCV()
