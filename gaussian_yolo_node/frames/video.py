"""Video files and finite streams: frames with their own times, and what the container says about its length."""

from __future__ import annotations

import math
import os
import statistics
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.file_names import frame_name, is_hidden
from gaussian_yolo_node.frames.capture import declared_frame_pixels, is_url, open_camera, open_video_file
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS, PictureError, check_pixels
from gaussian_yolo_node.frames.files import IMAGE_FPS, Picture
from gaussian_yolo_node.frames.source import SourceError

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".ts")
# Frames whose times show whether the stated rate is that of the frames, or the container's unit of time.
_PROBED = 32
_RATE_TOLERANCE = 0.05
# Part of the stated duration that may be missing at the end: durations are rounded, and include the sound.
_DURATION_TOLERANCE = 0.1


class VideoFile:
    """A video file, or the address of a video that ends.

    Attributes:
        length: number of frames, if the container counts them; None otherwise.
        fps: rate of the first frames in Hz.

    Raises:
        SourceError: no frame can be decoded, or they are too large.
    """

    def __init__(self, path: Path | str, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self._path = str(path)
        self.name = without_secrets(self._path) if is_url(self._path) else os.path.basename(self._path)
        capture = self._open()
        try:
            check_pixels(declared_frame_pixels(capture), max_megapixels)
            if not capture.isOpened() or _is_text(capture) or not capture.grab():
                raise SourceError(
                    f"video {without_secrets(self._path)} cannot be read: damaged, or not a video OpenCV can decode"
                )
            stated = capture.get(cv2.CAP_PROP_FRAME_COUNT)
            rate = capture.get(cv2.CAP_PROP_FPS)
        except PictureError as error:
            raise SourceError(f"video {without_secrets(self._path)} cannot be read: {error}") from error
        finally:
            capture.release()
        self._stated = int(stated) if math.isfinite(stated) and stated > 0 else None
        self._duration_s = self._stated / rate if self._stated and rate > 0 else None
        # Of other containers, OpenCV states duration times rate.
        self._counts, self.length = (False, None) if is_url(self._path) else _counted(Path(self._path), self._stated)
        self.fps = self._rate(rate)
        self._played_s = 0.0

    def play(self) -> Iterator[Picture]:
        """The frames in order, each with its time."""
        capture = self._open()
        clock = _Clock(self.fps)
        try:
            while capture.grab():
                time_s = clock.of(capture)
                self._played_s = time_s
                ok, image = capture.retrieve()
                if ok and image is not None and image.size:
                    yield Picture(np.asarray(image, np.uint8), None, time_s=time_s)
                else:
                    yield Picture(None, None, "a frame cannot be decoded", time_s)
        finally:
            capture.release()

    def shortfall(self, frames: int) -> str:
        """What of the video was not there, after `frames` frames have been played; "" if it was whole.

        Told from times: containers of variable rate count frames that do not exist.
        """
        if self._duration_s is None or self._stated is None:
            return ""
        end_s = self._played_s + 1 / self.fps
        if end_s >= self._duration_s * (1 - _DURATION_TOLERANCE) or frames >= self._stated:
            return ""
        if self._counts:
            return f"{frames} of its {self.length or self._stated} frames"
        return f"{end_s:.1f} of its {self._duration_s:.1f} s"

    def times(self) -> list[float]:
        """Time of each frame since the first, s; reads the file, but decodes nothing."""
        times = sorted(self._packet_times(None))
        return [time - times[0] for time in times]

    def _open(self) -> cv2.VideoCapture:
        return open_camera(self._path) if is_url(self._path) else open_video_file(self._path)

    def _packet_times(self, most: int | None) -> list[float]:
        """Times of the first `most` packets, in the order of decoding."""
        capture = self._open()
        try:
            capture.set(cv2.CAP_PROP_FORMAT, -1)  # packets, not pictures
            times: list[float] = []
            while (most is None or len(times) < most) and capture.grab():
                times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        finally:
            capture.release()
        return times

    def _rate(self, stated: float) -> float:
        """The stated rate, unless the first frames have another: some containers state their unit of time."""
        plausible = stated if 0 < stated <= 1000 else 0.0
        times = sorted(self._packet_times(_PROBED))
        steps = [after - before for before, after in pairwise(times) if math.isfinite(after) and after > before]
        if not steps:
            return plausible or IMAGE_FPS
        usual = statistics.median(steps)
        return plausible if abs(usual * plausible - 1) <= _RATE_TOLERANCE else len(steps) / sum(steps)


class _Clock:
    """Times of the frames of one playing, from the container; where it has none, one period after the frame before."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1 / fps
        self._first_s: float | None = None
        self._last_s = -math.inf

    def of(self, capture: cv2.VideoCapture) -> float:
        """Time since the first frame of the frame just grabbed, s; later than that of the frame before."""
        stated_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._first_s is None:
            self._first_s = stated_s if math.isfinite(stated_s) else 0.0
            self._last_s = 0.0
            return 0.0
        time_s = stated_s - self._first_s
        if not math.isfinite(time_s) or time_s <= self._last_s:
            time_s = self._last_s + self._period_s
        self._last_s = time_s
        return time_s


def video_name(name: str) -> str:
    """What identifies a video: its name without the suffix of a picture or a video."""
    name = frame_name(name)
    suffix = next((suffix for suffix in VIDEO_SUFFIXES if name.lower().endswith(suffix)), "")
    return name.removesuffix(name[len(name) - len(suffix) :]) if not is_hidden(name) else name


def _is_text(capture: cv2.VideoCapture) -> bool:
    """Whether the file is plain text, which FFmpeg would render as an "ANSI art" video."""
    return int(capture.get(cv2.CAP_PROP_FOURCC)) == int.from_bytes(b"ansi", "little")


def _counted(path: Path, stated: int | None) -> tuple[bool, int | None]:
    """Whether the container counts frames, and their number, if it is known.

    Args:
        stated: number in the container's header.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] == b"ftyp" and not _is_fragmented(file):
                return True, stated
            if head[:4] == b"RIFF" and head[8:] == b"AVI ":
                return True, _frames_in_avi(file)
    except OSError:
        pass
    return False, None


def _is_fragmented(file: BinaryIO) -> bool:
    """Whether an MP4 has movie fragments, whose frames its header does not count (ISO/IEC 14496-12, 8.8)."""
    at = 0
    file.seek(0)
    while len(head := file.read(16)) >= 8:
        size = int.from_bytes(head[:4], "big")
        size = int.from_bytes(head[8:16], "big") if size == 1 else size
        if head[4:8] == b"moof":
            return True
        if size < 8:  # 0: up to the end of the file
            return False
        at += size
        file.seek(at)
    return False


def _frames_in_avi(file: BinaryIO) -> int | None:
    """The number of frames in an AVI's index; chunks without content repeat the frame before and are none. None
    without an index, or in a file of several parts."""
    at, size = 12, os.fstat(file.fileno()).st_size
    frames = None
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        length = int.from_bytes(head[4:], "little")
        if head[:4] == b"RIFF":
            return None
        if head[:4] == b"idx1":
            entries = np.frombuffer(file.read(length)[: length // 16 * 16], "<u4").reshape(-1, 4)
            kinds = np.array([int.from_bytes(kind, "little") for kind in (b"00dc", b"00db")], np.uint32)
            frames = int((np.isin(entries[:, 0], kinds) & (entries[:, 3] > 0)).sum()) or None
        at += 8 + length + length % 2
    return frames
