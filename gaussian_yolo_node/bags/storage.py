"""What every kind of bag file gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True)
class Channel:
    """Messages of one topic and type in one file.

    Attributes:
        id: in the file.
        type: such as "sensor_msgs/msg/Image".
        encoding: of the messages; "cdr" is ROS 2's, "ros1" ROS 1's.
        definition: of the type, empty if the file has none.
        qos: what the recorder noted of the publishers' offers, YAML; empty if it did not.
    """

    id: int
    topic: str
    type: str
    count: int
    encoding: str = "cdr"
    definition: str = ""
    definition_format: Literal["msg", "idl", ""] = ""
    qos: str = ""


class Storage(Protocol):
    """An open bag file.

    Attributes:
        channels: with the number of their messages.
        start_ns: time of the first message; None if there is none.
        end_ns: of the last.
        compression: of its content, such as "zstd"; empty for none.
    """

    channels: list[Channel]
    start_ns: int | None
    end_ns: int | None
    compression: str

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        """Channel, time in ns, and bytes of the messages of some channels, in the order of their times."""
        ...

    def close(self) -> None: ...


def damage_note(path: Path, damage: str, count: int, end_ns: int | None) -> str:
    """What to say of a file of which only the first `count` messages, until `end_ns`, can be read."""
    until = f" until {shown_time(end_ns)}" if end_ns is not None else ""
    return (
        f"{path.name} is cut short or damaged (a recorder that was killed, or an incomplete copy): {damage}; "
        f"{count} messages{until} can be read, what came after them is missing"
    )


def shown_time(ns: int) -> str:
    """A bag's time in words: date and time in UTC, or seconds where it counts from a start of its own."""
    if ns < 1_000_000_000_000_000_000:  # before 2001, when no bag was recorded
        return f"{ns / 1e9:.3f} s"
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return f"{epoch + timedelta(microseconds=ns // 1000):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"


SORTED = "messages are taken in the order of their times"
IN_FILE_ORDER = "its files are read one after the other"


class BackwardSteps:
    """Places where the time of one message is before that of the message in front of it, on its topic.

    Topics may have been written one after the other.

    Args:
        name: of the file or bag.
        consequence: the order that messages are taken in.
        notes: what to say of them is kept there, in one sentence.
    """

    # Threads of one recorder may be that much apart.
    _LEAST_NS = 100_000_000
    # Who counts more has a file in which nothing is in order.
    _MOST = 10_000

    def __init__(self, name: str, consequence: str, notes: list[str]) -> None:
        self._name = name
        self._consequence = consequence
        self._notes = notes
        self._sizes: dict[int, int] = {}
        self._said = ""

    def see(self, before_ns: int, after_ns: int) -> None:
        """Enter the times of two neighbours in the file."""
        back = before_ns - after_ns
        if back >= self._LEAST_NS and after_ns not in self._sizes and len(self._sizes) < self._MOST:
            self._sizes[after_ns] = back
            if self._said in self._notes:
                self._notes.remove(self._said)
            self._said = self._sentence()
            self._notes.append(self._said)

    def _sentence(self) -> str:
        first = next(iter(self._sizes))
        times = "once" if len(self._sizes) == 1 else f"{len(self._sizes)} times"
        return (
            f"{self._name}: time runs backwards {times}, first to {shown_time(first)}, by up to "
            f"{max(self._sizes.values()) / 1e9:.1f} s: {self._consequence}"
        )
