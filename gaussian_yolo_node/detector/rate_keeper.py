"""Keeping a frame rate: the largest canvas that the machine can run, and a smaller one while it is busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.pace import BUSY_SHARE, Pace, TimedPoint, largest_within, time_points
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.times import forget


class RateKeeper:
    """Chooses a detector's canvas for a frame rate, and changes it under load.

    `start` before the first frame; then `frame_done` after each, in the thread that calls `Detector.detect`.

    Args:
        detector: if its canvas is fixed, or its card has no operating points, nothing is changed.
        rate_hz: frames per second to keep; 0 takes the largest canvas.
        share: part of the machine that this detector may use; several cameras share it.
        warn: takes a sentence for the user at every change.
        clock: s, monotonic.
    """

    def __init__(
        self,
        detector: Detector,
        rate_hz: float,
        *,
        share: float = 1.0,
        warn: Callable[[str], object] = print,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._detector, self._rate_hz, self._share, self._warn, self._clock = detector, rate_hz, share, warn, clock
        self._points: list[TimedPoint] = []
        self._current = 0
        self._pace: Pace | None = None
        self._smaller_is_loaded = False
        self.notice = ""

    def start(self, frame_size: tuple[int, int] | None = None) -> None:
        """Time the operating points that are not in the cache, and load the canvas.

        Args:
            frame_size: (height, width) in px, if it is known already.

        Raises:
            GaussianYoloError: the model cannot be run.
        """
        detector = self._detector
        self._points = time_points(detector, self._rate_hz / self._share)
        if self._points:
            self._current = largest_within(self._points, self._rate_hz / self._share)
            detector.operate_like(self._points[self._current].point.input_size)
        if frame_size is not None and detector.follows_frame:
            detector.fit(frame_size)
        detector.unload_others()
        if self._points and self._rate_hz > 0:
            self._pace = Pace(self._points, self._rate_hz, self._share, self._clock)
            if frame_size is not None:
                self._load_smaller()
            self.notice = self._too_slow()

    @property
    def choice(self) -> str:
        """The canvas, its accuracy and time, and what larger ones would cost, in one line."""
        detector = self._detector
        if not self._points:
            return f"canvas {show_size(detector.input_size)}, fixed"
        if self._rate_hz <= 0:
            return f"canvas {self._points[self._current]}, the largest"
        budget_ms = 1e3 * BUSY_SHARE * self._share / self._rate_hz
        larger = ", ".join(str(timed) for timed in self._points[self._current + 1 :])
        return (
            f"canvas {self._points[self._current]} of {budget_ms:.1f} ms at {self._rate_hz:g} Hz"
            f"{'; larger: ' + larger if larger else ''}"
        )

    @property
    def accuracy(self) -> str:
        """The card's accuracy of the operating point in use; empty if it has none."""
        return self._points[self._current].accuracy if self._points else ""

    def frame_done(self, network_s: float, frame_s: float) -> None:
        """Take note of a frame's times in s, of its network and as a whole, and change the canvas if need be."""
        if self._pace is None:
            return
        if not self._smaller_is_loaded:  # the first frame: their shape is known now
            self._load_smaller()
        target = self._pace.observe(network_s, frame_s)
        if target is not None:
            change = partial(self._attempt, partial(self._change, target))
            threading.Thread(target=change, name="canvas", daemon=True).start()

    def _change(self, target: int) -> None:
        """Load the canvas while frames go on with the present one, then use it."""
        assert self._pace is not None
        before, after = self._points[self._current], self._points[target]
        self._detector.operate_like(after.point.input_size)
        self._current = target
        canvas, former = show_size(after.point.input_size), show_size(before.point.input_size)
        if target < self._pace.preferred:
            best = show_size(self._points[self._pace.preferred].point.input_size)
            self.notice = f"the machine is busy: canvas {canvas} instead of {best}"
        else:
            self.notice = self._too_slow()
        if target > self._pace.preferred:  # the next start chooses by times of a machine that is not busy
            forget(self._detector.runtime, self._detector.model_hash)
        direction = "down" if after.point.gmacs < before.point.gmacs else "up"
        self._warn(f"stepped {direction} from canvas {former} to {canvas} to keep {self._rate_hz:g} Hz")

    def _too_slow(self) -> str:
        smallest = self._points[0]
        if smallest.network_s <= BUSY_SHARE * self._share / self._rate_hz:
            return ""
        return (
            f"no canvas of {self._detector.card.name} keeps {self._rate_hz:g} Hz on this machine, the smallest takes "
            f"{1e3 * smallest.network_s:.0f} ms; lower target_rate or take a smaller model"
        )

    def _load_smaller(self) -> None:
        """Keep the next smaller canvas ready, for a busy machine loads it slowly.

        Not beside the frames, which would lose a core meanwhile, but before them or in their thread at the first one.
        """
        self._smaller_is_loaded = True
        smaller = self._points[max(0, self._current - 1)].point.input_size
        self._attempt(partial(self._detector.load, smaller))

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except GaussianYoloError as error:  # such as a GPU without memory for another canvas
            assert self._pace is not None
            self._pace.current = self._current
            self._warn(f"the canvas stays {show_size(self._detector.input_size)}: {error}")
