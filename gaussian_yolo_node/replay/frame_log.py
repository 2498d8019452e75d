"""The outcome of every frame of a replay, and the assignment of answers to frames."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gaussian_yolo_node.file_names import numbered
from gaussian_yolo_node.replay.run_folder import ReplayCounters, ReplayedFrame


class FrameName(NamedTuple):
    """What a bag says about the frame with one stamp, besides the picture; small, because a long bag has many."""

    name: str
    width: int
    height: int


@dataclass(slots=True)  # a long bag has many
class Row:
    """One frame: times are monotonic ns, the size is in px."""

    stamp_ns: int
    bag_ns: int
    width: int
    height: int
    published_ns: int
    answered_ns: int | None
    boxes: int
    failure: str


class FrameLog:
    """Frames in the order of publication.

    Answers are identified by their stamps, which are the images' stamps. The node processes frames in order and never
    goes back, so an answer means that earlier unanswered frames were dropped.

    Attributes:
        answered: frames with an answer.
        failed: frames that are known to have failed.
        late: answers that arrived after their frame had been given up.
        zero, repeated, backwards: stamps that are 0, equal to an earlier frame's, or smaller than the previous frame's.
    """

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self._pending: deque[int] = deque()
        self._owed: Counter[int] = Counter()
        self._stamps: set[int] = set()
        self.answered = self.failed = self.late = 0
        self.zero = self.repeated = self.backwards = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def __getitem__(self, index: int) -> Row:
        return self._rows[index]

    @property
    def waiting(self) -> bool:
        """Whether the latest frame is neither answered nor failed."""
        return bool(self._pending) and self._pending[-1] == len(self._rows) - 1

    @property
    def in_flight(self) -> int:
        """Frames that may still be answered."""
        return len(self._pending)

    def published(self, stamp_ns: int, bag_ns: int, size: tuple[int, int], now_ns: int) -> int:
        """Add a frame with `size` (width, height), and return its index."""
        self.zero += stamp_ns == 0
        self.repeated += stamp_ns in self._stamps
        self.backwards += bool(self._rows) and stamp_ns < self._rows[-1].stamp_ns
        self._stamps.add(stamp_ns)
        self._rows.append(Row(stamp_ns, bag_ns, *size, now_ns, None, 0, ""))
        self._pending.append(len(self._rows) - 1)
        return len(self._rows) - 1

    def take_answer(self, stamp_ns: int, now_ns: int, boxes: int) -> Row | None:
        """The frame that an answer belongs to, marked as answered; None if the log no longer expects the answer."""
        if self._owed[stamp_ns] > 0:
            self._owed[stamp_ns] -= 1
            self.late += 1
            return None
        index = next((index for index in self._pending if self._rows[index].stamp_ns == stamp_ns), None)
        if index is None:
            self.late += 1
            return None
        while self._pending[0] != index:
            self._pending.popleft()
        self._pending.popleft()
        row = self._rows[index]
        row.answered_ns, row.boxes = now_ns, boxes
        self.answered += 1
        return row

    def fail(self, index: int, words: str, *, answer_owed: bool = False) -> None:
        """Mark a waiting frame as failed.

        Args:
            answer_owed: its answer may still arrive, and must not be assigned to a later frame with the same stamp.
        """
        self._rows[index].failure = words
        self._pending.remove(index)
        self.failed += 1
        if answer_owed:
            self._owed[self._rows[index].stamp_ns] += 1

    def forgive(self) -> bool:
        """Stop expecting the answer of one given-up frame, now known to have failed. False if there is none."""
        stamp = next((stamp for stamp, count in self._owed.items() if count), None)
        if stamp is None:
            return False
        self._owed[stamp] -= 1
        return True

    def expect_no_late_answers(self) -> None:
        """Stop expecting late answers: the node is idle."""
        self._owed.clear()

    def fail_unanswered(self, count: int, words: str) -> int:
        """Count `count` failures that the node reported without naming the frames.

        If all unanswered frames failed, they are marked as failed.

        Returns:
            Number of failures that could not be assigned to a frame.
        """
        open_rows = [row for row in self._rows if row.answered_ns is None and not row.failure]
        self.failed += min(count, len(open_rows))
        if count < len(open_rows):
            return count
        for row in open_rows:
            row.failure = words
        return 0

    def counters(self) -> ReplayCounters:
        """Totals; every frame that is neither answered nor failed counts as dropped."""
        played = len(self._rows)
        return ReplayCounters(played, self.answered, played - self.answered - self.failed, self.failed)

    def named(self, known: Mapping[int, FrameName], start_ns: int) -> Iterator[ReplayedFrame]:
        """All frames with unique names: of frames with the same name, the later ones are numbered.

        Args:
            known: what the bag says about frames, by stamp in ns.
            start_ns: the run's start, monotonic.
        """
        seen: Counter[str] = Counter()
        for row in self._rows:
            info = known.get(row.stamp_ns)
            name = info.name if info else str(row.stamp_ns)
            seen[name] += 1
            yield ReplayedFrame(
                name=name if seen[name] == 1 else numbered(name, seen[name]),
                stamp_ns=row.stamp_ns,
                width=row.width or (info.width if info else 0),
                height=row.height or (info.height if info else 0),
                published_s=_seconds(row.published_ns - start_ns),
                answered_s=None if row.answered_ns is None else _seconds(row.answered_ns - start_ns),
                detections=row.boxes,
                failure=row.failure,
            )


def _seconds(ns: int) -> float:
    return round(ns / 1e9, 6)
