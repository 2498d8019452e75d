"""Pictures that declare more pixels than are read, or ask the decoder for memory in other ways, are not decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.bags.image_header import HeaderError, declared_pixels
from gaussian_yolo_node.frames.decoding import PictureError, decode

HEIGHT, WIDTH = 70, 90
PICTURE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def encoded(suffix: str) -> bytes:
    picture = PICTURE.astype(np.float32) if suffix in (".pfm", ".hdr") else PICTURE
    if suffix in (".pgm", ".pbm"):
        picture = PICTURE[..., 0]
    if not cv2.haveImageWriter(f"a{suffix}"):
        pytest.skip(f"this OpenCV does not write {suffix}")
    done, data = cv2.imencode(suffix, picture)
    assert done
    return data.tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, before: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 16))
    end = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + end


def jpeg(width: int, height: int, *, before: bytes = b"") -> bytes:
    """A baseline JPEG of one scan, with `before` between its segments."""
    data = encoded(".jpg")
    at = data.index(b"\xff\xc0")
    return data[:at] + before + data[at : at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def tiff(entries: dict[int, tuple[int, int]], order: str = "<", big: bool = False) -> bytes:
    """A TIFF of one directory; entries are a type and a value by tag."""
    mark = b"II" if order == "<" else b"MM"
    sizes = {3: "H", 4: "I", 16: "Q"}
    if big:
        rows = [
            struct.pack(f"{order}HHQ", tag, kind, 1) + struct.pack(order + sizes[kind], value).ljust(8, b"\0")
            for tag, (kind, value) in entries.items()
        ]
        return mark + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(rows)) + b"".join(rows)
    rows = [
        struct.pack(f"{order}HHI", tag, kind, 1) + struct.pack(order + sizes[kind], value).ljust(4, b"\0")
        for tag, (kind, value) in entries.items()
    ]
    return mark + struct.pack(f"{order}HIH", 42, 8, len(rows)) + b"".join(rows)


@pytest.mark.parametrize(
    "suffix",
    [
        ".jpg", ".png", ".webp", ".bmp", ".tiff", ".gif", ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pam", ".pfm",
        ".hdr", ".ras",
    ],
)  # fmt: skip
def test_every_format_that_opencv_writes_is_read(suffix: str) -> None:
    data = encoded(suffix)
    assert declared_pixels(data) == HEIGHT * WIDTH
    assert decode(data).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(PictureError, match=r"^it has 0 megapixels, and at most 0\.006 are read$"):
        decode(data, max_megapixels=0.006)


@pytest.mark.parametrize(
    "data",
    [
        png(30_000, 30_000),
        jpeg(30_000, 30_000),
        jpeg(30_000, 30_000, before=b"\xff\xff\xfe\0\4\xff\xda" + b"stray\xff\0 bytes"),
        b"RIFF\x20\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + (29_999).to_bytes(3, "little") * 2,
        b"RIFF\x20\0\0\0WEBPVP8L\x0a\0\0\0\x2f" + struct.pack("<I", 0x3FFF | 0x3FFF << 14),
        b"RIFF\x20\0\0\0WEBPVP8 \x0a\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 0x3FFF, 0x3FFF),
        b"BM" + bytes(12) + struct.pack("<Iii", 40, 30_000, -30_000),
        b"BM" + bytes(12) + struct.pack("<IHH", 12, 30_000, 30_000),
        b"GIF89a" + struct.pack("<HH", 30_000, 30_000),
        tiff({256: (4, 30_000), 257: (3, 30_000)}),
        tiff({256: (4, 30_000), 257: (3, 30_000)}, ">"),
        tiff({256: (16, 30_000), 257: (4, 30_000)}, "<", big=True),
        tiff({256: (3, 16), 257: (3, 16), 322: (4, 30_000), 323: (4, 30_000)}),
        b"\0\0\0\x18ftypavif" + bytes(8) + b"\0\0\0\x14ispe\0\0\0\0" + struct.pack(">II", 30_000, 30_000),
        b"\xff\x4f\xff\x51" + struct.pack(">HHIIII16xH", 41, 0, 30_000, 30_000, 0, 0, 3),
        b"\xff\x4f\xff\x51" + struct.pack(">HHIIII16xH", 41, 0, 1000, 1000, 0, 0, 16_384),
        b"P6\n# 1 1\n30000\n# 2\n30000\n255\n",
        b"P7\nHEIGHT 30000\nWIDTH 30000\nDEPTH 3\nENDHDR\n",
        b"PF\n30000 30000\n-1\n",
        b"#?RADIANCE\n\n-Y 30000 +X 30000\n",
        b"\x59\xa6\x6a\x95" + struct.pack(">II", 30_000, 30_000),
    ],
)
def test_more_pixels_than_are_read(data: bytes) -> None:
    with pytest.raises(PictureError, match=r"^it has \d+ megapixels, and at most 64 are read$"):
        decode(data)


@pytest.mark.parametrize("kind", [b"IDAT", b"tEXt", b"fdAT"])
@pytest.mark.parametrize("length", [0xFFFF0016, 0x7FFFFFFF, 100_000])
def test_a_chunk_that_claims_more_bytes_than_there_are(kind: bytes, length: int) -> None:
    data = png(4, 4, before=struct.pack(">I", length) + kind)
    with pytest.raises(HeaderError, match="the PNG is cut short"):
        declared_pixels(data)
    with pytest.raises(PictureError, match=r"^the PNG is cut short$"):
        decode(data)


def test_an_animated_png_with_a_large_frame() -> None:
    frame = chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", struct.pack(">IIIII6x", 0, 30_000, 30_000, 0, 0))
    assert declared_pixels(png(4, 4, before=frame)) == 900_000_000


def test_a_jpeg_of_very_many_scans() -> None:
    data = cv2.imencode(".jpg", PICTURE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert declared_pixels(data) == HEIGHT * WIDTH
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(PictureError, match=r"^the JPEG has more than 32 scans$"):
        decode(data[:-2] + 32 * last + data[-2:])


def test_scans_behind_a_jpegs_end_do_not_count() -> None:
    data = encoded(".jpg") + 200 * b"\xff\xda\0\x0c"
    assert declared_pixels(data) == HEIGHT * WIDTH


@pytest.mark.parametrize(
    "data",
    [
        b"P6 #" + b"a" * 70_000 + b"\n30000 30000 255\n",
        b"#?RADIANCE\n" + b"#a\n" * 30_000 + b"FORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n",
        b"P6 30000\n",
        tiff({257: (3, 16)}),
        b"II" + struct.pack("<HHHQ", 43, 8, 0, (1 << 64) - 1),
    ],
)
def test_a_picture_whose_size_is_not_found_is_not_decoded(data: bytes) -> None:
    assert declared_pixels(data) == 0
    with pytest.raises(PictureError, match="not an image OpenCV can decode"):
        decode(data)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8", b"\0\0\0\x18ftypmp42", b"%PDF-1.4"])
def test_what_is_no_picture(data: bytes) -> None:
    assert declared_pixels(data) is None
    with pytest.raises(PictureError, match="not an image OpenCV can decode"):
        decode(data)


@pytest.mark.parametrize("make", [lambda: encoded(".jpg"), lambda: encoded(".webp"), lambda: encoded(".tiff")])
def test_a_header_that_is_cut_is_an_error_of_the_picture(make: Callable[[], bytes]) -> None:
    data = make()
    for length in range(3, 64):
        with pytest.raises(PictureError):
            decode(data[:length])
