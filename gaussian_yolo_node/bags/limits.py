"""How much of a bag is unpacked and held in memory: a small file must not claim gigabytes."""

from __future__ import annotations

import bz2
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import lz4.frame  # type: ignore[import-untyped]
import zstandard

# Bytes of one message. A picture of 64 megapixels has 192 MB as bgr8.
MOST_MESSAGE = 256 << 20
# Bytes of a compressed chunk, unpacked. Recorders write chunks of 0.8 to 4 MB, but at least one message.
MOST_CHUNK = MOST_MESSAGE
# Bytes that a file may unpack to in all: so many, and so many for each of its own bytes. Constant data, such as black
# pictures, are packed by zstd to 1 : 32,000 at best, by bz2 to 1 : 1,000,000.
_MOST_UNPACKED, _MOST_RATIO = 64 << 20, 40_000
# Times in ns, until the year 2116, so that differences have 64 bits.
MOST_STAMP_NS = 1 << 62
_BLOCK = 1 << 20  # bytes unpacked at once


class Allowance:
    """What one pass over a file may still unpack; `size` is that of the file in bytes."""

    def __init__(self, size: int) -> None:
        self._left = _MOST_UNPACKED + _MOST_RATIO * size

    def take(self, size: int) -> None:
        """Raise ValueError if `size` more bytes are too many."""
        self._left -= size
        if self._left < 0:
            raise ValueError(f"the file unpacks to more than {_MOST_RATIO} times its size")


class BoundedFile(io.BufferedReader):
    """A file whose `read` makes room for the bytes that are there, not for those that a damaged length asks for."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _BLOCK:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


def unpacked_zstd(data: bytes, most: int = MOST_MESSAGE) -> bytes:
    """Unpack one frame. Raises ZstdError for damaged data, ValueError for more than `most` bytes."""
    reader = zstandard.ZstdDecompressor().stream_reader(data)
    return _up_to(most, lambda: reader.read(_BLOCK))


def copy_zstd(packed: IO[bytes], target: IO[bytes], allowance: Allowance) -> None:
    """Unpack a file. Raises ZstdError for damaged data, ValueError for more bytes than are allowed."""
    reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True, closefd=False)
    while block := reader.read(_BLOCK):
        allowance.take(len(block))
        target.write(block)


def unpacked_chunk(compression: str, data: bytes, size: int) -> bytes:
    """Unpack a chunk of a ROS 1 bag to the size in bytes that its header says. ValueError if the compression is
    unknown, the data are damaged, or they unpack to more."""
    if compression == "none":
        return data
    if compression not in _UNPACKERS:
        raise ValueError(f"it is compressed with {compression}, which is not known")
    unpacker = _UNPACKERS[compression]()
    given = iter([data])
    content = _up_to(size, lambda: b"" if unpacker.eof else unpacker.decompress(next(given, b""), _BLOCK))
    if not unpacker.eof:
        raise ValueError("its compressed data are cut short")
    return content


_UNPACKERS: Mapping[str, Callable[[], Any]] = {"bz2": bz2.BZ2Decompressor, "lz4": lz4.frame.LZ4FrameDecompressor}


def _up_to(most: int, read: Callable[[], bytes]) -> bytes:
    content = bytearray()
    while block := read():
        content += block
        if len(content) > most:
            raise ValueError(f"it unpacks to more than {most} bytes")
    return bytes(content)
