"""What the bytes of an image file or compressed image message say without decoding: size, and truncation."""

from __future__ import annotations

import struct


def size_in_header(head: bytes) -> tuple[int, int] | None:
    """(height, width) in px from the first bytes of a JPEG or PNG, before any rotation by Exif; None if absent."""
    return _png_size(head) or _jpeg_size(head)


def may_be_rotated(head: bytes) -> bool:
    """Whether an image file has Exif data, by which OpenCV rotates it."""
    return b"Exif" in head or b"eXIf" in head  # JPEG, PNG


def is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG is truncated; some OpenCV versions fill the missing part with grey and report no error."""
    # Neither marker can occur in compressed data. A thumbnail has both, but before the scan of the main image.
    scan, end = b"\xff\xda", data.rfind(b"\xff\xd9")
    return data.startswith(b"\xff\xd8") and (end < 0 or data.find(scan, end) >= 0)


def _png_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(b"\x89PNG\r\n\x1a\n") or head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the frame header (ITU T.81, B.2.2)."""
    if not head.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker, length = head[at + 1], int.from_bytes(head[at + 2 : at + 4], "big")
        # SOF0 to SOF15, without DHT, JPG and DAC
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return (height, width) if height else None
        at += 2 + length
    return None
