"""The files of a bag, and their compression."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
import zstandard

from gaussian_yolo_node.bags import SUFFIXES, BagError, mcap_file, ros1_file, sqlite_file
from gaussian_yolo_node.bags.mcap_file import McapFile
from gaussian_yolo_node.bags.ros1_file import Ros1File
from gaussian_yolo_node.bags.sqlite_file import SqliteFile
from gaussian_yolo_node.bags.storage import Storage

METADATA = "metadata.yaml"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_OPENERS: Mapping[str, tuple[bytes, Callable[[Path, list[str]], Storage]]] = {
    "mcap": (mcap_file.MAGIC, McapFile),
    "sqlite3": (sqlite_file.MAGIC, SqliteFile),
    "ros1": (ros1_file.MAGIC, Ros1File),
}


class BagFiles:
    """The open files of a bag, in the order of their messages.

    Args:
        path: file or folder.
        notes: receives one sentence per problem of the bag or its files.

    Raises:
        BagError: there is no bag, or no part of it can be read.
    """

    def __init__(self, path: Path, notes: list[str]) -> None:
        self._resources = contextlib.ExitStack()
        self._notes = notes
        self.kind = ""
        self.compression = ""
        self.storages: list[Storage] = []
        paths: list[Path] = []
        try:
            files = _files_of(path, notes)
            for file in files:
                try:
                    self.storages.append(self._open(file))
                except BagError as error:
                    # A recorder that is killed when it starts a new file leaves an empty file.
                    if len(files) == 1:
                        raise
                    notes.append(f"{error}; the bag's other files are read")
                else:
                    paths.append(file)
            if not paths:
                raise BagError(f"{path} cannot be read: {notes[-1]}")
        except OSError as error:
            self.close()
            raise BagError(f"{path} cannot be read: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        self.paths = tuple(paths)

    @property
    def ros1(self) -> bool:
        """Whether the files are ROS 1 bags."""
        return self.kind == "ros1"

    def unpacked(self, raw: bytes) -> bytes:
        """The serialised message, decompressed if the recorder compressed it."""
        # No serialised message starts with these bytes, so the metadata are not needed.
        if raw[:4] != ZSTD_MAGIC:
            return raw
        self.compression = "zstd messages"
        try:
            return zstandard.ZstdDecompressor().decompressobj().decompress(raw)
        except zstandard.ZstdError as error:
            raise BagError(f"a compressed message is damaged ({error})") from error

    def close(self) -> None:
        self._resources.close()

    def _open(self, path: Path) -> Storage:
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(ZSTD_MAGIC):
            self.compression = "zstd files"
            path = self._decompressed(path)
            with path.open("rb") as file:
                head = file.read(16)
        if not head:
            raise BagError(f"{path} is empty: nothing was recorded")
        for kind, (magic, opener) in _OPENERS.items():
            if head.startswith(magic):
                self.kind = kind
                storage = opener(path, self._notes)
                self._resources.callback(storage.close)
                self.compression = self.compression or storage.compression
                return storage
        raise BagError(f"{path} is not a bag: it is none of {', '.join(SUFFIXES[:3])}")

    def _decompressed(self, path: Path) -> Path:
        folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="bag_")))
        target = folder / path.name.removesuffix(".zstd")
        with path.open("rb") as packed, target.open("wb") as file:
            try:
                shutil.copyfileobj(zstandard.ZstdDecompressor().stream_reader(packed), file)
            except zstandard.ZstdError as error:
                self._notes.append(f"{path.name} is damaged ({error}): what was unpacked before is read")
        return target


def _files_of(path: Path, notes: list[str]) -> list[Path]:
    """The files of a bag, in the order of its metadata, or by name without metadata."""
    if not path.exists():
        raise BagError(f"bag {path} does not exist")
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.name.endswith(SUFFIXES) and file.is_file())
    listed = _listed_files(path, notes)
    if not found:
        raise BagError(f"folder {path} holds no bag: no file in it ends in {', '.join(SUFFIXES)}")
    absent = [file.name for file in listed if not file.exists()]
    if absent:
        notes.append(f"{', '.join(absent)} is missing: the bag's {METADATA} names it")
    there = [file for file in listed if file.exists()]
    return there or sorted(found, key=_number)


def _listed_files(folder: Path, notes: list[str]) -> list[Path]:
    path = folder / METADATA
    if not path.exists():
        notes.append(f"{folder.name} has no {METADATA} (a recorder that was killed): its files are read as they are")
        return []
    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        names = document["rosbag2_bagfile_information"]["relative_file_paths"]
        return [folder / os.path.basename(name) for name in names]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        notes.append(f"{path.name} is damaged ({type(error).__name__}): the bag's files are read as they are")
        return []


def _number(path: Path) -> tuple[int, str]:
    """Sort key of a split file: the number at the end of its name, which has no leading zeros."""
    digits = path.name.split(".")[0].rpartition("_")[2]
    return int(digits) if digits.isdecimal() else 0, path.name
