"""Real time: frames are published when a camera would send them, whether or not the node has finished the last."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import Any

from gaussian_yolo_node.bags.reading import Message
from gaussian_yolo_node.replay.frame_log import Row
from gaussian_yolo_node.replay.frames import BagFrame
from gaussian_yolo_node.replay.player import Player

# Rate of /clock between frames, Hz; the same as `ros2 bag play`.
CLOCK_HZ = 40.0
# A bag may hold several drives; the pause between them is shortened.
LONGEST_GAP_S = 60.0
SHORTENED_GAP_S = 1.0
# Timeout in s for the last answers.
_SETTLE_S = 3.0
# A frame published later than this is noted.
_LATE_S = 0.005
# Shorter waits sleep instead of spinning.
_NAP_S = 0.001
# Threads that read and record must yield at once, not after Python's default 5 ms.
_SWITCH_INTERVAL_S = 0.0005


class Schedule:
    """When frames are due, in ns from the first: by their times in the bag, or at a fixed rate.

    Args:
        rate_factor: speed relative to the bag.
        rate_hz: frames per second, whatever the bag's times.

    Attributes:
        shortened: number of gaps in the bag that were shortened.
    """

    def __init__(self, rate_factor: float, rate_hz: float | None) -> None:
        self._factor = rate_factor
        self._hz = rate_hz
        self._frames = 0
        self._latest_ns: int | None = None
        self._elapsed_ns = 0
        self.shortened = 0

    def due_ns(self, bag_ns: int) -> int:
        """When the next frame, recorded at `bag_ns`, is due."""
        gap = 0 if self._latest_ns is None else bag_ns - self._latest_ns
        self._latest_ns = bag_ns
        if self._hz is None and gap > LONGEST_GAP_S * 1e9:
            gap = int(SHORTENED_GAP_S * 1e9)
            self.shortened += 1
        self._elapsed_ns += gap
        self._frames += 1
        # Computed from the start each time, so that rounding errors do not accumulate.
        return round((self._frames - 1) * 1e9 / self._hz) if self._hz else round(self._elapsed_ns / self._factor)


class RealTime(Player):
    """Publishes every frame when it is due; an answer may come at any time, or never.

    Args:
        schedule: when frames are due.
        arguments: arguments of Player.
    """

    def __init__(self, *arguments: Any, schedule: Schedule) -> None:
        super().__init__(*arguments)
        self._schedule = schedule
        self._late = 0
        self._latest_s = 0.0
        self._previous: tuple[int, int] | None = None  # due, monotonic; bag time
        self._next_tick_ns = 0

    def play(self, items: Iterable[BagFrame | Message]) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(_SWITCH_INTERVAL_S)
        try:
            super().play(items)
        finally:
            sys.setswitchinterval(interval)
            self._account()

    def _play(self, frame: BagFrame) -> None:
        due = self.played.start_ns + self._schedule.due_ns(frame.bag_ns)
        # Handle answers even if this frame is already late.
        self._own.spin(0.0)
        self._wait(due, frame.bag_ns)
        late_s = (time.monotonic_ns() - due) / 1e9
        self._late += late_s > _LATE_S
        self._latest_s = max(self._latest_s, late_s)
        self._previous = due, frame.bag_ns
        self._publish(frame)

    def _wait(self, due_ns: int, bag_ns: int) -> None:
        """Handle incoming messages until a frame is due, and publish the passing time."""
        while (left_s := (due_ns - time.monotonic_ns()) / 1e9) > 0:
            if left_s < _NAP_S:
                time.sleep(left_s)
                continue
            self._own.spin(min(left_s - _NAP_S / 2, 1 / CLOCK_HZ))
            self._check()
            self._tick(due_ns, bag_ns)

    def _tick(self, due_ns: int, bag_ns: int) -> None:
        """Publish the time between the last frame and the next, interpolated to now."""
        if self._previous is None or time.monotonic_ns() < self._next_tick_ns:
            return
        before_ns, bag_before_ns = self._previous
        share = (time.monotonic_ns() - before_ns) / max(1, due_ns - before_ns)
        self._link.tick(bag_before_ns + int((bag_ns - bag_before_ns) * min(max(share, 0.0), 1.0)))
        self._next_tick_ns = time.monotonic_ns() + int(1e9 / CLOCK_HZ)

    def _finish(self) -> None:
        deadline = time.monotonic() + _SETTLE_S
        answered = self.played.log.answered
        while self.played.log.waiting and time.monotonic() < deadline:
            self._own.spin()
            self._check()
            if self.played.log.answered != answered:
                answered = self.played.log.answered
                deadline = time.monotonic() + _SETTLE_S

    def _account(self) -> None:
        """Assign the node's failures to frames, and note irregularities."""
        log, notes = self.played.log, self.played.notes
        unknown = log.fail_unanswered(self._new_failures(), self._failure_words)
        if unknown:
            notes.append(
                f"{unknown} of the frames without answer failed in the node, which does not say which: "
                f"{self._failure_words}"
            )
        if self._late:
            notes.append(
                f"{self._late} of {len(log)} frames were published more than {_LATE_S * 1e3:.0f} ms late, at most "
                f"{self._latest_s * 1e3:.0f} ms: the machine is busy"
            )
        if self._schedule.shortened:
            notes.append(
                f"{self._schedule.shortened} gaps of more than {LONGEST_GAP_S:.0f} s between images were shortened to "
                f"{SHORTENED_GAP_S:.0f} s"
            )
        if log.repeated:
            notes.append(
                "images with one stamp cannot be told apart: where some of them are dropped, the ages of the others "
                "are too long"
            )

    def _recording_time(self, row: Row) -> int:
        # The recording then shows the same age of an answer as a bag recorded on the road.
        assert row.answered_ns is not None
        return row.bag_ns + row.answered_ns - row.published_ns
