"""Keeping a frame rate: which operating point of a model this machine can run, and when to change it under load."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from statistics import median

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import OperatingPoint
from gaussian_yolo_node.runtime.base import DetectingRuntime, show_size
from gaussian_yolo_node.runtime.times import known_time_s, measure_s

# Share of a frame's period that the network may take; camera, middleware, drawing and other programs need the rest, and
# on a single core they have no other.
BUSY_SHARE = 0.75 if len(os.sched_getaffinity(0)) > 1 else 0.5
# A frame that takes longer than this share of the period is about to be dropped.
_LATE_SHARE = 0.95
# The first seconds decide nothing: caches are cold, and other nodes discover this one.
_START_S = 3.0
# The latest seconds, half of which decide a step down, and nearly all a step up.
_WINDOW_S = 5.0
# If many frames are dropped, the latest second decides a step down: if they overran their periods by this time in the
# window, s.
_MOST_OVERRUN_S, _LATEST_S = 0.3, 1.0
# Between two steps. A step up that had to be taken back doubles the wait for the next one, up to the longest.
_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0


@dataclass(frozen=True)
class TimedPoint:
    """An operating point and its network's time on this machine, s.

    The time is estimated from its GMACs unless it is measured, and 0 if no operating point is.
    """

    point: OperatingPoint
    network_s: float
    measured: bool = True

    @property
    def accuracy(self) -> str:
        """The first average precision of the card: "AP50 car 78.2 % on drive_0011"; empty if there is none."""
        for name, values in self.point.average_precision.items():
            for metric, value in values.items():
                return f"{metric} {100 * value:.1f} % on {name}"
        return ""

    def __str__(self) -> str:
        about = "" if self.measured else "about "
        accuracy = f" ({self.accuracy})" if self.accuracy else ""
        takes = f": {about}{1e3 * self.network_s:.1f} ms" if self.network_s else ""
        return f"{show_size(self.point.input_size)}{accuracy}{takes}"


def time_points(detector: Detector, rate_hz: float) -> list[TimedPoint]:
    """Time a model's operating points on this machine, from the smallest to the first that takes twice its share.

    Earlier results come from the user's cache. The canvases are the card's, on a GPU those that have an engine; the
    detector keeps only its current one.

    Args:
        detector: its canvas must follow the frames.
        rate_hz: frames per second to keep; 0 times nothing.

    Returns:
        All operating points, by number of pixels; empty if there is no choice.
    """
    points = sorted(detector.card.operating_points, key=lambda point: point.gmacs)
    runtime = detector.runtime
    if not detector.follows_frame:
        return []
    canvases = {point.input_size: point.input_size for point in points}
    if isinstance(runtime, DetectingRuntime):
        nearest = [(detector.card.operating_point_at(size), size) for size in runtime.canvases]
        canvases = {point.input_size: size for point, size in nearest if point is not None}
        points = [point for point in points if point.input_size in canvases]
    timed: list[TimedPoint] = []
    for point in points:
        last = timed[-1] if timed else None
        if rate_hz <= 0 or (last is not None and last.network_s > 2 * BUSY_SHARE / rate_hz):
            seconds = last.network_s * point.gmacs / last.point.gmacs if last else 0.0
            timed.append(TimedPoint(point, seconds, measured=False))
            continue
        size = canvases[point.input_size]
        known = known_time_s(runtime, detector.model_hash, size)
        if known is None:
            with closing(runtime.at(size)) as with_canvas:
                known = measure_s(with_canvas, detector.model_hash)
        timed.append(TimedPoint(point, known))
    return timed


def largest_within(points: Sequence[TimedPoint], rate_hz: float, slowdown: float = 1.0) -> int:
    """Index of the largest operating point that keeps a rate, or 0 if none does; a rate of 0 takes the largest.

    Args:
        points: by number of pixels, at least one.
        rate_hz: frames per second of all cameras together.
        slowdown: how much longer the network takes now than when it was timed.
    """
    if rate_hz <= 0:
        return len(points) - 1
    fitting = [i for i, timed in enumerate(points) if timed.network_s * slowdown <= BUSY_SHARE / rate_hz]
    return max(fitting, default=0)


class Pace:
    """Decides when another operating point is needed because the machine became busier or less busy.

    Args:
        points: by number of pixels, at least one.
        rate_hz: frames per second to keep, above 0.
        share: part of the machine that this camera may use; several cameras share it.
        clock: s, monotonic.

    Attributes:
        current: index of the operating point in use.
        preferred: index of the one that was chosen first.
    """

    def __init__(
        self,
        points: Sequence[TimedPoint],
        rate_hz: float,
        share: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.points = points
        self.current = self.preferred = largest_within(points, rate_hz / share)
        self._rate_hz, self._share, self._clock = rate_hz, share, clock
        self._frames: deque[tuple[float, float, float]] = deque()
        self._started: float | None = None
        self._pause_s = _PAUSE_S
        self._stepped_at = clock() - _PAUSE_S
        self._stepped_up = False

    def observe(self, network_s: float, frame_s: float) -> int | None:
        """Take note of a frame.

        Args:
            network_s: time of its network, s.
            frame_s: time of the whole frame in the worker, s.

        Returns:
            Index of the operating point to use from now on; None for no change.
        """
        now = self._clock()
        if self._started is None:
            self._started = now
        if now - self._started < _START_S:
            return None
        self._frames.append((now, network_s, frame_s))
        while now - self._frames[0][0] > _WINDOW_S:
            self._frames.popleft()
        paused, covered = now - self._stepped_at, now - self._frames[0][0]
        if self.current > 0 and paused >= _PAUSE_S and self._is_late(now, covered):
            latest = self._latest(_LATEST_S)
            # The older half may still show the idle machine.
            return self._step(min(self.current - 1, self._affordable(latest[len(latest) // 2 :])), now)
        if self.current < len(self.points) - 1 and paused >= self._pause_s and covered > 0.8 * _WINDOW_S:
            target = self._affordable(self._frames)
            if target > self.current:
                return self._step(target, now)
        return None

    def _is_late(self, now: float, covered: float) -> bool:
        """Whether frames have taken too long for several seconds, or so long that many of them are dropped."""
        period_s = 1 / self._rate_hz
        overrun_s = sum(max(0.0, frame[2] - period_s) for frame in self._frames)
        window_s = _LATEST_S if overrun_s > _MOST_OVERRUN_S else _WINDOW_S
        median_s = median(frame[2] for frame in self._latest(window_s))
        return covered > 0.8 * window_s and median_s > _LATE_SHARE * period_s

    def _latest(self, seconds: float) -> list[tuple[float, float, float]]:
        now = self._frames[-1][0]
        return [frame for frame in self._frames if now - frame[0] <= seconds]

    def _affordable(self, frames: Collection[tuple[float, float, float]]) -> int:
        """The largest operating point if the network goes on as in these frames."""
        slowdown = median(frame[1] for frame in frames) / self.points[self.current].network_s
        if self._share < 1:  # the time includes waiting for the other cameras, which the share accounts for
            slowdown = max(1.0, slowdown * self._share)
        return largest_within(self.points, self._rate_hz / self._share, slowdown)

    def _step(self, target: int, now: float) -> int:
        if target < self.current:
            taken_back = self._stepped_up and now - self._stepped_at < 3 * _PAUSE_S
            self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if taken_back else _PAUSE_S
        self._stepped_up = target > self.current
        self.current, self._stepped_at = target, now
        self._frames.clear()
        return target
