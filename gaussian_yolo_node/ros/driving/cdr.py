"""What a recorder must know of a serialised message, read from its first bytes: nothing is decoded or copied.

Layout: OMG's CDR as ROS 2 writes it, 4 bytes that tell the byte order, then the fields, each aligned to its size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, IMAGE
from gaussian_yolo_node.bags.image_header import is_video, picture_size

# A writer may pad a message to a multiple of 4 bytes.
_MOST_PADDING = 3
# The header of a JPEG or PNG lies within its first bytes.
_PICTURE_HEAD = 1 << 16


class CdrError(ValueError):
    """A message ends before its fields do, or its lengths contradict each other."""


@dataclass(frozen=True)
class ImageHead:
    """Stamp in ns and size in px of an image message; a size of 0 is not known without decoding the picture.

    `video` is True if the message holds a part of a video, which is no picture.
    """

    stamp_ns: int
    width: int
    height: int
    video: bool = False


def stamp_of(raw: bytes) -> int:
    """header.stamp, ns, of a message that starts with a std_msgs/Header."""
    return _Cursor(raw).stamp()


def image_head(raw: bytes, kind: str) -> ImageHead:
    """Stamp and size of an image message, raw or compressed.

    Raises:
        CdrError: the message is cut short, so that no node could read it.
    """
    cursor = _Cursor(raw)
    stamp = cursor.stamp()
    cursor.text()  # frame_id
    width = height = 0
    if kind == IMAGE:
        height, width = cursor.number("I"), cursor.number("I")
        cursor.text()  # encoding
        cursor.number("B")  # is_bigendian
        cursor.number("I")  # step
    layout = "" if kind == IMAGE else cursor.text()  # format
    length = cursor.number("I")
    rest = len(raw) - cursor.position
    if not length <= rest <= length + _MOST_PADDING:
        raise CdrError(f"the message announces {length} bytes of picture, but {max(0, rest)} are there")
    if kind == COMPRESSED_IMAGE:
        head = raw[cursor.position : cursor.position + min(length, _PICTURE_HEAD)]
        height, width = picture_size(head, by_exif=False) or (0, 0)
        return ImageHead(stamp, width, height, is_video(layout, head))
    return ImageHead(stamp, width, height)


def detection_count(raw: bytes) -> int:
    """Number of boxes in a vision_msgs/Detection2DArray."""
    cursor = _Cursor(raw)
    cursor.stamp()
    cursor.text()
    return cursor.number("I")


class _Cursor:
    """Goes through the fields of a message."""

    def __init__(self, raw: bytes) -> None:
        if len(raw) < 4:
            raise CdrError(f"a message of {len(raw)} bytes has no header")
        self._raw = raw
        self._order = "<" if raw[1] & 1 else ">"
        self.position = 4

    def number(self, layout: str) -> int:
        """One number, by its letter of the struct module."""
        size = struct.calcsize(layout)
        # Fields are aligned from the end of the 4 bytes on.
        start = self.position + (4 - self.position) % size
        if start + size > len(self._raw):
            raise CdrError(f"the message is cut short after {len(self._raw)} bytes")
        self.position = start + size
        return int(struct.unpack_from(self._order + layout, self._raw, start)[0])

    def stamp(self) -> int:
        return self.number("i") * 1_000_000_000 + self.number("I")

    def text(self) -> str:
        length = self.number("I")
        self.position += length
        return self._raw[self.position - length : self.position].rstrip(b"\0").decode("utf-8", "replace")
