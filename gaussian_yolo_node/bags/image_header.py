"""Height and width of an image from the first bytes of its file or compressed image message."""

from __future__ import annotations

import struct


def size_in_header(head: bytes) -> tuple[int, int] | None:
    """(height, width) in px from the first bytes of a JPEG or PNG; None if absent, or if Exif may rotate the image."""
    return _png_size(head) or _jpeg_size(head)


def _png_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the frame header (ITU T.81, B.2.2). None with Exif data, which may rotate the decoded image."""
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        if marker == 0xE1 and head[at + 4 : at + 8] == b"Exif":
            return None
        # SOF0 to SOF15, without DHT, JPG and DAC
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return (height, width) if height else None
        at += 2 + length
    return None
