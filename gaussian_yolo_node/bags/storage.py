"""What every kind of bag file gives."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
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
        notes: what is wrong with the file, a sentence each; may grow while messages are read.
        compression: of its content, such as "zstd"; empty for none.
    """

    channels: list[Channel]
    start_ns: int | None
    end_ns: int | None
    notes: list[str]
    compression: str

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        """Channel, time in ns, and bytes of the messages of some channels, in the order of their times."""
        ...

    def close(self) -> None: ...


def shown_time(ns: int) -> str:
    """A bag's time in words: date and time in UTC, or seconds where it counts from a start of its own."""
    if ns < 1_000_000_000_000_000_000:  # before 2001, when no bag was recorded
        return f"{ns / 1e9:.3f} s"
    epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)
    return f"{epoch + timedelta(microseconds=ns // 1000):%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"
