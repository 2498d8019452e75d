"""Contents of a bag: topics, types, rates, gaps, stamps."""

from __future__ import annotations

import statistics
import struct
from array import array
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, IMAGE, BagError
from gaussian_yolo_node.bags.image_header import picture_size
from gaussian_yolo_node.bags.reading import BagReader, Message, Topic

# Bytes of a JPEG or PNG to search for its size.
_PICTURE_HEAD = 1 << 16


@dataclass(frozen=True)
class TopicInfo:
    """Contents of a topic.

    Attributes:
        count: number of readable messages.
        rate_hz: 1 / median time between messages; None for fewer than two messages.
        largest_gap_s: longest time between two messages, which begins at `largest_gap_at_ns`; None for fewer than two
            messages.
        delay_s: median of recording time minus header stamp; None for types without a header.
        backward: number of header stamps earlier than the preceding one.
        sizes: number of images per kind, such as "1242x375 bgr8"; empty for other types.
        qos: the publishers' offered QoS profiles as recorded, YAML.
    """

    name: str
    type: str
    count: int
    rate_hz: float | None
    largest_gap_s: float | None
    largest_gap_at_ns: int | None
    delay_s: float | None
    backward: int
    sizes: dict[str, int]
    decodable: bool
    qos: str


@dataclass(frozen=True)
class BagInfo:
    """Contents of a bag.

    Attributes:
        storage: "mcap", "sqlite3" or "ros1".
        files: names, in the order of their messages.
        size: total size of the files, bytes.
        messages: number of readable messages.
        start_ns, end_ns: recording times of the first and the last message; None for a bag without messages.
        notes: problems of the bag, one sentence each.
    """

    path: str
    storage: str
    compression: str
    files: tuple[str, ...]
    size: int
    messages: int
    start_ns: int | None
    end_ns: int | None
    topics: tuple[TopicInfo, ...]
    notes: tuple[str, ...]

    @property
    def duration_s(self) -> float:
        """Time from the first message to the last."""
        return 0.0 if self.start_ns is None or self.end_ns is None else (self.end_ns - self.start_ns) / 1e9

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {**asdict(self), "duration_s": self.duration_s}


def read_info(path: Path, on_message: Callable[[int, int], None] = lambda done, total: None) -> BagInfo:
    """Read all messages of a bag, which may be damaged.

    Args:
        on_message: called after each message with the number of messages read and their total.

    Raises:
        BagError: there is no bag, or no part of it can be read.
    """
    with BagReader(path) as reader:
        tallies = {name: _Tally() for name in reader.topics}
        total = sum(topic.count for topic in reader.topics.values())
        done = 0
        for message in reader.messages():
            tallies[message.topic].add(message, headed=reader.types.has_header(message.type))
            done += 1
            on_message(done, total)
        if not done and reader.notes:
            raise BagError(f"{path}: no message can be read: {reader.notes[0]}")
        topics = tuple(tally.info(reader.topics[name]) for name, tally in tallies.items())
        notes = list(reader.notes)
        for of in filter(lambda topic: topic.backward, topics):
            counts = f"{of.backward} of {of.count}"
            notes.append(f"topic {of.name}: {counts} header stamps are before the one in front of them")
        for of in filter(lambda topic: len(topic.sizes) > 1, topics):
            notes.append(f"topic {of.name}: images of {len(of.sizes)} kinds: {', '.join(of.sizes)}")
        return BagInfo(
            str(path),
            reader.storage,
            reader.compression,
            tuple(file.name for file in reader.files),
            sum(file.stat().st_size for file in reader.files),
            done,
            reader.start_ns,
            reader.end_ns,
            topics,
            tuple(notes),
        )


@dataclass
class _Tally:
    """Statistics of the messages of one topic."""

    times: array[int] = field(default_factory=lambda: array("q"))
    delays: array[int] = field(default_factory=lambda: array("q"))
    sizes: Counter[str] = field(default_factory=Counter)
    backward: int = 0
    latest_stamp: int | None = None

    def add(self, message: Message, *, headed: bool) -> None:
        self.times.append(message.stamp_ns)
        if headed and len(message.raw) >= 12:
            stamp_ns = header_stamp(message.raw)
            self.delays.append(message.stamp_ns - stamp_ns)
            self.backward += self.latest_stamp is not None and stamp_ns < self.latest_stamp
            self.latest_stamp = stamp_ns
        if message.type in (IMAGE, COMPRESSED_IMAGE):
            self.sizes[_kind_of_image(message)] += 1

    def info(self, topic: Topic) -> TopicInfo:
        gaps = [after - before for before, after in pairwise(self.times)]
        middle = statistics.median(gaps) if gaps else 0
        largest = max(range(len(gaps)), key=gaps.__getitem__, default=None)
        return TopicInfo(
            topic.name,
            topic.type,
            len(self.times),
            1e9 / middle if middle > 0 else None,
            None if largest is None else gaps[largest] / 1e9,
            None if largest is None else self.times[largest],
            statistics.median(self.delays) / 1e9 if self.delays else None,
            self.backward,
            dict(self.sizes.most_common()),
            topic.decodable,
            topic.qos,
        )


def header_stamp(raw: bytes) -> int:
    """The stamp in ns of a serialised message that begins with a std_msgs/Header."""
    # The second byte gives the byte order of the rest (OMG, DDS-XTypes, 7.6.2.1.2).
    seconds, nanoseconds = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _kind_of_image(message: Message) -> str:
    try:
        image = message.decode()
    except BagError:
        return "unreadable"
    if message.type == IMAGE:
        return f"{image.width}x{image.height} {image.encoding}"
    size = picture_size(bytes(image.data[:_PICTURE_HEAD]), by_exif=False)
    return f"{size[1]}x{size[0]} {image.format}" if size else str(image.format)
