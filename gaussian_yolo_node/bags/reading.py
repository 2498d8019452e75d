"""Read any bag, complete or damaged, as one stream of messages."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, IMAGE, BagError
from gaussian_yolo_node.bags.files import ZSTD_MAGIC, open_files
from gaussian_yolo_node.bags.limits import unpacked_zstd
from gaussian_yolo_node.bags.storage import IN_FILE_ORDER, BackwardSteps, Channel, Storage, shown_time
from gaussian_yolo_node.bags.typestore import MessageTypes, message_types

__all__ = ["BagError", "BagReader", "Message", "Topic"]


@dataclass(frozen=True)
class Topic:
    """A topic of a bag.

    Attributes:
        type: such as "sensor_msgs/msg/Image".
        qos: the publishers' offered QoS profiles as recorded, YAML; empty if not recorded.
        decodable: whether the type is known, from the bag or from ROS 2.
    """

    name: str
    type: str
    count: int
    qos: str = ""
    decodable: bool = True


@dataclass(frozen=True, eq=False)
class Message:
    """A message of a bag.

    Attributes:
        stamp_ns: recording time, ns.
        raw: serialised as in ROS 2 (CDR), also for ROS 1 bags.
    """

    topic: str
    type: str
    stamp_ns: int
    raw: bytes
    types: MessageTypes = field(repr=False)

    def decode(self) -> Any:
        """The message as an object with the type's fields; numeric arrays become numpy arrays. BagError if the type is
        unknown, or the bytes are not a message of that type."""
        try:
            return self.types.decode(self.raw, self.type)
        except BagError as error:
            raise BagError(f"topic {self.topic}, at {shown_time(self.stamp_ns)}: {error}") from error


class BagReader:
    """An open bag: a ROS 2 folder with or without metadata, a single .mcap or .db3 file, or a ROS 1 .bag file.

    Damaged bags are read as far as possible.

    Attributes:
        topics: by name, including topics without messages.
        notes: problems of the bag, one sentence each. Some are detected only while messages are read.
        files: the files of the bag, in the order of their messages.
        storage: the storage format: "mcap", "sqlite3" or "ros1".
        start_ns: recording time of the first message, ns; None for a bag without messages.

    Raises:
        BagError: there is no bag, or no part of it can be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        self._compression = ""  # of messages
        with contextlib.ExitStack() as resources:
            self._storages = open_files(path, self.notes, resources)
            storages = self._storages.values()
            channels = [channel for storage in storages for channel in storage.channels]
            try:
                self.types = message_types(tuple(channels))
            except BagError as error:
                raise BagError(f"{path}: {error}") from error
            self.topics = self._summed_up(channels)
            self._resources = resources.pop_all()
        self.files = tuple(self._storages)
        *_, self.storage = (storage.kind for storage in storages)
        self.start_ns = min((storage.start_ns for storage in storages if storage.start_ns is not None), default=None)
        self.end_ns = max((storage.end_ns for storage in storages if storage.end_ns is not None), default=None)

    @property
    def compression(self) -> str:
        """Compression of messages, chunks or files; empty if there is none, or none was encountered yet."""
        if any(storage.path != file for file, storage in self._storages.items()):
            return "zstd files"
        return next(
            (storage.compression for storage in self._storages.values() if storage.compression), self._compression
        )

    def messages(self, topics: Collection[str] | None = None) -> Iterator[Message]:
        """The messages of some or all topics by recording time, one file after the other.

        Memory use is limited to about one chunk of the file. Unreadable parts are added to `notes`.

        Raises:
            BagError: the bag does not have one of the topics.
        """
        absent = [] if topics is None else sorted(set(topics) - self.topics.keys())
        if absent:
            raise BagError(f"{self.path} has no topic {absent[0]}: it has {_listed(self.topics)}")
        backward = BackwardSteps(self.path.name, IN_FILE_ORDER, self.notes)
        previous: dict[str, int] = {}
        for storage in self._storages.values():
            for message in self._messages_of(storage, topics):
                # Messages are sorted within a file, so a backward step can only occur between files.
                backward.see(previous.get(message.topic, 0), message.stamp_ns)
                previous[message.topic] = message.stamp_ns
                yield message

    def image_topics(self) -> list[str]:
        """Names of the raw and compressed image topics that have messages."""
        kinds = (IMAGE, COMPRESSED_IMAGE)
        return [topic.name for topic in self.topics.values() if topic.type in kinds and topic.count]

    def the_image_topic(self, wanted: str | None) -> str:
        """The topic to read images from: the wanted one, else the only image topic. BagError if the topic has no
        images, or there are several image topics; the message lists them."""
        images = self.image_topics()
        there = f"images are on {', '.join(images)}" if images else f"it has {_listed(self.topics)}"
        if not self.topics and self.notes:
            there = self.notes[0]
        if wanted is not None:
            if wanted not in images:
                raise BagError(f"{self.path} has no images on {wanted}: {there}")
            images = [wanted]
        if not images:
            raise BagError(f"{self.path} has no images: {there}")
        if len(images) > 1:
            raise BagError(f"{self.path} has {len(images)} topics of images: choose one of {', '.join(images)}")
        topic = self.topics[images[0]]
        if not topic.decodable:
            raise BagError(f"{self.path}: the images on {topic.name} cannot be read: type {topic.type} is not ROS's")
        return topic.name

    def close(self) -> None:
        """Close the files."""
        self._resources.close()

    def __enter__(self) -> BagReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _messages_of(self, storage: Storage, topics: Collection[str] | None) -> Iterator[Message]:
        ids = [channel.id for channel in storage.channels if topics is None or channel.topic in topics]
        for channel, stamp_ns, stored in storage.messages(ids):
            try:
                raw = self._unpacked(stored)
                if channel.encoding == "ros1":
                    raw = self.types.from_ros1(raw, channel.type)
            except BagError as error:
                note = f"topic {channel.topic}: messages are left out: {error}"
                if note not in self.notes:
                    self.notes.append(note)
                continue
            yield Message(channel.topic, channel.type, stamp_ns, raw, self.types)

    def _unpacked(self, raw: bytes) -> bytes:
        """The serialised message, decompressed if the recorder compressed it."""
        # No serialised message starts with these bytes, so the metadata are not needed.
        if raw[:4] != ZSTD_MAGIC:
            return raw
        self._compression = "zstd messages"
        try:
            return unpacked_zstd(raw)
        except (zstandard.ZstdError, ValueError) as error:
            raise BagError(f"a compressed message is damaged ({error})") from error

    def _summed_up(self, channels: Collection[Channel]) -> dict[str, Topic]:
        topics: dict[str, Topic] = {}
        for channel in channels:
            before = topics.get(channel.topic)
            decodable = channel.encoding in ("cdr", "ros1") and self.types.knows(channel.type)
            count = channel.count + (before.count if before else 0)
            topics[channel.topic] = Topic(channel.topic, channel.type, count, channel.qos, decodable)
        for topic in topics.values():
            if not topic.decodable:
                why = self.types.why_unknown(topic.type) or "is in an unknown serialisation"
                self.notes.append(f"type {topic.type} {why}: topic {topic.name} is left out")
        return dict(sorted(topics.items()))


def _listed(topics: Collection[str]) -> str:
    return f"topics {', '.join(topics)}" if topics else "no topics"
