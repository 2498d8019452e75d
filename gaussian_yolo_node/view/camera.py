"""One camera of the live view: its newest frame, and its reports of the last minute."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from gaussian_yolo_node.view.frame import ViewedFrame

HISTORY_S = 60.0
# Reports that come faster are thinned out in the history.
_LEAST_REPORT_INTERVAL_S = 0.25
# At most 12.5 pictures a second; a camera of 10 Hz whose frames jitter loses none.
_LEAST_FRAME_INTERVAL_S = 0.08
# Figures of a report that the page plots, by their names on /diagnostics.
_FIGURES = ("rate_hz", "frame_age_p50_ms", "frames_received", "frames_dropped")


class Camera:
    """A node hands over what it has; nothing here waits for a viewer, and the newest frame wins. Thread-safe.

    Args:
        name: shown as the title.
        address: URL of the page.
        is_watched: whether a page asks.
        on_news: called after a frame or report has been taken.
        on_close: takes the camera off the page.
    """

    def __init__(
        self,
        name: str,
        address: str,
        is_watched: Callable[[], bool],
        on_news: Callable[[], None],
        on_close: Callable[[Camera], None],
    ) -> None:
        self.name = name
        self.address = address
        self._is_watched, self._on_news, self._on_close = is_watched, on_news, on_close
        self._lock = threading.Lock()
        self._frame: ViewedFrame | None = None
        self._frame_number = 0
        self._taken_at = float("-inf")
        self._encoded: tuple[int, dict[str, Any], bytes] | None = None
        self._reports: deque[tuple[int, dict[str, Any]]] = deque()
        self._report_number = 0

    @property
    def wanted(self) -> bool:
        """Whether a frame would be shown: a page asks, and the last one is old enough."""
        return self._is_watched() and time.monotonic() - self._taken_at >= _LEAST_FRAME_INTERVAL_S

    def show(self, frame: ViewedFrame) -> None:
        """Take a frame, if it is wanted."""
        if not self.wanted:
            return
        with self._lock:
            self._frame = frame
            self._frame_number += 1
            self._taken_at = time.monotonic()
        self._on_news()

    def report(self, level: int, message: str, values: Mapping[str, str]) -> None:
        """Take a report.

        Args:
            level: 0 all is well, 1 warning, 2 error.
            message: one sentence.
            values: as on /diagnostics; the page shows rate, age, drops and canvas.
        """
        now = time.time()
        report: dict[str, Any] = {"time": now, "level": level, "message": message, "canvas": values.get("canvas", "")}
        report |= {name: _number(values.get(name, "")) for name in _FIGURES}
        with self._lock:
            # The newest is always kept; one that came too soon after the one before it is replaced.
            if len(self._reports) > 1 and now - self._reports[-2][1]["time"] < _LEAST_REPORT_INTERVAL_S:
                self._reports.pop()
            self._report_number += 1
            self._reports.append((self._report_number, report))
            while now - self._reports[0][1]["time"] > HISTORY_S:
                self._reports.popleft()
        self._on_news()

    def close(self) -> None:
        """Take the camera off the page; the server ends with its last camera."""
        self._on_close(self)

    def reports_after(self, number: int) -> tuple[int, list[dict[str, Any]]]:
        """Number of the newest report, and the reports after number `number`."""
        with self._lock:
            return self._report_number, [report for each, report in self._reports if each > number]

    def frame_after(self, number: int) -> tuple[int, dict[str, Any], bytes] | None:
        """Number, description and JPEG of the newest frame; None if it is not after number `number`.

        Encoded once, however many look. For the server's thread alone.
        """
        with self._lock:
            newest, frame = self._frame_number, self._frame
        if frame is None or newest <= number:
            return None
        if self._encoded is None or self._encoded[0] != newest:
            self._encoded = newest, frame.describe(), frame.jpeg()
        return self._encoded

    def forget_frame(self) -> None:
        """Let go of the newest frame: no page is left. For the server's thread alone."""
        with self._lock:
            self._frame = self._encoded = None


def _number(text: str) -> float | None:
    """None without a finite number, which is all that JSON has."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
