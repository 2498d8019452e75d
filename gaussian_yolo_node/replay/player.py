"""Common part of both replay modes: publish frames, take answers and record them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gaussian_yolo_node.bags import INFO_TOPIC
from gaussian_yolo_node.bags.frame_info import FrameInfo
from gaussian_yolo_node.bags.reading import BagError, Message
from gaussian_yolo_node.replay.frame_log import FrameLog, FrameName, Row
from gaussian_yolo_node.replay.frames import BagFrame
from gaussian_yolo_node.replay.link import NodeLink
from gaussian_yolo_node.replay.recorder import Recorder
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.cdr import detection_count, stamp_of
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.own_node import OwnNode

# Interval in s for checking that the node exists if it is not a child process.
_LOOK_S = 1.0
# Timeout in s for the node's last report.
_REPORT_S = 2.0

OnProgress = Callable[[FrameLog], None]


@dataclass
class Played:
    """State of a replay so far.

    Attributes:
        log: its frames.
        names: what the bag says about frames, by stamp in ns.
        unread_names: errors of the entries that cannot be read.
        start_ns: publication of the first frame, monotonic.
        end_ns: when the last frame was finished, monotonic; None if it never was.
        notes: notes for the reader, one sentence each.
    """

    log: FrameLog = field(default_factory=FrameLog)
    names: dict[int, FrameName] = field(default_factory=dict)
    unread_names: list[str] = field(default_factory=list)
    start_ns: int = field(default_factory=time.monotonic_ns)
    end_ns: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def elapsed_s(self) -> float:
        """From the first frame to the last answer, or until now."""
        return ((time.monotonic_ns() if self.end_ns is None else self.end_ns) - self.start_ns) / 1e9


class Player(ABC):
    """Plays frames through a node.

    Args:
        own, driver, link: the connection to the node.
        recorder: records answers and copies.
        on_progress: called after each frame.
    """

    def __init__(
        self, own: OwnNode, driver: NodeDriver, link: NodeLink, recorder: Recorder, on_progress: OnProgress
    ) -> None:
        self.played = Played()
        self._own = own
        self._driver = driver
        self._link = link
        self._recorder = recorder
        self._on_progress = on_progress
        self._looked = time.monotonic()
        self._recorded_ns = -1
        self._skipped = 0

    def listen(self) -> None:
        """Read the node's failure count from its next report, if one arrives in time."""
        self._wait_for_report()
        self._skipped = self._driver.count("frames_skipped")

    def play(self, items: Iterable[BagFrame | Message]) -> None:
        """Play all frames; messages between them are copied into the recording.

        Raises:
            GaussianYoloError: the node or the bag is gone, or the recording cannot be written; `played` holds the
                frames played so far.
        """
        for item in items:
            if isinstance(item, BagFrame):
                if not len(self.played.log):
                    self.played.start_ns = time.monotonic_ns()
                self._play(item)
                self._check()
                self._on_progress(self.played.log)
            else:
                self._copy(item)
        self._finish()
        self.played.end_ns = time.monotonic_ns()
        self._wait_for_report()

    @abstractmethod
    def _play(self, frame: BagFrame) -> None:
        """Publish one frame."""

    @abstractmethod
    def _finish(self) -> None:
        """Wait for outstanding answers."""

    @abstractmethod
    def _recording_time(self, row: Row) -> int:
        """Time of an answer in the recording, in ns of the bag's time."""

    def on_answer(self, raw: bytes, arrived_ns: int) -> None:
        """Record a detections message from the node."""
        row = self.played.log.take_answer(stamp_of(raw), arrived_ns, detection_count(raw))
        if row is not None:
            # Readers sort by time, so times must keep the order of arrival.
            self._recorded_ns = max(self._recorded_ns + 1, self._recording_time(row))
            self._recorder.write(self._link.answer_topic, self._recorded_ns, raw)

    def _publish(self, frame: BagFrame) -> int:
        """Send a frame with its time, and return its index in the log."""
        self._link.tick(frame.bag_ns)
        head = frame.head
        now = time.monotonic_ns()
        index = self.played.log.published(head.stamp_ns, frame.bag_ns, (head.width, head.height), now)
        if frame.fault:
            self.played.log.fail(index, frame.fault)
        else:
            self._link.send(frame.raw)
        return index

    def _new_failures(self) -> int:
        """Frames that the node has reported as failed since the last call."""
        count = self._driver.count("frames_skipped")
        new, self._skipped = max(0, count - self._skipped), count
        return new

    @property
    def _failure_words(self) -> str:
        return self._driver.diagnostics.get("last_error") or "the node skipped it"

    def _copy(self, message: Message) -> None:
        self._recorder.write(message.topic, message.stamp_ns, message.raw)
        if message.topic == INFO_TOPIC:
            try:
                info = FrameInfo.from_json(message.decode().data)
            except (ValueError, BagError) as error:
                self.played.unread_names.append(str(error))
            else:
                self.played.names[info.stamp_ns] = FrameName(info.frame, info.width, info.height)

    def _check(self) -> None:
        """Raise if the node or the recording is gone."""
        self._driver.check_alive()
        self._recorder.check()
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            if not self._link.node_is_there:
                raise DrivingError(f"node {self._driver.name} is gone: nobody publishes {self._link.answer_topic}")

    def _wait_for_report(self) -> None:
        """Wait for the next report, so that the node's counters include all frames."""
        wanted = self._driver.reports + 1
        deadline = time.monotonic() + _REPORT_S
        while self._driver.reports < wanted and time.monotonic() < deadline:
            self._own.spin()
            self._check()
