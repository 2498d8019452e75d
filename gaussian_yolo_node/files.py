"""Atomic file writes, file hashes, and where the package is installed."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError

BLOCK = 1 << 20  # bytes per read when hashing


class WriteError(GaussianYoloError):
    """A file cannot be written; the message names the file and the reason."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write bytes, or text as UTF-8, as `whole_file` does; to a device such as /dev/stdout directly."""
    data = content.encode() if isinstance(content, str) else content
    if _is_device(path):
        path.write_bytes(data)
        return
    with whole_file(path) as part:
        part.write_bytes(data)


def prepare_target(path: Path, error: type[GaussianYoloError] = WriteError) -> None:
    """Create the parent folders of a file that will be written; call it before long work.

    Raises:
        WriteError, or `error`: the file cannot be written there.
    """
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise error(f"{path} cannot be written: {reason.strerror}: {folder}") from reason
    if path.is_dir():
        raise error(f"{path} cannot be written: it is a folder; give the path of a file")
    if not os.access(folder, os.W_OK) and not _is_device(path):
        raise error(f"{path} cannot be written: folder {folder} is read-only")


@contextmanager
def whole_file(path: Path, error: type[GaussianYoloError] = WriteError) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it replaces `path` at the end of the block.

    Parent folders are created. If the block fails, the previous file stays. Not safe for concurrent writers of one
    path. The next write overwrites the partial file of a killed process.

    Args:
        error: raised for an OSError, also one of the block.

    Raises:
        WriteError, or `error`: the file cannot be written.
    """
    part = path.parent / f".{path.name}.part"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as reason:
        raise error(f"{path} cannot be written: {reason.strerror or reason}") from reason


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


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def short_hash(path: Path) -> str:
    """First 12 digits of `file_hash`, enough to distinguish models."""
    return file_hash(path)[:12]


def installed_prefixes() -> list[Path]:
    """Prefixes below which the package may be installed: those of sourced ROS workspaces, then Python's, each once."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    return list(dict.fromkeys(Path(prefix) for prefix in prefixes if prefix))
