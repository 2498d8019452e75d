"""ROS 1 bags, format 2.0 (wiki.ros.org/Bags/Format/2.0), including unindexed and truncated bags.

The package rosbags reads the records. Its Reader is not used: it refuses bags without an index and definitions that are
not UTF-8, ends at the first damaged chunk, and holds the position of every message in memory.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from io import SEEK_CUR, BufferedReader, BytesIO
from typing import BinaryIO

from rosbags.rosbag1.reader import Header, RecordType, read_bytes, read_uint32

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.blocks import UNREADABLE, Block, BlockFile, Entry
from gaussian_yolo_node.bags.limits import MOST_CHUNK, unpacked_chunk
from gaussian_yolo_node.bags.storage import Channel

MAGIC = b"#ROSBAG V"


class Ros1File(BlockFile):
    """An open .bag file; see `Storage`. Messages are in the serialisation of ROS 1."""

    kind = "ros1"

    def _find_blocks(self, file: BufferedReader) -> list[str]:
        if file.readline(32).strip() != MAGIC + b"2.0":
            raise BagError(f"{self.path} is a ROS 1 bag of another version than 2.0: convert it with `rosbag fix`")
        try:
            header = Header.read(file, RecordType.BAGHEADER)
            index, chunks = header.get_uint64("index_pos"), header.get_uint32("chunk_count")
            start = file.seek(read_uint32(file), SEEK_CUR)
        except UNREADABLE as error:
            return [str(error)]
        if header.get("encryptor"):
            name = header["encryptor"].decode("utf-8", "replace")
            raise BagError(f"{self.path} is encrypted ({name}): decrypt it with rosbag")
        if not 0 < index < self.size:
            return self._scan(file, start) or ["it ends without the index that a recorder writes last"]
        try:
            self._read_index(file, index, chunks)
            return []
        except UNREADABLE as error:
            return self._scan(file, start) or [f"its index is damaged ({error})"]

    def _read_index(self, file: BufferedReader, index: int, chunks: int) -> None:
        """Take channels from the index, and all of its blocks or none."""
        blocks, counts = [], Counter[int]()
        file.seek(index)
        for operation, header, data in self._records(file, self.size):
            if operation == RecordType.CHUNK_INFO:
                times = header.get_time("start_time"), header.get_time("end_time")
                inside = dict(struct.iter_unpack("<II", data))
                counts.update(inside)
                blocks.append(Block(header.get_uint64("chunk_pos"), 0, *times, set(inside)))
        if len(blocks) != chunks or not counts.keys() <= self._found.keys():
            raise ValueError("it does not fit the bag's header")
        self._counts = counts
        for block in blocks:
            self._take(block)

    def _scan(self, file: BufferedReader, at: int) -> list[str]:
        """Read the records from byte `at` to the end of the file or to where no record follows."""
        damage = []
        try:
            while at < self.size:
                file.seek(at)
                header = Header.read(file)
                operation, body = header.get_uint8("op"), file.tell()
                length = read_uint32(file)
                if operation == RecordType.CONNECTION:
                    file.seek(body)
                    self._define(header, Header.read(file))
                elif operation == RecordType.CHUNK:
                    damage += self._look_inside(file, Block(at))
                    if not length:
                        break  # never filled in: the chunk extends to the end of the file
                at = body + 4 + length
        except UNREADABLE as error:
            damage.append(f"there is no record at byte {at} ({error})")
        return damage

    def _entries(self, file: BufferedReader, block: Block) -> Iterator[Entry]:
        file.seek(block.offset)
        header = Header.read(file, RecordType.CHUNK)
        compression = header.get_string("compression")
        self.compression = "" if compression == "none" else compression
        size, length = header.get_uint32("size"), read_uint32(file)
        if max(size, length) > MOST_CHUNK:
            raise ValueError(f"it has {max(size, length)} bytes, and at most {MOST_CHUNK} are read")
        data = file.read(length or MOST_CHUNK)
        if self.compression and len(data) < length:
            raise ValueError("it ends in the middle of a compressed chunk")
        self._allowance.take(size)
        data = unpacked_chunk(compression, data, size)
        for operation, header, raw in self._records(BytesIO(data), len(data)):
            if operation == RecordType.MSGDATA:
                yield Entry(header.get_uint32("conn"), header.get_time("time"), raw)

    def _records(self, stream: BinaryIO, end: int) -> Iterator[tuple[int, Header, bytes]]:
        """Operation, header and data of the records up to byte `end`; takes connections until channels are known."""
        while stream.tell() < end:
            header = Header.read(stream)
            operation = header.get_uint8("op")
            if operation == RecordType.CONNECTION and not self.channels:
                self._define(header, Header.read(stream))
            else:
                yield operation, header, read_bytes(stream, read_uint32(stream))

    def _define(self, header: Header, connection: Header) -> None:
        number = header.get_uint32("conn")
        package, _, name = connection.get_string("type").partition("/")
        self._found[number] = Channel(
            number,
            # Older recorders allowed names without a leading slash.
            "/" + header.get_string("topic").strip("/"),
            f"{package}/msg/{name}",
            0,
            "ros1",
            connection["message_definition"].decode("utf-8", "replace"),
            "ros1msg",
        )
