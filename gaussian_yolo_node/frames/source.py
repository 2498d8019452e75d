"""What the rest of the package knows of a source of frames."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames.frame import Frame


class SourceError(GaussianYoloError):
    """A source cannot be opened."""


# The longest that `close` waits for its thread to come out of OpenCV, s.
JOIN_S = 1.0


class SourceState(str, Enum):
    """Where a source is in its life."""

    OPENING = "opening"
    """Opened, no frame delivered so far."""
    STREAMING = "streaming"
    LOST = "lost"
    """A camera stopped; it is being reopened."""
    FINISHED = "finished"
    """A file source came to its end."""
    CLOSED = "closed"


class Source(Protocol):
    """Frames one after the other; `read` belongs to one thread, everything else may be used from any.

    Attributes:
        message: one sentence on the last trouble (a skipped frame, a lost camera); empty if there was none.
        skipped: frames that could not be decoded.
        dropped: live frames overwritten by a newer one before they were read; 0 for files.
        reopened: how often a camera came back after it was lost; 0 for files.
        length: number of frames, if it is known.
        fps: native rate in Hz (for files: the rate of realtime playback), 0 if unknown.
    """

    @property
    def state(self) -> SourceState: ...

    @property
    def message(self) -> str: ...

    @property
    def skipped(self) -> int: ...

    @property
    def dropped(self) -> int: ...

    @property
    def reopened(self) -> int: ...

    @property
    def length(self) -> int | None: ...

    @property
    def fps(self) -> float: ...

    def read(self) -> Frame | None:
        """The next frame, waiting for it. None when a file source has finished, or after `close`."""
        ...

    def close(self) -> None:
        """Stop, within a second. Callable from any thread, and again; a blocked `read` returns None at once."""
        ...
