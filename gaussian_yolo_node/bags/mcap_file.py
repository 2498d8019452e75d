"""MCAP files (mcap.dev/spec) with or without an index, and the readable part of damaged files."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from functools import partial
from io import SEEK_END, BytesIO, RawIOBase
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel as ChannelRecord
from mcap.records import Schema
from mcap.summary import Summary

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.blocks import Block, Entry, merged
from gaussian_yolo_node.bags.storage import SORTED, BackwardSteps, Channel, damage_note

MAGIC = b"\x89MCAP0\r\n"

_RECORD = struct.Struct("<BQ")  # opcode, length
_CHUNK = struct.Struct("<QQQI")  # first and last time, uncompressed size and checksum
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence number, log time, publish time
_LENGTH = struct.Struct("<Q")
# A larger chunk is read message by message and not sorted. Recorders write chunks of 0.8 to 4 MB.
_LARGE_CHUNK = 64 << 20
# Messages outside chunks are grouped into blocks of this size.
_LOOSE_BLOCK = 1 << 20

# Errors from reading damaged bytes. LZ4 raises RuntimeError; a damaged length may request any amount of memory.
_UNREADABLE = (
    McapError, ValueError, EOFError, struct.error, zstandard.ZstdError, RuntimeError, MemoryError, OverflowError
)  # fmt: skip


class _ChunkHead(NamedTuple):
    """Header fields of a chunk, and the position of its content in the file."""

    start_ns: int
    size: int
    checksum: int
    compression: str
    offset: int
    stored: int


class McapFile:
    """An open MCAP file; see `Storage`.

    Args:
        notes: receives one sentence per problem of the file.

    Raises:
        BagError: the file is not MCAP.
    """

    def __init__(self, path: Path, notes: list[str]) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._blocks: list[Block] = []
        self._noted: set[int] = set()  # chunks with a note on damage
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, ChannelRecord] = {}
        self._counts: Counter[int] = Counter()
        self._notes = notes
        self._backward = BackwardSteps(path.name, SORTED, notes)
        self.compression = ""
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise BagError(f"{path} is not an MCAP file: it does not begin as one")
            summary = _summary(file, self._size)
            if summary is None:
                self._scan(file)
            else:
                self._take(summary)
        self.channels = [self._channel(record) for record in self._channels.values()]

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        by_id = {channel.id: channel for channel in self.channels}
        for entry in merged(self._blocks, frozenset(ids)):
            yield by_id[entry.channel], entry.stamp_ns, entry.raw

    def close(self) -> None:
        """Does nothing: no file stays open between messages."""

    def _channel(self, record: ChannelRecord) -> Channel:
        schema = self._schemas.get(record.schema_id)
        encoding = schema.encoding if schema else ""
        kind = schema.name if schema else "unknown"
        parts = kind.split("/")
        return Channel(
            record.id,
            record.topic,
            # ROS 1 type names lack the "msg" part.
            f"{parts[0]}/msg/{parts[1]}" if encoding == "ros1msg" and len(parts) == 2 else kind,
            self._counts[record.id],
            record.message_encoding,
            schema.data.decode("utf-8", "replace") if schema else "",
            "msg" if encoding in ("ros2msg", "ros1msg") else "idl" if encoding in ("ros2idl", "omgidl") else "",
            record.metadata.get("offered_qos_profiles", ""),
        )

    def _take(self, summary: Summary) -> None:
        """Take blocks and channels from the index."""
        self._schemas, self._channels = summary.schemas, summary.channels
        statistics = summary.statistics
        assert statistics is not None
        self._counts.update(statistics.channel_message_counts)
        if statistics.message_count:
            self.start_ns, self.end_ns = statistics.message_start_time, statistics.message_end_time
        previous = None
        for index in sorted(summary.chunk_indexes, key=lambda index: index.chunk_start_offset):
            if previous is not None and 0 < index.message_end_time < previous.message_start_time:
                self._backward.see(previous.message_end_time, index.message_start_time)
            if index.message_end_time:  # 0 in a chunk without messages
                previous = index
            self.compression = index.compression or self.compression
            known = frozenset(index.message_index_offsets) or None
            read = partial(self._read_chunk_at, index.chunk_start_offset, index.uncompressed_size)
            self._blocks.append(Block(index.message_start_time, known, read))

    def _scan(self, file: IO[bytes]) -> None:
        """Read the file from the start to its end or the first damage."""
        file.seek(len(MAGIC))
        loose: list[tuple[int, int]] = []  # offset and length of messages outside chunks
        first_ns, held = 0, 0
        previous: dict[int, int] = {}
        damage = ""

        def close_loose() -> None:
            nonlocal loose, held
            if loose:
                self._blocks.append(Block(first_ns, None, partial(self._read_loose, loose)))
            loose, held = [], 0

        while True:
            start = file.tell()
            head = file.read(_RECORD.size)
            if not head or len(head) < _RECORD.size:
                damage = "it ends without the index that a recorder writes last"
                break
            opcode, length = _RECORD.unpack(head)
            if opcode == 0 or (opcode == Opcode.FOOTER and length != 20):
                damage = f"there is no record at byte {start}"
                break
            if opcode in (Opcode.FOOTER, Opcode.DATA_END):
                if not _has_end(file, self._size):
                    self._notes.append(f"the end of {self._path.name} is missing, but all of its messages are there")
                break
            complete = start + _RECORD.size + length <= self._size
            if opcode == Opcode.CHUNK:
                close_loose()
                try:
                    self._scan_chunk(file, start)
                except _UNREADABLE as error:
                    self._noted.add(start)
                    damage = damage or f"the chunk at byte {start} is damaged ({error})"
            elif not complete:
                pass
            elif opcode == Opcode.MESSAGE:
                channel, _, stamp_ns, _ = _MESSAGE.unpack(file.read(_MESSAGE.size))
                self._backward.see(previous.get(channel, 0), stamp_ns)
                previous[channel] = stamp_ns
                first_ns = min(first_ns, stamp_ns) if loose else stamp_ns
                loose.append((start + _RECORD.size, length))
                held += length
                self._count(channel, stamp_ns)
                if held > _LOOSE_BLOCK:
                    close_loose()
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                try:
                    self._define(opcode, file.read(length))
                except _UNREADABLE as error:
                    damage = damage or f"the record at byte {start} is damaged ({error})"
            if not complete:
                damage = f"it ends in the middle of a record that begins at byte {start}"
                break
            file.seek(start + _RECORD.size + length)
        close_loose()
        if damage:
            self._notes.append(damage_note(self._path, damage, sum(self._counts.values()), self.end_ns))

    def _scan_chunk(self, file: IO[bytes], start: int) -> None:
        """Register a chunk and its channels; of a truncated chunk, the part that exists."""
        head = _chunk_head(file, start)
        self.compression = head.compression or self.compression
        found: set[int] = set()
        first_ns = head.start_ns
        before = sum(self._counts.values())
        try:
            for opcode, body in _records(file, head):
                if opcode == Opcode.MESSAGE:
                    channel, _, stamp_ns, _ = _MESSAGE.unpack_from(body)
                    first_ns = min(first_ns, stamp_ns)
                    found.add(channel)
                    self._count(channel, stamp_ns)
                elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                    self._define(opcode, body)
        finally:
            if sum(self._counts.values()) > before:
                read = partial(self._read_chunk_at, start, head.size)
                self._blocks.append(Block(first_ns, frozenset(found), read))

    def _define(self, opcode: int, body: bytes) -> None:
        stream = ReadDataStream(BytesIO(body))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
        else:
            channel = ChannelRecord.read(stream)
            self._channels[channel.id] = channel

    def _count(self, channel: int, stamp_ns: int) -> None:
        self._counts[channel] += 1
        self.start_ns = stamp_ns if self.start_ns is None else min(self.start_ns, stamp_ns)
        self.end_ns = stamp_ns if self.end_ns is None else max(self.end_ns, stamp_ns)

    def _read_chunk_at(self, start: int, size: int, channels: frozenset[int]) -> Iterable[Entry]:
        """The messages of a chunk by time; of a damaged chunk, those before the damage."""
        with self._path.open("rb") as file:
            entries = self._entries(file, start, channels)
            if size > _LARGE_CHUNK:
                yield from entries
            else:
                yield from sorted(entries, key=lambda entry: entry.stamp_ns)

    def _entries(self, file: IO[bytes], start: int, channels: frozenset[int]) -> Iterator[Entry]:
        known = channels & self._channels.keys()
        previous: dict[int, int] = {}
        try:
            for opcode, body in _records(file, _chunk_head(file, start)):
                if opcode == Opcode.MESSAGE:
                    channel, _, stamp_ns, _ = _MESSAGE.unpack_from(body)
                    self._backward.see(previous.get(channel, 0), stamp_ns)
                    previous[channel] = stamp_ns
                    if channel in known:
                        yield Entry(channel, stamp_ns, body[_MESSAGE.size :])
        except _UNREADABLE as error:
            if start not in self._noted:
                self._noted.add(start)
                self._notes.append(
                    f"{self._path.name}: the chunk at byte {start} is damaged ({error}): messages are missing"
                )

    def _read_loose(self, places: list[tuple[int, int]], channels: frozenset[int]) -> Iterable[Entry]:
        with self._path.open("rb") as file:
            entries = []
            for offset, length in places:
                file.seek(offset)
                body = file.read(length)
                channel, _, stamp_ns, _ = _MESSAGE.unpack_from(body)
                if channel in channels and channel in self._channels:
                    entries.append(Entry(channel, stamp_ns, body[_MESSAGE.size :]))
        return sorted(entries, key=lambda entry: entry.stamp_ns)


class _Window(RawIOBase):
    """A section of a file as a file object."""

    def __init__(self, file: IO[bytes], offset: int, length: int) -> None:
        self._file = file
        self._left = length
        file.seek(offset)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = memoryview(buffer)[: self._left]
        count = self._file.readinto(part)  # type: ignore[attr-defined]
        self._left -= count
        return int(count)

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(data)
        return data


def _summary(file: IO[bytes], size: int) -> Summary | None:
    """The index at the end of a file; None if it is missing or incomplete."""
    try:
        file.seek(0)
        summary = SeekingReader(file, record_size_limit=size).get_summary()
    except (*_UNREADABLE, OSError, StopIteration):
        return None
    if summary is None or summary.statistics is None:
        return None
    statistics = summary.statistics
    # The index omits messages outside chunks, and channels without schemas have no type.
    indexed = bool(summary.chunk_indexes) or not statistics.message_count
    defined = all(record.schema_id in summary.schemas or not record.schema_id for record in summary.channels.values())
    counted = all(channel in summary.channels for channel in statistics.channel_message_counts)
    inside = all(index.chunk_start_offset + index.chunk_length <= size for index in summary.chunk_indexes)
    return summary if indexed and defined and counted and inside else None


def _has_end(file: IO[bytes], size: int) -> bool:
    file.seek(max(0, size - len(MAGIC)))
    return file.read() == MAGIC


def _chunk_head(file: IO[bytes], start: int) -> _ChunkHead:
    """The header of the chunk record at byte `start`. Raises one of `_UNREADABLE` if there is no chunk."""
    file.seek(start)
    opcode, length = _RECORD.unpack(file.read(_RECORD.size))
    first_ns, _, size, checksum = _CHUNK.unpack(file.read(_CHUNK.size))
    (characters,) = struct.unpack("<I", file.read(4))
    rest = length - _CHUNK.size - 4 - _LENGTH.size
    if opcode != Opcode.CHUNK or characters > rest:
        raise ValueError("it is no chunk")
    compression = file.read(characters).decode("ascii")
    (stored,) = _LENGTH.unpack(file.read(_LENGTH.size))
    if stored > rest - characters:
        raise ValueError("its lengths contradict each other")
    offset = file.tell()
    there = file.seek(0, SEEK_END) - offset
    return _ChunkHead(first_ns, size, checksum, compression, offset, min(stored, there))


def _records(file: IO[bytes], head: _ChunkHead) -> Iterator[tuple[int, bytes]]:
    """Opcodes and bodies of the records in a chunk. Raises one of `_UNREADABLE` after the last complete record."""
    window = _Window(file, head.offset, head.stored)
    content: Any
    if head.compression == "":
        content = window
    elif head.compression == "zstd":
        content = zstandard.ZstdDecompressor().stream_reader(cast(IO[bytes], window))
    elif head.compression == "lz4":
        content = lz4.frame.LZ4FrameFile(window, "rb")
    else:
        raise ValueError(f"it is compressed with {head.compression!r}, which is not known: zstd and lz4 are")
    checksum, left = 0, head.size

    def take(count: int) -> bytes:
        nonlocal checksum, left
        if count > left:
            raise ValueError("a record in it is longer than the chunk")
        data = content.read(count)
        if len(data) < count:
            raise ValueError("it is cut short")
        left -= count
        if head.checksum:
            checksum = zlib.crc32(data, checksum)
        return bytes(data)

    while left:
        opcode, length = _RECORD.unpack(take(_RECORD.size))
        yield opcode, take(length)
    if checksum != head.checksum:
        raise ValueError("its checksum does not fit")
