"""Recorded sources: image folders and single images, and how a recorded source is played."""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.bags.image_header import is_cut_jpeg
from gaussian_yolo_node.file_names import IMAGE_SUFFIXES, files_in, shown
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS, PictureError, decode
from gaussian_yolo_node.frames.source import JOIN_S, Frame, SourceError, SourceState

_log = logging.getLogger(__name__)

IMAGE_FPS = 10.0  # Hz; the rate of KITTI's cameras

# Frames decoded ahead of the reader: enough to absorb one slow frame at 30 Hz, and at most 100 MB at 4K.
_AHEAD = 4
# A longer step is no pause, but a clock that was set while recording.
_LONGEST_STEP_S = 60.0
# Pauses between attempts to read a medium in a loop that is gone, such as a network share, s.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 10.0


@dataclass(frozen=True, eq=False)
class Picture:
    """One decoded frame of a medium, or the error that prevented decoding.

    Attributes:
        time_s: time since the first frame of the medium, s; None if the medium knows no times.
    """

    image: NDArray[np.uint8] | None
    name: str | None
    error: str = ""
    time_s: float | None = None


class Media(Protocol):
    """A medium that can be played from the start any number of times.

    Attributes:
        length: number of frames; None if it is not known.
        fps: rate in Hz of frames without times.
    """

    name: str
    length: int | None
    fps: float

    def play(self) -> Iterator[Picture]: ...

    def shortfall(self, frames: int) -> str:
        """After `frames` frames have been played: "12 of its 40 frames" if more were expected, "" otherwise."""
        ...


class FileSource:
    """Plays a medium; a thread decodes ahead.

    In realtime a frame is delivered at its due time and stamped with it: as long after the frame before as the medium
    says. A frame that is decoded later is due when it is decoded. Otherwise a frame is delivered and stamped on
    request.

    Args:
        realtime: deliver at the rate of a camera instead of on request.
        fps: constant rate of realtime playback in Hz; 0 keeps the medium's own times, or its rate if it has none.
        loop: restart at the end. A medium that cannot be read any more is LOST, and tried again until it is back.
    """

    def __init__(self, media: Media, *, realtime: bool = False, fps: float = 0.0, loop: bool = False) -> None:
        self._media = media
        self._realtime = realtime
        self.fps = fps or media.fps
        self.length = None if loop else media.length
        self.skipped = self.dropped = self.reopened = 0
        self._own_times = not fps
        self._loop = loop
        self._state = SourceState.OPENING
        self._message = ""
        self._index = 0
        self._due = 0.0
        self._last_time_s: float | None = None
        self._step_s = 1 / self.fps  # to the next frame, if the medium says nothing else
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
                self.skipped += 1
                name = picture.name or f"frame {index}"
                self._report(f"skipped {name} of {self._media.name}: {picture.error}")
                continue
            if self._realtime:
                self._wait_until_due(decoded_at, picture.time_s)
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

    def _wait_until_due(self, decoded_at: float, time_s: float | None) -> None:
        """Sleep until the next frame is due, or the source is closed; sets `_due`, on the monotonic clock."""
        if self._own_times and time_s is not None and self._last_time_s is not None:
            own_s = time_s - self._last_time_s
            self._step_s = own_s if 0 < own_s <= _LONGEST_STEP_S else self._step_s
        self._last_time_s = time_s
        self._due = max(self._due + self._step_s, decoded_at) if self._due else time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._closed, timeout=max(0.0, self._due - time.monotonic()))

    def _finish(self) -> None:
        if self._state is SourceState.FINISHED:
            return
        self._state = SourceState.FINISHED
        shortfall = "" if self._loop else self._media.shortfall(self._index)
        if shortfall:
            self._report(f"{self._media.name} ended after {shortfall}: cut short")

    def _report(self, message: str) -> None:
        self._message = shown(message)  # a node publishes it
        _log.warning("%s", self._message)

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
    """The images of a folder without its subfolders, in natural order. SourceError if there are no images, or the
    folder cannot be read."""
    try:
        paths = files_in(folder, IMAGE_SUFFIXES)
    except OSError as error:
        raise SourceError(f"folder {folder} cannot be read: {error.strerror}") from error
    if not paths:
        raise SourceError(f"folder {folder} has no images: looked for {', '.join(IMAGE_SUFFIXES)}")
    return paths


class ImageFiles:
    """Images in order; an image that cannot be decoded becomes a `Picture` with an error message."""

    def __init__(self, paths: list[Path], max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._paths = paths
        self._max_megapixels = max_megapixels
        self.name = str(paths[0] if len(paths) == 1 else paths[0].parent)
        self.length: int | None = len(paths)
        self.fps = IMAGE_FPS

    @classmethod
    def single(cls, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> ImageFiles:
        """A single image. SourceError if it cannot be read."""
        picture = read_picture(path, max_megapixels)
        if picture.image is None:
            raise SourceError(f"image {path} cannot be read: {picture.error}")
        return cls([path], max_megapixels)

    def play(self) -> Iterator[Picture]:
        return (read_picture(path, self._max_megapixels) for path in self._paths)

    def shortfall(self, frames: int) -> str:
        return ""  # a file that has vanished is a frame that cannot be read


def read_picture(path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Decode an image file, turned as its Exif data say."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Picture(None, path.name, error.strerror or str(error))
    return decode_picture(data, path.name, max_megapixels)


def decode_picture(data: bytes, name: str, max_megapixels: float = MAX_MEGAPIXELS) -> Picture:
    """Decode the bytes of an image file, turned as its Exif data say."""
    if not data:
        return Picture(None, name, "the file is empty")
    if is_cut_jpeg(data):
        return Picture(None, name, "the JPEG is cut short")
    try:
        return Picture(decode(data, max_megapixels=max_megapixels), name)
    except PictureError as error:
        return Picture(None, name, str(error))
