"""What the bytes of an image file or compressed image message say without decoding: size, orientation, truncation."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from mmap import mmap
from typing import TypeAlias

Buffer: TypeAlias = bytes | mmap  # of a mapped file, only the parts that are looked at are read

_HEAD = 1 << 16
_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_PICTURE = _JPEG + b"\xff"  # with the beginning of its first segment
_VIDEO_CODECS = ("h264", "h.264", "avc", "h265", "h.265", "hevc", "vp8", "vp9", "av1", "mpeg4")
_ORIENTATION = 0x0112  # Exif's tag
# Inside a scan, FF is followed by 00 (a stuffed byte), by a restart marker, or by another FF (a fill byte).
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD8))


def size_in_header(head: bytes) -> tuple[int, int] | None:
    """(height, width) in px from the first bytes of a JPEG or PNG, before any rotation by Exif; None if absent."""
    return _png_size(head) or _jpeg_size(head)


def decoded_size(data: Buffer) -> tuple[int, int] | None:
    """(height, width) in px of a JPEG or PNG file once it is turned as its Exif data say; None if absent."""
    size = size_in_header(data[:_HEAD])
    if size is None and data[: len(_JPEG)] == _JPEG:  # a preview or a profile may precede it
        size = size_in_header(data[:])
    return size if size is None or orientation(data) < 5 else (size[1], size[0])


def orientation(data: Buffer) -> int:
    """Exif's orientation of a JPEG or PNG file, 1 (as stored) .. 8; 5 and above exchange height and width."""
    exif = b""
    if data[: len(_JPEG)] == _JPEG:
        for marker, at, end in _segments(data):
            if marker == _SOS:
                break
            if marker == _APP1 and data[at : at + 6] == b"Exif\0\0":
                exif = data[at + 6 : end]
                break
    elif data[: len(_PNG)] == _PNG:
        exif = next((data[at:end] for kind, at, end in _chunks(data) if kind == b"eXIf"), b"")
    return _exif_orientation(exif)


def is_video(layout: str, data: bytes) -> bool:
    """Whether a compressed image message holds a part of a video: by its format, or by H.264's and H.265's start code
    (ITU H.264, annex B)."""
    named = any(codec in layout.lower() for codec in _VIDEO_CODECS)
    return named or data.startswith((b"\0\0\0\1", b"\0\0\1"))


def is_cut_jpeg(data: bytes) -> bool:
    """Whether a JPEG is truncated; some OpenCV versions fill the missing part with grey and report no error.

    What follows the end does not count, unless it is a further picture (CIPA DC-007, MPO): a copy that ends inside of
    that one is truncated, too.
    """
    at = 0
    while data.startswith(_PICTURE, at):
        end = next((end for marker, _, end in _segments(data, at) if marker == _EOI), None)
        if end is None:
            return True
        at = end
    return at == 0 and data.startswith(_JPEG)


def _segments(data: Buffer, begin: int = 0) -> Iterator[tuple[int, int, int]]:
    """Marker, begin and end of the content of each segment of the JPEG picture at `begin` (ITU T.81, B.1.1).

    They are walked instead of searched: thumbnails, and what phones and drivers leave behind the picture, contain
    markers too. Ends early if the data do.
    """
    at = begin + len(_JPEG)
    while at + 2 <= len(data):
        if data[at] != 0xFF:  # bytes between segments are skipped, as decoders do
            at = data.find(b"\xff", at)
            if at < 0:
                return
        while at + 1 < len(data) and data[at + 1] == 0xFF:  # fill bytes
            at += 1
        if at + 1 >= len(data):
            return
        marker = data[at + 1]
        at += 2
        if marker == _EOI:
            yield marker, at, at
            return
        if marker in _WITHOUT_LENGTH:
            continue
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or end < at + 2:
            return
        yield marker, at + 2, end
        at = end
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, at)
            if after is None:
                return
            at = after.start()


def _chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each chunk of a PNG."""
    at = len(_PNG)
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, end
        at = end + 4  # its checksum


def _exif_orientation(exif: bytes) -> int:
    """Of a TIFF structure: a header of 8 bytes, then entries of 12 bytes in its first directory (Exif 2.32, 4.6.2)."""
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None or len(exif) < 8:
        return 1
    (at,) = struct.unpack_from(f"{order}I", exif, 4)
    if at + 2 > len(exif):
        return 1
    (count,) = struct.unpack_from(f"{order}H", exif, at)
    for entry in range(at + 2, min(at + 2 + 12 * count, len(exif) - 11), 12):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", exif, entry)
        if tag == _ORIENTATION:
            return value if 1 <= value <= 8 else 1
    return 1


def _png_size(head: bytes) -> tuple[int, int] | None:
    if not head.startswith(_PNG) or head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    """From the frame header (ITU T.81, B.2.2)."""
    if not head.startswith(_JPEG):
        return None
    for marker, at, end in _segments(head):
        # SOF0 to SOF15, without DHT, JPG and DAC
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and end - at >= 5:
            height, width = struct.unpack(">HH", head[at + 1 : at + 5])
            return (height, width) if height else None
        if marker == _SOS:
            return None
    return None
