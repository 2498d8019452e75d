"""The common interface of all bag file formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import ClassVar


@dataclass(frozen=True)
class Channel:
    """Messages of one topic and type in one file.

    Attributes:
        id: unique in the file.
        type: such as "sensor_msgs/msg/Image".
        encoding: of the messages: "cdr" for ROS 2, "ros1" for ROS 1.
        definition: of the type; empty if the file has none.
        definition_format: such as "ros2msg", "ros1msg" or "ros2idl".
        qos: the publishers' offered QoS profiles as recorded, YAML; empty if not recorded.
    """

    id: int
    topic: str
    type: str
    count: int
    encoding: str = "cdr"
    definition: str = ""
    definition_format: str = ""
    qos: str = ""


class Storage(ABC):
    """An open bag file.

    Args:
        notes: receives one sentence per problem of the file.

    Attributes:
        kind: "mcap", "sqlite3" or "ros1".
        channels: with their message counts.
        compression: of its content, such as "zstd"; empty for none.

    Raises:
        BagError: the file is not a bag of this kind.
    """

    kind: ClassVar[str]

    def __init__(self, path: Path, notes: list[str]) -> None:
        self.path = path
        self.size = path.stat().st_size
        self.notes = notes
        self.channels: list[Channel] = []
        self.compression = ""
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._resources = ExitStack()
        self._backward = BackwardSteps(path.name, SORTED, notes)

    @abstractmethod
    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        """Channel, time in ns and serialised bytes of the messages of the given channels, by time."""

    def close(self) -> None:
        """Close the file."""
        self._resources.close()

    def _extend(self, start_ns: int, end_ns: int) -> None:
        """Extend the time from the first message to the last."""
        self.start_ns = start_ns if self.start_ns is None else min(self.start_ns, start_ns)
        self.end_ns = end_ns if self.end_ns is None else max(self.end_ns, end_ns)

    def _note_damage(self, damage: str, count: int) -> None:
        """Add the note for a file of which only `count` messages can be read."""
        until = f" until {shown_time(self.end_ns)}" if self.end_ns is not None else ""
        self.notes.append(
            f"{self.path.name} is cut short or damaged (a recorder that was killed, or an incomplete copy): {damage}; "
            f"{count} messages{until} can be read, what came after them is missing"
        )


def shown_time(ns: int) -> str:
    """A bag's time for display: date and time in UTC, or seconds if the clock did not start at the epoch."""
    if ns < 1_000_000_000_000_000_000:  # before 2001, so not a real recording time
        return f"{ns / 1e9:.3f} s"
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return f"{epoch + timedelta(microseconds=ns // 1000):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


SORTED = "messages are taken in the order of their times"
IN_FILE_ORDER = "its files are read one after the other"


class BackwardSteps:
    """Counts messages with an earlier time than the preceding message of their topic.

    Compares per topic, because topics may have been written one after the other.

    Args:
        name: of the file or bag.
        consequence: the order in which messages are read.
        notes: contains one sentence about the steps, kept up to date.
    """

    # Threads of one recorder may differ by this much.
    _LEAST_NS = 100_000_000
    # Beyond this count, the file is considered unordered.
    _MOST = 10_000

    def __init__(self, name: str, consequence: str, notes: list[str]) -> None:
        self._name = name
        self._consequence = consequence
        self._notes = notes
        self._sizes: dict[int, int] = {}
        self._said = ""

    def see(self, before_ns: int, after_ns: int) -> None:
        """Compare the times of two consecutive messages."""
        back = before_ns - after_ns
        if back < self._LEAST_NS or after_ns in self._sizes or len(self._sizes) >= self._MOST:
            return
        self._sizes[after_ns] = back
        if self._said in self._notes:
            self._notes.remove(self._said)
        first, times = next(iter(self._sizes)), len(self._sizes)
        self._said = (
            f"{self._name}: time runs backwards {'once' if times == 1 else f'{times} times'}, first to "
            f"{shown_time(first)}, by up to {max(self._sizes.values()) / 1e9:.1f} s: {self._consequence}"
        )
        self._notes.append(self._said)
