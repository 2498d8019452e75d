"""Plays frames through a node and records its answers, in lockstep or in real time."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

from gaussian_yolo_node.bags import CAMERA_INFO, INFO_TOPIC
from gaussian_yolo_node.bags.frame_info import FrameInfo
from gaussian_yolo_node.bags.reading import BagError, Message
from gaussian_yolo_node.replay import ReplayError
from gaussian_yolo_node.replay.frame_log import FrameLog, FrameName, Row
from gaussian_yolo_node.replay.frames import LONGEST_GAP_S, SHORTENED_GAP_S, BagFrame, Schedule
from gaussian_yolo_node.replay.link import NodeLink
from gaussian_yolo_node.replay.recorder import Recorder
from gaussian_yolo_node.ros.driving import DrivingError
from gaussian_yolo_node.ros.driving.cdr import detection_count, stamp_of
from gaussian_yolo_node.ros.driving.own_node import STEP_S

# Interval in s for checking that the node exists if it is not a child process.
_LOOK_S = 1.0
# Timeout in s for the node's last report.
_REPORT_S = 2.0

# Lockstep gives up on the node after this many consecutive frames without a response.
_MOST_SILENT = 5

# Rate of /clock between frames in real time, Hz; the same as `ros2 bag play`.
_CLOCK_HZ = 40.0
# Timeout in s for the last answers.
_SETTLE_S = 3.0
# A frame published later than this is noted.
_LATE_S = 0.005
# Shorter waits sleep instead of spinning.
_NAP_S = 0.001
# Threads that read and record must yield at once, not after Python's default 5 ms.
_SWITCH_INTERVAL_S = 0.0005

OnProgress = Callable[[FrameLog], None]


class Player(ABC):
    """Plays frames through a node.

    Args:
        link: the connection to the node.
        recorder: records answers and copies.
        on_progress: called after each frame.

    Attributes:
        log: the frames played so far.
        names: what the bag says about frames, by stamp in ns.
        unread_names: errors of the entries that cannot be read.
        start_ns: publication of the first frame, monotonic.
        notes: notes for the reader, one sentence each.
    """

    def __init__(self, link: NodeLink, recorder: Recorder, on_progress: OnProgress) -> None:
        self.log = FrameLog()
        self.names: dict[int, FrameName] = {}
        self.unread_names: list[str] = []
        self.start_ns = time.monotonic_ns()
        self.notes: list[str] = []
        self._end_ns: int | None = None
        self._link = link
        self._driver = link.driver
        self._recorder = recorder
        self._on_progress = on_progress
        self._looked = time.monotonic()
        self._recorded_ns = -1
        self._skipped = 0
        link.on_answer = self._on_answer
        link.on_places = self._on_places

    @property
    def elapsed_s(self) -> float:
        """From the first frame to the last answer, or until now."""
        return ((time.monotonic_ns() if self._end_ns is None else self._end_ns) - self.start_ns) / 1e9

    def listen(self) -> None:
        """Read the node's failure count from its next report, if one arrives in time."""
        self._wait_for_report()
        self._skipped = self._driver.count("frames_skipped")

    def play(self, items: Iterable[BagFrame | Message]) -> None:
        """Play all frames; messages between them are copied into the recording.

        Raises:
            GaussianYoloError: the node or the bag is gone, or the recording cannot be written; `log` holds the frames
                played so far.
        """
        for item in items:
            if isinstance(item, BagFrame):
                if not len(self.log):
                    self.start_ns = time.monotonic_ns()
                self._play(item)
                self._check()
                self._on_progress(self.log)
            else:
                self._copy(item)
        self._finish()
        self._end_ns = time.monotonic_ns()
        self._wait_for_report()

    @abstractmethod
    def _play(self, frame: BagFrame) -> None:
        """Publish one frame."""

    @abstractmethod
    def _recording_time(self, row: Row) -> int:
        """Time of an answer in the recording, in ns of the bag's time."""

    def _finish(self) -> None:  # noqa: B027 - in lockstep the last frame is finished already
        """Wait for outstanding answers."""

    def _on_answer(self, raw: bytes, arrived_ns: int) -> None:
        """Record a detections message from the node."""
        row = self.log.take_answer(stamp_of(raw), arrived_ns, detection_count(raw))
        if row is not None:
            # Readers sort by time, so times must keep the order of arrival.
            self._recorded_ns = max(self._recorded_ns + 1, self._recording_time(row))
            self._recorder.write(self._link.answer_topic, self._recorded_ns, raw)

    def _on_places(self, raw: bytes) -> None:
        """Record a message with the places of a frame that has been answered, or will be next."""
        self._recorder.write(self._link.places_topic, max(self._recorded_ns, 0), raw)

    def _publish(self, frame: BagFrame) -> int:
        """Send a frame with its time, and return its index in the log."""
        self._link.tick(frame.bag_ns)
        head = frame.head
        now = time.monotonic_ns()
        index = self.log.published(head.stamp_ns, frame.bag_ns, (head.width, head.height), now)
        if frame.fault:
            self.log.fail(index, frame.fault)
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
        if message.type == CAMERA_INFO:
            self._link.send_camera_info(message.raw)
        elif message.topic == INFO_TOPIC:
            try:
                info = FrameInfo.from_json(message.decode().data)
            except (ValueError, BagError) as error:
                self.unread_names.append(str(error))
            else:
                self.names[info.stamp_ns] = FrameName(info.frame, info.width, info.height)

    def _spin(self, timeout_s: float = STEP_S) -> None:
        """Handle one message, or none within the time. Raises if the node or the recording is gone."""
        self._link.own.spin(timeout_s)
        self._check()

    def _check(self) -> None:
        """Raise if the node or the recording is gone."""
        self._driver.check_alive()
        self._recorder.check()
        if time.monotonic() - self._looked > _LOOK_S:
            self._looked = time.monotonic()
            if not self._link.node_is_there:
                raise DrivingError(f"node {self._driver.name} is gone: {self._link.answer_topic} has no publisher")

    def _wait_for_report(self) -> None:
        """Wait for the next report, so that the node's counters include all frames."""
        wanted = self._driver.reports + 1
        deadline = time.monotonic() + _REPORT_S
        while self._driver.reports < wanted and time.monotonic() < deadline:
            self._spin()


class Lockstep(Player):
    """Publishes a frame, waits until the node answers it or reports a failure, then publishes the next.

    So the result does not depend on the machine's speed.

    Args:
        link, recorder, on_progress: as in Player.
        timeout_s: a frame without a response within this time has failed.
    """

    def __init__(self, link: NodeLink, recorder: Recorder, on_progress: OnProgress, timeout_s: float) -> None:
        super().__init__(link, recorder, on_progress)
        self._timeout_s = timeout_s
        self._silent = 0

    def _play(self, frame: BagFrame) -> None:
        index = self._publish(frame)
        log = self.log
        reports = self._driver.reports
        deadline = time.monotonic() + self._timeout_s
        while log.waiting:
            self._spin()
            if self._driver.reports != reports:
                reports = self._driver.reports
                for _ in range(self._new_failures()):
                    # The failure may belong to a frame that was given up earlier.
                    if not log.forgive() and log.waiting:
                        log.fail(index, self._failure_words)
                if self._driver.is_idle:
                    log.expect_no_late_answers()
            if log.waiting and time.monotonic() > deadline:
                self._give_up(index)
        if not log[index].failure:
            self._silent = 0

    def _give_up(self, index: int) -> None:
        self.log.fail(index, f"no answer within {self._timeout_s:g} s", answer_owed=True)
        self._silent += 1
        if self._silent == _MOST_SILENT:
            raise ReplayError(
                f"node {self._driver.name} has not answered {_MOST_SILENT} frames in a row, within "
                f"{self._timeout_s:g} s each; it says: {self._driver.status or 'nothing'}"
            )

    def _recording_time(self, row: Row) -> int:
        return row.bag_ns


class RealTime(Player):
    """Publishes every frame when a camera would, whether or not the node has answered the last.

    Args:
        link, recorder, on_progress: as in Player.
        schedule: when frames are due.
    """

    def __init__(self, link: NodeLink, recorder: Recorder, on_progress: OnProgress, schedule: Schedule) -> None:
        super().__init__(link, recorder, on_progress)
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
        due = self.start_ns + self._schedule.due_ns(frame.bag_ns)
        # Handle answers even if this frame is already late.
        self._spin(0.0)
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
            self._spin(min(left_s - _NAP_S / 2, 1 / _CLOCK_HZ))
            self._tick(due_ns, bag_ns)

    def _tick(self, due_ns: int, bag_ns: int) -> None:
        """Publish the time between the last frame and the next, interpolated to now."""
        if self._previous is None or time.monotonic_ns() < self._next_tick_ns:
            return
        before_ns, bag_before_ns = self._previous
        share = (time.monotonic_ns() - before_ns) / max(1, due_ns - before_ns)
        self._link.tick(bag_before_ns + int((bag_ns - bag_before_ns) * min(max(share, 0.0), 1.0)))
        self._next_tick_ns = time.monotonic_ns() + int(1e9 / _CLOCK_HZ)

    def _finish(self) -> None:
        deadline = time.monotonic() + _SETTLE_S
        answered = self.log.answered
        while self.log.waiting and time.monotonic() < deadline:
            self._spin()
            if self.log.answered != answered:
                answered = self.log.answered
                deadline = time.monotonic() + _SETTLE_S

    def _account(self) -> None:
        """Assign the node's failures to frames, and note irregularities."""
        unknown = self.log.fail_unanswered(self._new_failures(), self._failure_words)
        if unknown:
            self.notes.append(
                f"{unknown} of the frames without answer failed in the node, which does not say which: "
                f"{self._failure_words}"
            )
        if self._late:
            self.notes.append(
                f"{self._late} of {len(self.log)} frames were published more than {_LATE_S * 1e3:.0f} ms late, at most "
                f"{self._latest_s * 1e3:.0f} ms: the machine is busy"
            )
        if self._schedule.shortened:
            self.notes.append(
                f"{self._schedule.shortened} gaps of more than {LONGEST_GAP_S:.0f} s between images were shortened to "
                f"{SHORTENED_GAP_S:.0f} s"
            )
        if self.log.repeated:
            self.notes.append(
                "images with one stamp cannot be distinguished: where some of them are dropped, the ages of the others "
                "are too long"
            )

    def _recording_time(self, row: Row) -> int:
        # The recording then shows the same age of an answer as a bag recorded on the road.
        assert row.answered_ns is not None
        return row.bag_ns + row.answered_ns - row.published_ns
