"""Files: written whole or not at all, whatever interrupts it; their hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError

BLOCK = 1 << 20  # bytes that are hashed at once


class WriteError(GaussianYoloError):
    """A file cannot be written; the message names it and says why."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file, and the folders that it is in; a failure leaves what was there.

    One process at a time: what a killed one has left is written over by the next.

    Args:
        content: bytes, or text, which is encoded as UTF-8.

    Raises:
        WriteError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal; "" where there is none."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(BLOCK):
                digest.update(block)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
    return digest.hexdigest()
