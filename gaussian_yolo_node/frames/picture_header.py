"""How many pixels a picture declares, read from its header, so that a decoder is never asked for more than is wanted.

A few bytes can declare a picture that takes gigabytes and seconds to decode. Only formats whose header is read here are
decoded: JPEG, PNG, WebP, BMP, TIFF, GIF, AVIF, JPEG 2000, Netpbm, PFM, Radiance HDR and Sun raster, all of OpenCV's.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

# JPEG's markers of a frame: SOF0 to SOF15 without DHT, JPG and DAC (ITU T.81, B.1.1.3). Those without a length: a
# stuffed byte, TEM, RST0 to RST7, SOI, a fill byte.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD9), 0xFF})
_JPEG_END, _JPEG_SCAN = 0xD9, 0xDA
_JPEG_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
# Each scan of a JPEG passes over all of its pixels. Progressive encoders write up to about 15.
_MOST_SCANS = 32
# Bytes of a text header (Netpbm, PFM, HDR) with its comments.
_TEXT_HEAD = 1 << 16


class HeaderError(ValueError):
    """A picture's header shows that it should not be decoded; the message is a clause that says why."""


def declared_pixels(data: bytes) -> int | None:
    """The number of pixels for which decoding a picture takes memory: those of the whole, or of a larger tile of it.

    Args:
        data: a whole picture file.

    Returns:
        0 if the header is damaged; None for a format that is not known here.

    Raises:
        HeaderError: the file is a cut PNG, or a JPEG of very many scans.
    """
    for magic, count in _FORMATS:
        if magic.match(data):
            try:
                return count(data)
            except (struct.error, IndexError):
                return 0
    return None


def _jpeg(data: bytes) -> int:
    """Of the largest frame header; bytes between segments are passed over, as decoders do."""
    pixels = scans = 0
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        at += 1
        marker = data[at]
        if marker == _JPEG_END:
            break
        if marker in _JPEG_BARE:
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 4)
            pixels = max(pixels, height * width)
        at += 1 + max(2, int.from_bytes(data[at + 1 : at + 3], "big"))
        if marker == _JPEG_SCAN:
            scans += 1
            if scans > _MOST_SCANS:
                raise HeaderError(f"the JPEG has more than {_MOST_SCANS} scans")
            after = _JPEG_AFTER_SCAN.search(data, at)
            if after is None:
                break
            at = after.start()
    return pixels


def _png(data: bytes) -> int:
    """Of IHDR, or of a larger frame of an animation. Decoders make room for a chunk before they read it."""
    pixels, at = 0, 8
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            raise HeaderError("the PNG is cut short")
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, at + 8)
            pixels = max(pixels, width * height)
        elif kind == b"fcTL":
            width, height = struct.unpack_from(">II", data, at + 12)
            pixels = max(pixels, width * height)
        elif kind == b"IEND":
            break
        at += 12 + length
    return pixels


def _webp(data: bytes) -> int:
    kind = data[12:16]
    if kind == b"VP8X":
        return (int.from_bytes(data[24:27], "little") + 1) * (int.from_bytes(data[27:30], "little") + 1)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return (width & 0x3FFF) * (height & 0x3FFF)


def _bmp(data: bytes) -> int:
    (size,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    return abs(width * height)


def _gif(data: bytes) -> int:
    width, height = struct.unpack_from("<HH", data, 6)
    return width * height


def _tiff(data: bytes) -> int:
    """Of the first directory: width x height, or those of a larger tile."""
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
    return max(sizes.get(256, 0) * sizes.get(257, 0), sizes.get(322, 0) * sizes.get(323, 0))


def _avif(data: bytes) -> int:
    """Of the largest image spatial extents, property `ispe` (ISO/IEC 23008-12, 6.5.3)."""
    sizes = (struct.unpack_from(">II", data, found.end() + 4) for found in re.finditer(b"ispe", data))
    return max((width * height for width, height in sizes), default=0)


def _jpeg_2000(data: bytes) -> int:
    """Of the codestream's SIZ, with four components to a pixel (ITU T.800, A.5.1); decoders hold all of them."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return 0
    width, height, left, top = struct.unpack_from(">IIII", data, at + 8)
    (components,) = struct.unpack_from(">H", data, at + 40)
    return max(0, width - left) * max(0, height - top) * max(1, components // 4)


def _netpbm(data: bytes) -> int:
    head = re.sub(rb"#[^\n]*", b"", data[:_TEXT_HEAD])
    if data.startswith(b"P7"):
        width = re.search(rb"\bWIDTH\s+(\d{1,10})", head)
        height = re.search(rb"\bHEIGHT\s+(\d{1,10})", head)
        return int(width[1]) * int(height[1]) if width and height else 0
    sides = re.match(rb"P\w\s+(\d{1,10})\s+(\d{1,10})", head)
    return int(sides[1]) * int(sides[2]) if sides else 0


def _hdr(data: bytes) -> int:
    sides = re.search(rb"[-+][XY]\s+(\d{1,10})\s+[-+][XY]\s+(\d{1,10})", data[:_TEXT_HEAD])
    return int(sides[1]) * int(sides[2]) if sides else 0


def _sun(data: bytes) -> int:
    width, height = struct.unpack_from(">II", data, 4)
    return int(width * height)


_FORMATS: tuple[tuple[re.Pattern[bytes], Callable[[bytes], int]], ...] = tuple(
    (re.compile(magic, re.DOTALL), count)
    for magic, count in (
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
