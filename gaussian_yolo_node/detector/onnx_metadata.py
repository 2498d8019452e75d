"""Read the metadata of an ONNX file without the onnx package and without loading the model."""

from __future__ import annotations

import mmap
from pathlib import Path

from gaussian_yolo_node.errors import ModelError

# Field numbers in onnx.proto: ModelProto.metadata_props; StringStringEntryProto.key and .value.
_METADATA_PROPS = 14
_KEY, _VALUE = 1, 2

# Protobuf wire types.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def read_metadata(path: Path) -> dict[str, str]:
    """Keys and values of the model's metadata_props; the graph is skipped.

    Raises:
        ModelError: the file cannot be read, or is not an ONNX model.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            entries = [dict(_fields(bytes(value))) for number, value in _fields(data) if number == _METADATA_PROPS]
            return {_text(entry[_KEY]): _text(entry[_VALUE]) for entry in entries}
    except OSError as error:
        raise ModelError(f"model {path} cannot be read: {error.strerror}") from error
    except (ValueError, IndexError, KeyError) as error:
        raise ModelError(f"model {path} is no ONNX file: {error}") from error


def _fields(data: bytes | mmap.mmap) -> list[tuple[int, bytes]]:
    """Number and content of each field of a protobuf message; the content of a graph or of a number is empty."""
    found = []
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _LENGTH:
            length, at = _varint(data, at)
            if at + length > end:
                raise ValueError("it is cut short")
            wanted = not isinstance(data, mmap.mmap) or number == _METADATA_PROPS
            found.append((number, data[at : at + length] if wanted else b""))
            at += length
        elif wire == _VARINT:
            _, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError("it is not protobuf")
    return found


def _varint(data: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """A varint (7 bits per byte), and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _text(value: bytes) -> str:
    return value.decode("utf-8")
