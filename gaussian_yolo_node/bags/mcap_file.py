"""MCAP files (mcap.dev/spec) with or without an index, and the readable part of damaged files.

The package mcap reads the index and the definitions. Its iterators over messages are not used: they end at the first
damaged chunk, and hold chunks of any size in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BufferedReader, BytesIO
from typing import IO

import lz4.frame  # type: ignore[import-untyped]
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import EndOfFile
from mcap.opcode import Opcode
from mcap.reader import SeekingReader
from mcap.records import Channel as ChannelRecord
from mcap.records import Schema
from mcap.summary import Summary

from gaussian_yolo_node.bags.blocks import UNREADABLE, Block, BlockFile, Entry
from gaussian_yolo_node.bags.limits import MOST_CHUNK, MOST_MESSAGE, MOST_STAMP_NS
from gaussian_yolo_node.bags.storage import Channel

MAGIC = b"\x89MCAP0\r\n"

_RECORD = struct.Struct("<BQ")  # opcode, length
# Header of a chunk behind its record's: times, uncompressed size, checksum, length of the compression's name.
_CHUNK = struct.Struct("<QQQII")
_SIZE = struct.Struct("<Q")
_MESSAGE = struct.Struct("<HIQQ")  # channel, sequence number, log time, publish time
# Messages outside chunks are grouped into blocks of this size.
_LOOSE_BLOCK = 1 << 20


class McapFile(BlockFile):
    """An open MCAP file; see `Storage`."""

    kind = "mcap"

    def _find_blocks(self, file: BufferedReader) -> list[str]:
        self._schemas: dict[int, Schema] = {}
        summary = _summary(file, self.size)
        if summary is None:
            return self._scan(file)
        self._schemas = summary.schemas
        self._found = {number: self._channel(record) for number, record in summary.channels.items()}
        assert summary.statistics is not None
        self._counts.update(summary.statistics.channel_message_counts)
        for index in sorted(summary.chunk_indexes, key=lambda index: index.chunk_start_offset):
            self.compression = index.compression or self.compression
            times = index.message_start_time, index.message_end_time
            self._take(
                Block(index.chunk_start_offset, index.uncompressed_size, *times, set(index.message_index_offsets))
            )
        return []

    def _scan(self, file: BufferedReader) -> list[str]:
        """Read the file from the start to its end or to where no record follows."""
        damage = []
        at = run = len(MAGIC)  # messages outside chunks are from byte `run` to byte `at`
        while True:
            file.seek(at)
            head = file.read(_RECORD.size)
            opcode, length = _RECORD.unpack(head) if len(head) == _RECORD.size else (0, 0)
            body, end = at + _RECORD.size, at + _RECORD.size + length
            if at > run and (opcode != Opcode.MESSAGE or end > self.size or at - run > _LOOSE_BLOCK):
                damage += self._look_inside(file, Block(run, at - run, chunk=False))
                run = at
            if len(head) < _RECORD.size:
                return [*damage, "it ends without the index that a recorder writes last"]
            if opcode == 0 or (opcode == Opcode.FOOTER and length != 20):
                return [*damage, f"there is no record at byte {at}"]
            if opcode in (Opcode.FOOTER, Opcode.DATA_END):
                file.seek(max(0, self.size - len(MAGIC)))
                if not damage and file.read() != MAGIC:
                    self.notes.append(f"the end of {self.path.name} is missing, but all of its messages are there")
                return damage
            if opcode == Opcode.CHUNK:
                damage += self._look_inside(file, Block(at))
            if end > self.size:
                return [*damage, f"it ends in the middle of a record that begins at byte {at}"]
            if opcode in (Opcode.SCHEMA, Opcode.CHANNEL):
                file.seek(body)
                try:
                    self._define(opcode, file.read(length))
                except UNREADABLE as error:
                    damage.append(f"the record at byte {at} is damaged ({error})")
            at = end
            run = run if opcode == Opcode.MESSAGE else at

    def _entries(self, file: BufferedReader, block: Block) -> Iterator[Entry]:
        file.seek(block.offset)
        content, checksum, most_records = self._content(file, block) if block.chunk else (file, 0, block.size)
        stream = ReadDataStream(content, calculate_crc=bool(checksum))
        records = 0
        while stream.count < block.size:
            opcode, length = _RECORD.unpack(stream.read(_RECORD.size))
            if length > block.size - stream.count:
                raise ValueError("a record in it is longer than the chunk")
            if length > MOST_MESSAGE:
                raise ValueError(f"a record in it has {length} bytes, and at most {MOST_MESSAGE} are read")
            records += 1
            if opcode == 0 or records > most_records:
                raise ValueError("it is filled with records that are none")
            body = stream.read(length)
            if len(body) < length:
                raise EndOfFile
            if opcode == Opcode.MESSAGE:
                channel, _, stamp_ns, _ = _MESSAGE.unpack_from(body)
                if stamp_ns > MOST_STAMP_NS:
                    raise ValueError(f"a message in it has the time {stamp_ns} ns")
                yield Entry(channel, stamp_ns, body[_MESSAGE.size :])
            elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL) and not self.channels:
                self._define(opcode, body)
        if checksum and stream.checksum() != checksum:
            raise ValueError("its checksum does not fit")

    def _content(self, file: BufferedReader, block: Block) -> tuple[IO[bytes], int, int]:
        """The records in a chunk, their CRC-32, or 0 if there is none, and their most number. Sets the block's size."""
        opcode, _ = _RECORD.unpack(file.read(_RECORD.size))
        _, _, block.size, checksum, characters = _CHUNK.unpack(file.read(_CHUNK.size))
        if opcode != Opcode.CHUNK or characters > 16:
            raise ValueError("it is no chunk")
        compression = file.read(characters).decode("ascii")
        self.compression = compression or self.compression
        (packed,) = _SIZE.unpack(file.read(_SIZE.size))
        if compression == "":
            return file, checksum, block.size
        if block.size > MOST_CHUNK:
            raise ValueError(f"it has {block.size} bytes when unpacked, and at most {MOST_CHUNK} are read")
        self._allowance.take(block.size)
        # A message has its own number and time, so each takes at least a byte of the compressed chunk.
        if compression == "zstd":
            return zstandard.ZstdDecompressor().stream_reader(file, closefd=False), checksum, packed
        if compression == "lz4":
            return lz4.frame.LZ4FrameFile(file, "rb"), checksum, packed
        raise ValueError(f"it is compressed with {compression!r}, which is not known: zstd and lz4 are")

    def _define(self, opcode: int, body: bytes) -> None:
        stream = ReadDataStream(BytesIO(body))
        if opcode == Opcode.SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
        else:
            channel = ChannelRecord.read(stream)
            self._found[channel.id] = self._channel(channel)

    def _channel(self, record: ChannelRecord) -> Channel:
        schema = self._schemas.get(record.schema_id) or Schema(0, b"", "", "unknown")
        # ROS 1 type names lack the "msg" part.
        lacks_part = schema.encoding == "ros1msg" and schema.name.count("/") == 1
        return Channel(
            record.id,
            record.topic,
            schema.name.replace("/", "/msg/") if lacks_part else schema.name,
            0,
            record.message_encoding,
            schema.data.decode("utf-8", "replace"),
            schema.encoding,
            record.metadata.get("offered_qos_profiles", ""),
        )


def _summary(file: BufferedReader, size: int) -> Summary | None:
    """The index at the end of a file; None if it is missing or incomplete."""
    try:
        summary = SeekingReader(file, record_size_limit=size).get_summary()
    except (*UNREADABLE, StopIteration):
        return None
    if summary is None or summary.statistics is None:
        return None
    statistics, channels = summary.statistics, summary.channels
    # The index omits messages outside chunks, and channels without schemas have no type.
    indexed = bool(summary.chunk_indexes) or not statistics.message_count
    defined = all(record.schema_id in summary.schemas or not record.schema_id for record in channels.values())
    counted = statistics.channel_message_counts.keys() <= channels.keys()
    inside = all(index.chunk_start_offset + index.chunk_length <= size for index in summary.chunk_indexes)
    return summary if indexed and defined and counted and inside else None
