"""Recorded sources: image folders, single images, video files."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import is_cut_jpeg
from gaussian_yolo_node.frames.capture import open_video_file, quiet_opencv
from gaussian_yolo_node.frames.frame import Frame
from gaussian_yolo_node.frames.source import JOIN_S, SourceError, SourceState

_log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
IMAGE_FPS = 10.0  # Hz; the rate of KITTI's cameras

# Frames decoded ahead of the reader: enough to absorb one slow frame at 30 Hz, and at most 100 MB at 4K.
_AHEAD = 4
# Pauses between attempts to read a medium in a loop that is gone, such as a network share, s.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 10.0


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded frame of a medium, or the error that prevented decoding."""

    image: NDArray[np.uint8] | None
    name: str | None
    trouble: str = ""


class Media(Protocol):
    """A medium that can be played from the start any number of times."""

    name: str
    length: int | None
    fps: float

    def play(self) -> Iterator[Picture]: ...


class FileSource:
    """Plays a medium; a thread decodes ahead.

    In realtime a frame is delivered at its due time and stamped with it. A frame that is decoded later is due when it
    is decoded. Otherwise a frame is delivered and stamped on request.

    Args:
        media: the medium to play.
        realtime: deliver at the rate of a camera instead of on request.
        fps: rate of realtime playback in Hz; 0 is the medium's own rate.
        loop: restart at the end. A medium that cannot be read any more is LOST, and tried again until it is back.
    """

    def __init__(self, media: Media, *, realtime: bool = False, fps: float = 0.0, loop: bool = False) -> None:
        self._media = media
        self._realtime = realtime
        self._fps = fps or media.fps
        self._loop = loop
        self._state = SourceState.OPENING
        self._message = ""
        self._skipped = 0
        self._index = 0
        self._due = 0.0
        self._changed = threading.Condition()
        self._ahead: deque[tuple[float, Picture]] = deque()
        self._decoded_all = False
        self._closed = False
        self._lost = ""  # why, as long as it cannot be read any more
        # Daemon: a blocked decoder (a file on a lost network share) must not keep the process alive.
        self._thread = threading.Thread(target=self._decode, name=f"decode {media.name}", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    @property
    def state(self) -> SourceState:
        waits = self._lost and not self._ahead and not self._closed
        return SourceState.LOST if waits else self._state

    @property
    def message(self) -> str:
        return self._lost or self._message

    @property
    def skipped(self) -> int:
        return self._skipped

    @property
    def dropped(self) -> int:
        return 0

    @property
    def reopened(self) -> int:
        return 0

    @property
    def length(self) -> int | None:
        return None if self._loop else self._media.length

    @property
    def fps(self) -> float:
        return self._fps

    @property
    def frame_size(self) -> tuple[int, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ahead or self._decoded_all or self._closed)
            images = (picture.image for _, picture in self._ahead if picture.image is not None)
            return next(((image.shape[0], image.shape[1]) for image in images), None)

    def read(self) -> Frame | None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ahead or self._decoded_all or self._closed)
                if self._closed:
                    return None
                if not self._ahead:
                    self._finish()
                    return None
                decoded_at, picture = self._ahead.popleft()
                self._changed.notify_all()
            index = self._index
            self._index += 1
            if picture.image is None:
                self._skipped += 1
                name = picture.name or f"frame {index}"
                self._report(f"skipped {name} of {self._media.name}: {picture.trouble}")
                continue
            if self._realtime:
                self._wait_until_due(decoded_at)
            with self._changed:
                if self._closed:
                    return None
                self._state = SourceState.STREAMING
            late_s = time.monotonic() - self._due if self._realtime else 0.0
            return Frame(picture.image, time.time() - late_s, index, picture.name or str(index))

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._state = SourceState.CLOSED
            self._ahead.clear()
            self._changed.notify_all()
        # A thread inside OpenCV at interpreter shutdown aborts the process (SIGABRT).
        self._thread.join(JOIN_S)
        atexit.unregister(self.close)

    def _wait_until_due(self, decoded_at: float) -> None:
        """Sleep until the next frame is due, or the source is closed; sets `_due`, on the monotonic clock."""
        self._due = max(self._due + 1 / self._fps, decoded_at) if self._due else time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=max(0.0, self._due - time.monotonic()))

    def _finish(self) -> None:
        if self._state is SourceState.FINISHED:
            return
        self._state = SourceState.FINISHED
        expected = self.length
        if expected is not None and self._index < expected:
            self._report(f"{self._media.name} ended after {self._index} of its {expected} frames: cut short")

    def _report(self, message: str) -> None:
        self._message = message
        _log.warning("%s", message)

    def _decode(self) -> None:
        """Runs in the decoding thread."""
        try:
            # A medium that never had a readable frame must not be looped for ever.
            readable = played = self._decode_once()
            pause_s = _FIRST_PAUSE_S
            while self._loop and played and not self._closed:
                if readable:
                    pause_s = _FIRST_PAUSE_S
                else:
                    self._wait_until_back(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                readable = self._decode_once()
        finally:
            with self._changed:
                self._decoded_all = True
                self._changed.notify_all()

    def _wait_until_back(self, pause_s: float) -> None:
        self._lost = f"{self._media.name} cannot be read any more; next try in {pause_s:.1f} s"
        _log.warning("%s", self._lost)
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=pause_s)

    def _decode_once(self) -> bool:
        """Play the medium to its end; returns whether any frame was readable (False also after `close`)."""
        readable = False
        for picture in self._media.play():
            readable |= picture.image is not None
            if picture.image is not None:
                self._lost = ""
            with self._changed:
                self._changed.wait_for(lambda: len(self._ahead) < _AHEAD or self._closed)
                if self._closed:
                    return False
                self._ahead.append((time.monotonic(), picture))
                self._changed.notify_all()
        return readable


def list_images(folder: Path) -> list[Path]:
    """The images of a folder without its subfolders, sorted by name.

    Raises:
        SourceError: there are no images, or the folder cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if ImageFiles.accepts(path))
    except OSError as error:
        raise SourceError(f"folder {folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise SourceError(f"folder {folder} has no images: looked for {', '.join(IMAGE_SUFFIXES)}")
    return paths


class ImageFiles:
    """Images in order; an image that cannot be decoded becomes a `Picture` with an error message."""

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.name = str(paths[0] if len(paths) == 1 else paths[0].parent)
        self.length: int | None = len(paths)
        self.fps = IMAGE_FPS

    @staticmethod
    def accepts(path: PurePath) -> bool:
        """Whether a file name is that of an image."""
        # No hidden files: macOS writes "._x.jpg" beside "x.jpg".
        return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")

    @classmethod
    def single(cls, path: Path) -> ImageFiles:
        """A single image.

        Raises:
            SourceError: the image cannot be read.
        """
        picture = _read_image(path)
        if picture.image is None:
            raise SourceError(f"image {path} cannot be read: {picture.trouble}")
        return cls([path])

    def play(self) -> Iterator[Picture]:
        return map(_read_image, self._paths)


def _read_image(path: Path) -> Picture:
    try:
        data = path.read_bytes()
    except OSError as error:
        return Picture(None, path.name, error.strerror or str(error))
    return decode_picture(data, path.name)


def decode_picture(data: bytes, name: str) -> Picture:
    """Decode the bytes of an image file."""
    if not data:
        return Picture(None, name, "the file is empty")
    if is_cut_jpeg(data):
        return Picture(None, name, "the JPEG is cut short")
    try:
        with quiet_opencv:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        return Picture(None, name, f"not an image OpenCV can decode ({error.err})")
    if image is None:
        return Picture(None, name, "not an image OpenCV can decode")
    return Picture(np.asarray(image, np.uint8), name)


class VideoFile:
    """A video file.

    Raises:
        SourceError: no frame can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self.name = path.name
        capture = open_video_file(self._path)
        try:
            if not capture.isOpened() or _is_text(capture) or not capture.grab():
                raise SourceError(f"video {path} cannot be read: damaged, or not a video OpenCV can decode")
            frames = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            fps = capture.get(cv2.CAP_PROP_FPS)
        finally:
            capture.release()
        self.length: int | None = int(frames) if frames > 0 else None
        self.fps = fps if 0 < fps <= 1000 else IMAGE_FPS

    def play(self) -> Iterator[Picture]:
        capture = open_video_file(self._path)
        try:
            while capture.grab():
                ok, image = capture.retrieve()
                if ok and image is not None and image.size:
                    yield Picture(np.asarray(image, np.uint8), None)
                else:
                    yield Picture(None, None, "a frame cannot be decoded")
        finally:
            capture.release()


def _is_text(capture: cv2.VideoCapture) -> bool:
    """Whether the file is plain text, which FFmpeg would render as an "ANSI art" video."""
    return int(capture.get(cv2.CAP_PROP_FOURCC)) == int.from_bytes(b"ansi", "little")
