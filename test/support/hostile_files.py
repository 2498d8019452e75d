"""Small files that would cost minutes or gigabytes, or that readers do not expect, as bytes."""

from __future__ import annotations

import bz2
import io
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import zstandard
from mcap.writer import CompressionType, Writer

RULE = "=" * 80 + "\nMSG: "


def mcap(definition: str, encoding: str = "ros2msg", kind: str = "a/msg/B", data: bytes = b"\0\1\0\0\0\0\0\0") -> bytes:
    """A file with one message of a type that it defines."""
    file = io.BytesIO()
    writer = Writer(file, compression=CompressionType.NONE)
    writer.start("ros2", "test")
    schema = writer.register_schema(kind, encoding, definition.encode())
    channel = writer.register_channel("/a", "cdr", schema)
    writer.add_message(channel, 1_700_000_000_000_000_000, data, 1_700_000_000_000_000_000)
    writer.finish()
    return file.getvalue()


def mcap_chunk(compression: str, size: int, packed: bytes) -> bytes:
    """A file of one chunk of `size` bytes, without an index."""
    name = compression.encode()
    chunk = struct.pack("<QQQII", 1, 2, size, 0, len(name)) + name + struct.pack("<Q", len(packed)) + packed
    return b"\x89MCAP0\r\n" + struct.pack("<BQ", 6, len(chunk)) + chunk


def ros1_chunk(compression: str, size: int, packed: bytes) -> bytes:
    """A ROS 1 bag of one chunk of `size` bytes, without an index."""
    head = _ros1_header({"op": b"\3", "index_pos": bytes(8), "conn_count": bytes(4), "chunk_count": b"\1\0\0\0"})
    chunk = _ros1_header({"op": b"\5", "compression": compression.encode(), "size": struct.pack("<I", size)})
    padding = struct.pack("<I", 40) + b" " * 40
    return b"#ROSBAG V2.0\n" + head + padding + chunk + struct.pack("<I", len(packed)) + packed


def _ros1_header(fields: Mapping[str, bytes]) -> bytes:
    parts = [name.encode() + b"=" + value for name, value in fields.items()]
    body = b"".join(struct.pack("<I", len(part)) + part for part in parts)
    return struct.pack("<I", len(body)) + body


def zeros(pack: Callable[[], object], megabytes: int) -> bytes:
    """Packed zeros, without having all of them in memory."""
    packer = pack()
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(megabytes)]  # type: ignore[attr-defined]
    return b"".join((*parts, packer.flush()))  # type: ignore[attr-defined]


def zstd_zeros(megabytes: int) -> bytes:
    return zeros(lambda: zstandard.ZstdCompressor().compressobj(), megabytes)


def bz2_zeros(megabytes: int) -> bytes:
    return zeros(bz2.BZ2Compressor, megabytes)


# A frame whose header claims 6 GB, with the right checksum, and ends.
LZ4_CLAIM = b"\x04\x22\x4d\x18\x68\x70\0\0\0\x80\x01\0\0\0\xd9\0\0\0\0"


def sqlite(*statements: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.db3"
        with sqlite3.connect(path) as database:
            for statement in statements:
                database.execute(statement)
        database.close()
        return path.read_bytes()


TOPICS = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, "
    "offered_qos_profiles TEXT)",
    "INSERT INTO topics VALUES (1, '/a', 'std_msgs/msg/String', 'cdr', '')",
)
MESSAGES = "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB)"
