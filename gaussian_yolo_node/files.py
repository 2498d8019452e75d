"""Atomic file writes, and file hashes."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError

BLOCK = 1 << 20  # bytes per read when hashing


class WriteError(GaussianYoloError):
    """A file cannot be written; the message names the file and the reason."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file atomically and create its parent folders; on failure the previous file stays.

    Not safe for concurrent writers of one path. The next write overwrites the partial file of a killed process.

    Args:
        content: bytes, or text, which is encoded as UTF-8.

    Raises:
        WriteError: the file cannot be written.
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
    """Hexadecimal SHA-256 of a file; "" if the file does not exist."""
    try:
        with path.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(BLOCK):
                digest.update(block)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return ""
    return digest.hexdigest()
