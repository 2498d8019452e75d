"""Frames and the interface of their sources."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError


class SourceError(GaussianYoloError):
    """A source cannot be opened."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image and its time stamp.

    Attributes:
        image: uint8 [H, W, 3], BGR.
        stamp: time at which the frame left the camera, in s since the epoch (the clock of `time.time()`).
        index: position in the source, from 0, including skipped frames.
        name: the file name for a frame of an image folder, else `str(index)`.
    """

    image: NDArray[np.uint8]
    stamp: float
    index: int
    name: str


# Maximum time that `close` waits for its thread to return from OpenCV, s.
JOIN_S = 1.0


class SourceState(str, Enum):
    """The state of a source."""

    OPENING = "opening"
    """Open, no frame delivered yet."""
    STREAMING = "streaming"
    LOST = "lost"
    """A camera was lost and is being reopened."""
    FINISHED = "finished"
    """A file source has reached its end."""
    CLOSED = "closed"


class Source(Protocol):
    """A sequence of frames. Call `read` from one thread only; all other members are thread-safe.

    Attributes:
        message: one sentence about the last error (a skipped frame, a lost camera); empty if there was none.
        skipped: number of frames that could not be decoded.
        dropped: number of live frames overwritten by a newer one before they were read; 0 for files.
        reopened: number of times a lost camera was reopened; 0 for files.
        length: number of frames, if known.
        fps: native rate in Hz (for files: the rate of realtime playback), 0 if unknown.
        frame_size: (height, width) in px of the first frame, for files; waits until it is decoded. None if unknown.
    """

    skipped: int
    dropped: int
    reopened: int
    length: int | None
    fps: float

    @property
    def state(self) -> SourceState: ...

    @property
    def message(self) -> str: ...

    @property
    def frame_size(self) -> tuple[int, int] | None: ...

    def read(self) -> Frame | None:
        """Wait for the next frame and return it. None when a file source has finished, or after `close`."""
        ...

    def close(self) -> None:
        """Stop within one second; a blocked `read` returns None at once. Thread-safe; may be called repeatedly."""
        ...
