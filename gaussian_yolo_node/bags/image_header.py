"""What the bytes of an image file or compressed image message say without decoding: size, orientation, truncation.

A few bytes can declare a picture that takes gigabytes and seconds to decode. Only formats whose header is read here are
decoded: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, JPEG 2000, Netpbm, PFM, Radiance HDR and Sun raster, all of OpenCV's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from mmap import mmap
from typing import TypeAlias

Buffer: TypeAlias = bytes | mmap  # of a mapped file, only the parts that are looked at are read
Size: TypeAlias = tuple[int, int]  # height, width in px

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
_PICTURE = _JPEG + b"\xff"  # with the beginning of its first segment
_VIDEO_CODECS = ("h264", "h.264", "avc", "h265", "h.265", "hevc", "vp8", "vp9", "av1", "mpeg4")
_ORIENTATION = 0x0112  # Exif's tag
# Inside a scan, FF is followed by 00 (a stuffed byte), by a restart marker, or by another FF (a fill byte).
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_SOS, _EOI, _APP1 = 0xDA, 0xD9, 0xE1
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 to SOF15, without DHT, JPG and DAC
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xD0, 0xD9))  # a stuffed byte, TEM, RST0 to RST7, SOI
# Each scan of a JPEG passes over all of its pixels. Progressive encoders write up to about 15.
_MOST_SCANS = 32
# Bytes that are missing, or an offset beyond all memory.
_DAMAGED = (struct.error, IndexError, OverflowError)
_TEXT_HEAD = 1 << 16  # bytes of a text header (Netpbm, PFM, HDR) with its comments


class HeaderError(ValueError):
    """A picture's header shows that it should not be decoded; the message is a clause that says why."""


def picture_size(data: Buffer, *, by_exif: bool = True) -> Size | None:
    """(height, width) in px of a JPEG or PNG as it is decoded; None if the data do not say.

    Args:
        data: a file, or so much of its beginning that its frame header is in it.
        by_exif: turned as its Exif data say.
    """
    if data[: len(_JPEG)] != _JPEG and data[: len(_PNG)] != _PNG:
        return None
    try:
        height, width = next((_jpeg if data[: len(_JPEG)] == _JPEG else _png)(data), (0, 0))
    except (HeaderError, *_DAMAGED):
        return None
    if not height or not width:
        return None
    return (width, height) if by_exif and orientation(data) >= 5 else (height, width)


def declared_pixels(data: bytes) -> int | None:
    """The number of pixels for which decoding a picture takes memory: those of the whole, or of a larger part of it.

    Args:
        data: a whole picture file.

    Returns:
        0 if the header is damaged; None for a format that is not known here.

    Raises:
        HeaderError: the file is a cut PNG, or a JPEG of very many scans.
    """
    for magic, sizes in _FORMATS:
        if magic.match(data):
            try:
                return max((height * width for height, width in sizes(data)), default=0)
            except _DAMAGED:
                return 0
    return None


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
        end = at + max(2, int.from_bytes(data[at : at + 2], "big"))
        if end > len(data):
            return
        yield marker, at + 2, end
        at = end
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, at)
            if after is None:
                return
            at = after.start()


def _chunks(data: Buffer) -> Iterator[tuple[bytes, int, int]]:
    """Type, begin and end of the content of each chunk of a PNG; the last may end beyond the data."""
    at = len(_PNG)
    while at < len(data):
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


def _jpeg(data: Buffer) -> Iterator[Size]:
    """Of each frame header (ITU T.81, B.2.2)."""
    scans = 0
    for marker, at, end in _segments(data):
        if marker in _FRAMES and end - at >= 5:
            yield struct.unpack_from(">HH", data, at + 1)
        scans += marker == _SOS
        if scans > _MOST_SCANS:
            raise HeaderError(f"the JPEG has more than {_MOST_SCANS} scans")


def _png(data: Buffer) -> Iterator[Size]:
    """Of IHDR and of each frame of an animation. Decoders make room for a chunk before they read it."""
    for kind, at, end in _chunks(data):
        if kind in (b"IHDR", b"fcTL"):
            yield struct.unpack_from(">II", data, at if kind == b"IHDR" else at + 4)[::-1]
        if end + 4 > len(data):
            raise HeaderError("the PNG is cut short")
        if kind == b"IEND":
            break


def _webp(data: bytes) -> Iterable[Size]:
    kind = data[12:16]
    if kind == b"VP8X":
        return [(int.from_bytes(data[27:30], "little") + 1, int.from_bytes(data[24:27], "little") + 1)]
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return [((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)]
    width, height = struct.unpack_from("<HH", data, 26)
    return [(height & 0x3FFF, width & 0x3FFF)]


def _bmp(data: bytes) -> Iterable[Size]:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return [(abs(height), abs(width))]


def _gif(data: bytes) -> Iterable[Size]:
    width, height = struct.unpack_from("<HH", data, 6)
    return [(height, width)]


def _tiff(data: bytes) -> Iterable[Size]:
    """Of the first directory: of the image and of its tiles, which may be larger."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(f"{order}H", data, 2)[0] == 43:  # BigTIFF
        at, count_format, entry = struct.unpack_from(f"{order}Q", data, 8)[0], "Q", 20
    else:
        at, count_format, entry = struct.unpack_from(f"{order}I", data, 4)[0], "I", 12
    entries_format = "Q" if entry == 20 else "H"
    (entries,) = struct.unpack_from(f"{order}{entries_format}", data, at)
    at += struct.calcsize(f"={entries_format}")
    sizes: dict[int, int] = {}
    for first in range(at, min(at + entries * entry, len(data) - entry + 1), entry):
        tag, kind = struct.unpack_from(f"{order}HH", data, first)
        layout = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)
        if tag in (256, 257, 322, 323) and layout:
            value_at = first + 4 + struct.calcsize(f"={count_format}")
            sizes[tag] = max(sizes.get(tag, 0), *struct.unpack_from(f"{order}{layout}", data, value_at))
    return [(sizes.get(257, 0), sizes.get(256, 0)), (sizes.get(323, 0), sizes.get(322, 0))]


def _avif(data: bytes) -> Iterable[Size]:
    """Of all image spatial extents, property `ispe` (ISO/IEC 23008-12, 6.5.3)."""
    return [struct.unpack_from(">II", data, match.end() + 4)[::-1] for match in re.finditer(b"ispe", data)]


def _jpeg_2000(data: bytes) -> Iterable[Size]:
    """Of the codestream's SIZ, with four components to a pixel (ITU T.800, A.5.1); decoders hold all of them."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return []
    width, height, left, top = struct.unpack_from(">IIII", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    return [(max(0, height - top) * max(1, components // 4), max(0, width - left))]


def _netpbm(data: bytes) -> Iterable[Size]:
    head = re.sub(rb"#[^\n]*", b"", data[:_TEXT_HEAD])
    if data.startswith(b"P7"):
        width = re.search(rb"\bWIDTH\s+(\d{1,10})", head)
        height = re.search(rb"\bHEIGHT\s+(\d{1,10})", head)
        return [(int(height[1]), int(width[1]))] if width and height else []
    sides = re.match(rb"P\w\s+(\d{1,10})\s+(\d{1,10})", head)
    return [(int(sides[2]), int(sides[1]))] if sides else []


def _hdr(data: bytes) -> Iterable[Size]:
    sides = re.search(rb"[-+][XY]\s+(\d{1,10})\s+[-+][XY]\s+(\d{1,10})", data[:_TEXT_HEAD])
    return [(int(sides[1]), int(sides[2]))] if sides else []


def _sun(data: bytes) -> Iterable[Size]:
    width, height = struct.unpack_from(">II", data, 4)
    return [(height, width)]


_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], Iterable[Size]]], ...] = tuple(
    (re.compile(magic, re.DOTALL), sizes)
    for magic, sizes in (
        (rb"\xff\xd8\xff", _jpeg),
        (rb"\x89PNG\r\n\x1a\n", _png),
        (rb"RIFF....WEBPVP8[ LX]", _webp),
        (rb"BM", _bmp),
        (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", _tiff),
        (rb"GIF8[79]a", _gif),
        (rb"....ftyp.{0,64}avi[fs]", _avif),
        (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", _jpeg_2000),
        (rb"P[1-7Ff]\s", _netpbm),
        (rb"#\?R(?:ADIANCE|GBE)", _hdr),
        (rb"\x59\xa6\x6a\x95", _sun),
    )
)
