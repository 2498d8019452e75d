"""Small videos with chosen times, as recorders write them: Matroska in ms, AVI with empty chunks."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import cv2
import numpy as np

SIZE = (48, 64)


def jpeg(grey: int) -> bytes:
    """A picture of one grey level."""
    return bytes(cv2.imencode(".jpg", np.full((*SIZE, 3), grey, np.uint8))[1].tobytes())


def matroska(times_ms: Sequence[int], *, duration_ms: float | None = None, doctype: bytes = b"matroska") -> bytes:
    """A Matroska file of JPEGs, in units of 1 ms and without a frame rate; a live recording has no duration."""
    info = _element(0x2AD7B1, (1_000_000).to_bytes(4, "big"))
    if duration_ms is not None:
        info += _element(0x4489, struct.pack(">d", duration_ms))
    picture = _element(0xB0, SIZE[1].to_bytes(2, "big")) + _element(0xBA, SIZE[0].to_bytes(2, "big"))
    track = (
        _element(0xD7, b"\1") + _element(0x73C5, b"\1") + _element(0x83, b"\1") + _element(0x86, b"V_MJPEG")
        + _element(0xE0, picture)
    )  # fmt: skip
    blocks = b"".join(
        _element(0xA3, b"\x81" + time.to_bytes(2, "big") + b"\x80" + jpeg(10 * index % 256))
        for index, time in enumerate(times_ms)
    )
    segment = (
        _element(0x1549A966, info) + _element(0x1654AE6B, _element(0xAE, track))
        + _element(0x1F43B675, _element(0xE7, b"\0") + blocks)
    )  # fmt: skip
    return _element(0x1A45DFA3, _element(0x4282, doctype)) + _element(0x18538067, segment)


def _element(kind: int, content: bytes) -> bytes:
    head = kind.to_bytes((kind.bit_length() + 7) // 8, "big")
    return head + (len(content) | 1 << 56).to_bytes(8, "big") + content


def avi(shown: Sequence[bool], fps: int = 30) -> bytes:
    """An AVI of JPEGs at a nominal rate; where no new picture is shown, the chunk is empty."""
    chunks, entries, at = b"", b"", 4
    for index, there in enumerate(shown):
        data = jpeg(10 * index % 256) if there else b""
        chunk = _chunk(b"00dc", data)
        entries += b"00dc" + struct.pack("<III", 0x10, at, len(data))
        chunks, at = chunks + chunk, at + len(chunk)
    main = struct.pack("<14I", 1_000_000 // fps, 0, 0, 0x10, len(shown), 0, 1, 0, SIZE[1], SIZE[0], 0, 0, 0, 0)
    stream = b"vidsMJPG" + struct.pack("<10I4H", 0, 0, 0, 1, fps, 0, len(shown), 0, 0, 0, 0, 0, SIZE[1], SIZE[0])
    bitmap = struct.pack("<IiiHH4sIiiII", 40, SIZE[1], SIZE[0], 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    header = _list(b"hdrl", _chunk(b"avih", main) + streams)
    return _chunk(b"RIFF", b"AVI " + header + _list(b"movi", chunks) + _chunk(b"idx1", entries))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)


def _list(kind: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", kind + content)
