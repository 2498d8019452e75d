"""ROS 1 bags, format 2.0 (wiki.ros.org/Bags/Format/2.0), including unindexed and truncated bags."""

from __future__ import annotations

import bz2
import struct
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

import lz4.frame  # type: ignore[import-untyped]

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.blocks import Block, Entry, merged
from gaussian_yolo_node.bags.storage import SORTED, BackwardSteps, Channel, damage_note

MAGIC = b"#ROSBAG V"

_MESSAGE, _BAG, _INDEX, _CHUNK, _CONNECTION = 2, 3, 4, 5, 7
_U32 = struct.Struct("<I")
_TIME = struct.Struct("<II")  # s, ns
# Errors from reading damaged bytes; LZ4 raises RuntimeError.
_UNREADABLE = (ValueError, EOFError, OSError, KeyError, IndexError, struct.error, RuntimeError)
_DECOMPRESSORS: Mapping[bytes, Callable[[bytes], bytes]] = {
    b"none": bytes,
    b"bz2": bz2.decompress,
    b"lz4": lz4.frame.decompress,
}


@dataclass
class _Chunk:
    """A chunk, with the data of the index records that follow it."""

    offset: int
    counts: Counter[int] = field(default_factory=Counter)
    first_ns: int | None = None
    last_ns: int | None = None

    def add(self, connection: int, stamp_ns: int) -> None:
        self.counts[connection] += 1
        self.first_ns = stamp_ns if self.first_ns is None else min(self.first_ns, stamp_ns)
        self.last_ns = stamp_ns if self.last_ns is None else max(self.last_ns, stamp_ns)


class Ros1File:
    """An open .bag file; see `Storage`. Messages are in the serialisation of ROS 1.

    Args:
        notes: receives one sentence per problem of the file.

    Raises:
        BagError: the file is not a readable bag.
    """

    def __init__(self, path: Path, notes: list[str]) -> None:
        self._path = path
        self._size = path.stat().st_size
        self._blocks: list[Block] = []
        self._noted: set[int] = set()  # chunks with a note on damage
        self._connections: dict[int, Channel] = {}
        self._counts: Counter[int] = Counter()
        self._previous = 0, 0  # times of the preceding chunk
        self._notes = notes
        self._backward = BackwardSteps(path.name, SORTED, notes)
        self.compression = ""
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        with path.open("rb") as file:
            version = file.readline(32).strip()
            if version != MAGIC + b"2.0":
                raise BagError(f"{path} is a ROS 1 bag of another version than 2.0: convert it with `rosbag fix`")
            self._scan(file)
        self.channels = [replace(known, count=self._counts[known.id]) for known in self._connections.values()]

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        by_id = {channel.id: channel for channel in self.channels}
        for entry in merged(self._blocks, frozenset(ids) & by_id.keys()):
            yield by_id[entry.channel], entry.stamp_ns, entry.raw

    def close(self) -> None:
        """Does nothing: no file stays open between messages."""

    def _scan(self, file: IO[bytes]) -> None:
        """Read all records; the content of a chunk only if its index is missing."""
        damage = ""
        indexed = False
        chunk: _Chunk | None = None
        try:
            header, length = _record(file)
            if header.get(b"encryptor"):
                raise BagError(f"{self._path} is encrypted ({header[b'encryptor'].decode()}): decrypt it with rosbag")
            (index,) = struct.unpack("<Q", header[b"index_pos"])
            indexed = 0 < index < self._size
            file.seek(length, 1)
            while file.tell() < self._size:
                start = file.tell()
                header, length = _record(file)
                operation, body = header[b"op"][0], file.tell()
                if operation == _INDEX and chunk is not None:
                    _take_index(chunk, header, file.read(length))
                elif operation in (_CHUNK, _CONNECTION):
                    if chunk is not None:
                        self._enter(file, chunk, look_inside=not indexed)
                        chunk = None
                    file.seek(body)
                    if operation == _CONNECTION:
                        self._connect(header, file.read(length))
                    else:
                        kind = header[b"compression"].decode()
                        self.compression = "" if kind == "none" else kind
                        chunk = _Chunk(start)
                        if not length and not indexed:
                            break  # its length was never filled in; it extends to the end of the file
                file.seek(body + length)
            if not indexed:
                damage = "it ends without the index that a recorder writes last"
        except _UNREADABLE as error:
            damage = str(error)
        if chunk is not None:
            try:
                self._enter(file, chunk, look_inside=True)
            except _UNREADABLE as error:
                self._noted.add(chunk.offset)
                damage = damage or str(error)
        if damage:
            self._notes.append(damage_note(self._path, damage, sum(self._counts.values()), self.end_ns))

    def _enter(self, file: IO[bytes], chunk: _Chunk, *, look_inside: bool) -> None:
        """Register a readable chunk. If the file has no index, connections are defined only inside chunks."""
        try:
            if look_inside or not chunk.counts:
                self._look_inside(file, chunk)
        finally:
            if chunk.first_ns is not None and chunk.last_ns is not None:
                self._add(chunk, chunk.first_ns, chunk.last_ns)

    def _look_inside(self, file: IO[bytes], chunk: _Chunk) -> None:
        chunk.counts.clear()
        for header, data in _inside(file, chunk.offset):
            if header[b"op"][0] == _CONNECTION:
                self._connect(header, data)
            elif header[b"op"][0] == _MESSAGE:
                chunk.add(_number(header[b"conn"]), _nanoseconds(header[b"time"]))

    def _add(self, chunk: _Chunk, first_ns: int, last_ns: int) -> None:
        if last_ns < self._previous[0]:
            self._backward.see(self._previous[1], first_ns)
        self._previous = first_ns, last_ns
        self._counts.update(chunk.counts)
        self.start_ns = first_ns if self.start_ns is None else min(self.start_ns, first_ns)
        self.end_ns = last_ns if self.end_ns is None else max(self.end_ns, last_ns)
        self._blocks.append(Block(first_ns, frozenset(chunk.counts), partial(self._read_chunk, chunk.offset)))

    def _connect(self, header: Mapping[bytes, bytes], data: bytes) -> None:
        number = _number(header[b"conn"])
        fields = _fields(data)
        package, _, name = fields[b"type"].decode().partition("/")
        self._connections[number] = Channel(
            number,
            # Older recorders allowed names without a leading slash.
            "/" + header[b"topic"].decode().strip("/"),
            f"{package}/msg/{name}",
            0,
            "ros1",
            fields[b"message_definition"].decode("utf-8", "replace"),
            "msg",
        )

    def _read_chunk(self, offset: int, connections: frozenset[int]) -> list[Entry]:
        entries = []
        previous: dict[int, int] = {}
        try:
            with self._path.open("rb") as file:
                for header, data in _inside(file, offset):
                    if header[b"op"][0] != _MESSAGE:
                        continue
                    connection, stamp_ns = _number(header[b"conn"]), _nanoseconds(header[b"time"])
                    self._backward.see(previous.get(connection, 0), stamp_ns)
                    previous[connection] = stamp_ns
                    if connection in connections:
                        entries.append(Entry(connection, stamp_ns, data))
        except _UNREADABLE as error:
            if offset not in self._noted:
                self._noted.add(offset)
                self._notes.append(
                    f"{self._path.name}: the chunk at byte {offset} is damaged ({error}): messages are missing"
                )
        return sorted(entries, key=lambda entry: entry.stamp_ns)


def _take_index(chunk: _Chunk, header: Mapping[bytes, bytes], data: bytes) -> None:
    """Add the message times of one connection."""
    connection = _number(header[b"conn"])
    if len(data) % 12 or len(data) // 12 != _number(header[b"count"]):
        raise ValueError(f"the index of the chunk at byte {chunk.offset} is cut short")
    for seconds, nanoseconds, _offset in struct.iter_unpack("<III", data):
        chunk.add(connection, seconds * 1_000_000_000 + nanoseconds)


def _record(file: IO[bytes]) -> tuple[dict[bytes, bytes], int]:
    """The header of the record at the file's position, and the length of its data; leaves the file at the data."""
    start = file.tell()
    length = _number(file.read(4))
    header = file.read(length)
    if len(header) < length or b"op=" not in header:
        raise ValueError(f"there is no record at byte {start}")
    return _fields(header), _number(file.read(4))


def _inside(file: IO[bytes], offset: int) -> Iterator[tuple[dict[bytes, bytes], bytes]]:
    """Headers and data of the records in the chunk at `offset`; a truncated chunk must be uncompressed."""
    file.seek(offset)
    header, length = _record(file)
    data = file.read(length or -1)
    compression = header[b"compression"]
    if compression not in _DECOMPRESSORS:
        raise ValueError(f"it is compressed with {compression.decode()}, which is not known")
    if len(data) < length and compression != b"none":
        raise ValueError("it ends in the middle of a compressed chunk")
    content = memoryview(_DECOMPRESSORS[compression](data))
    at = 0
    while at < len(content):
        header_end = at + 4 + _number(content[at : at + 4])
        start = header_end + 4
        end = start + _number(content[header_end:start])
        if end > len(content):
            raise ValueError("it ends in the middle of a message")
        yield _fields(bytes(content[at + 4 : header_end])), bytes(content[start:end])
        at = end


def _fields(data: bytes) -> dict[bytes, bytes]:
    """The `name=value` fields of a header."""
    fields, at = {}, 0
    while at < len(data):
        end = at + 4 + _number(data[at : at + 4])
        name, sign, value = data[at + 4 : end].partition(b"=")
        if not sign or end > len(data):
            raise ValueError("a header is not of fields and their values")
        fields[name] = value
        at = end
    return fields


def _number(data: bytes | memoryview) -> int:
    return int(_U32.unpack(data)[0])


def _nanoseconds(data: bytes) -> int:
    seconds, nanoseconds = _TIME.unpack(data)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)
