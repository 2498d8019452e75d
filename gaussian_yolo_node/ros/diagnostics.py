"""The node's counters and frame times."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

# Times cover this many of the latest frames, the rate covers the latest seconds.
WINDOW_FRAMES = 300
WINDOW_S = 5.0


@dataclass(frozen=True)
class FrameTimes:
    """Durations of one frame in s.

    Attributes:
        age: from the frame's stamp to the publication of its detections; None for a frame without a stamp.
        wait: from the frame's arrival until a thread takes it.
        decode: from the message or file to an image.
        preprocess, inference, postprocess: the detector's stages.
        publish: building and publishing the detections.
    """

    age: float | None
    wait: float
    decode: float
    preprocess: float
    inference: float
    postprocess: float
    publish: float


@dataclass(frozen=True)
class Recent:
    """The latest seconds.

    Attributes:
        arrival_hz, processed_hz: frames per second; 0 until some time has passed.
        dropped_share: of the frames that arrived, 0..1.
        age_s, age_p99_s: median and 99th percentile of the ages, s; None without a frame that has a stamp.
    """

    arrival_hz: float
    processed_hz: float
    dropped_share: float
    age_s: float | None
    age_p99_s: float | None


class FrameStatistics:
    """Thread-safe counts of frames and their recent times.

    Every received frame is eventually processed, failed, or dropped by the mailbox.

    Attributes:
        received, processed, failed: numbers of frames.
        failing: whether the latest frame failed.
        last_error: message of the latest failed frame; kept after later frames succeed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.start()
        self.received = self.processed = self.failed = 0
        self.failing = False
        self.last_error = ""
        self._unreported_failures = 0
        self._times: deque[FrameTimes] = deque(maxlen=WINDOW_FRAMES)
        self._finished_at: deque[float] = deque()

    def start(self) -> None:
        """Count silence and rates from now on."""
        self._started = self._received_at = self._clock()
        self._samples: deque[tuple[float, int, int, int]] = deque([(self._started, 0, 0, 0)])

    def count_received(self) -> None:
        """Count an incoming frame."""
        with self._lock:
            self.received += 1
            self._received_at = self._clock()

    def note_ignored(self) -> None:
        """Note that a frame arrived while the node is disabled; it counts nowhere, but the input is not silent."""
        with self._lock:
            self._received_at = self._clock()

    def count_processed(self, times: FrameTimes) -> None:
        """Count a frame whose detections are published."""
        with self._lock:
            self.processed += 1
            self.failing = False
            self._times.append(times)
            self._finished_at.append(self._clock())
            self._forget_old()

    def count_failed(self, message: str) -> bool:
        """Count a frame that could not be processed.

        Returns:
            Whether the message differs from the previous frame's.
        """
        with self._lock:
            news = not self.failing or message != self.last_error
            self.failed += 1
            self._unreported_failures += 1
            self.failing = True
            self.last_error = message
            return news

    def take_unreported_failures(self) -> int:
        """Failures since the last call."""
        with self._lock:
            count, self._unreported_failures = self._unreported_failures, 0
            return count

    @property
    def silence_s(self) -> float:
        """Seconds since the last frame arrived, or since the start."""
        return self._clock() - self._received_at

    @property
    def rate_hz(self) -> float:
        """Frames processed per second over the latest WINDOW_S seconds."""
        with self._lock:
            self._forget_old()
            span = min(WINDOW_S, self._clock() - self._started)
            return len(self._finished_at) / span if span > 0 else 0.0

    @property
    def frame_s(self) -> float | None:
        """Median time of the latest frames in the worker, s; None before the first."""
        with self._lock:
            times = list(self._times)
        if not times:
            return None
        return float(np.median([t.decode + t.preprocess + t.inference + t.postprocess + t.publish for t in times]))

    def sample(self, arrived: int, dropped: int) -> None:
        """Note the total counts of frames that arrived and were dropped, before `recent`."""
        with self._lock:
            now = self._clock()
            self._samples.append((now, arrived, self.processed, dropped))
            # The oldest sample is the last one before the window.
            while len(self._samples) > 2 and now - self._samples[1][0] > WINDOW_S:
                self._samples.popleft()

    def recent(self) -> Recent:
        """Rates and share between the samples of the latest seconds, ages of the frames in them."""
        with self._lock:
            (start, *before), (end, *after) = self._samples[0], self._samples[-1]
            self._forget_old()
            times = list(self._times)[-max(1, len(self._finished_at)) :] if self._finished_at else []
        arrived, processed, dropped = (new - old for new, old in zip(after, before, strict=True))
        span = end - start
        ages = [frame.age for frame in times if frame.age is not None]
        return Recent(
            arrived / span if span > 0 else 0.0,
            processed / span if span > 0 else 0.0,
            dropped / arrived if arrived > 0 else 0.0,
            float(np.median(ages)) if ages else None,
            float(np.percentile(ages, 99)) if ages else None,
        )

    def values(self) -> dict[str, str]:
        """Rate and recent times for /diagnostics: ages as percentiles, stages as medians, in ms."""
        with self._lock:
            times = list(self._times)
        ages = [frame.age for frame in times if frame.age is not None]
        return {
            "rate_hz": f"{self.rate_hz:.1f}",
            "frame_age_p50_ms": _milliseconds(ages, 50),
            "frame_age_p99_ms": _milliseconds(ages, 99),
            "frame_age_max_ms": _milliseconds(ages, 100),
            **{
                f"{stage}_ms": _milliseconds([getattr(frame, stage) for frame in times], 50)
                for stage in ("wait", "decode", "preprocess", "inference", "postprocess", "publish")
            },
        }

    def _forget_old(self) -> None:
        while self._finished_at and self._clock() - self._finished_at[0] > WINDOW_S:
            self._finished_at.popleft()


def _milliseconds(seconds: list[float], percentile: float) -> str:
    """A percentile in ms; empty without frames."""
    return f"{np.percentile(seconds, percentile) * 1e3:.2f}" if seconds else ""
