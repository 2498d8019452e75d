"""Pictures with Exif's orientation where different programs write it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np

IMAGE = np.random.default_rng(1).integers(0, 256, (6, 10, 3), np.uint8).repeat(8, 0).repeat(8, 1)
JPEG = cv2.imencode(".jpg", IMAGE)[1].tobytes()
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()


def exif(turned: int, order: str = "<") -> bytes:
    head = b"II" if order == "<" else b"MM"
    entry = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, turned, 0)
    return head + struct.pack(f"{order}HIH", 42, 8, 1) + entry + bytes(4)


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def jpeg_with(*segments: bytes) -> bytes:
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def _chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + b"eXIf" + content + struct.pack(">I", zlib.crc32(b"eXIf" + content))


# By name, from the orientation to the bytes of a picture of 80x48 px, as stored.
TURNED: dict[str, Callable[[int], bytes]] = {
    "first": lambda turned: jpeg_with(segment(0xE1, b"Exif\0\0" + exif(turned))),
    "big endian": lambda turned: jpeg_with(segment(0xE1, b"Exif\0\0" + exif(turned, ">"))),
    "late": lambda turned: jpeg_with(
        segment(0xE2, bytes(60_000)), segment(0xE2, bytes(60_000)), segment(0xE1, b"Exif\0\0" + exif(turned))
    ),
    "after XMP": lambda turned: jpeg_with(segment(0xE1, b"http://ns"), segment(0xE1, b"Exif\0\0" + exif(turned))),
    # After the signature and IHDR, or before IEND.
    "PNG before its pixels": lambda turned: PNG[:33] + _chunk(exif(turned)) + PNG[33:],
    "PNG after its pixels": lambda turned: PNG[:-12] + _chunk(exif(turned)) + PNG[-12:],
}
