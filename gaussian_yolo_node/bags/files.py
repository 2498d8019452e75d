"""The files of a bag, and their compression."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zstandard

from gaussian_yolo_node.bags import SUFFIXES, BagError, mcap_file, ros1_file, sqlite_file
from gaussian_yolo_node.bags.limits import Allowance, copy_zstd
from gaussian_yolo_node.bags.storage import Storage
from gaussian_yolo_node.documents import DocumentError, read_yaml
from gaussian_yolo_node.file_names import files_in
from gaussian_yolo_node.files import PlaceError, below, inner_path

METADATA = "metadata.yaml"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"

_KINDS: Mapping[bytes, Callable[[Path, list[str]], Storage]] = {
    mcap_file.MAGIC: mcap_file.McapFile,
    sqlite_file.MAGIC: sqlite_file.SqliteFile,
    ros1_file.MAGIC: ros1_file.Ros1File,
}


def open_files(path: Path, notes: list[str], resources: contextlib.ExitStack) -> dict[Path, Storage]:
    """Open the files of a bag, in the order of their messages.

    Args:
        notes: receives one sentence per problem of the bag or its files.

    Raises:
        BagError: there is no bag, or no part of it can be read.
    """
    opened: dict[Path, Storage] = {}
    try:
        files = _files_of(path, notes)
        for file in files:
            try:
                opened[file] = _open(file, notes, resources)
            except BagError as error:
                # A recorder that is killed when it starts a new file leaves an empty file.
                if len(files) == 1:
                    raise
                notes.append(f"{error}; the bag's other files are read")
    except OSError as error:
        raise BagError(f"{path} cannot be read: {error.strerror}") from error
    if not opened:
        raise BagError(f"{path} cannot be read: {notes[-1]}")
    return opened


def _open(path: Path, notes: list[str], resources: contextlib.ExitStack) -> Storage:
    head = _head(path)
    if head.startswith(ZSTD_MAGIC):
        path = _decompressed(path, notes, resources)
        head = _head(path)
    if not head:
        raise BagError(f"{path} is empty: nothing was recorded")
    for magic, storage in _KINDS.items():
        if head.startswith(magic):
            return resources.enter_context(contextlib.closing(storage(path, notes)))
    raise BagError(f"{path} is not a bag: it is none of {', '.join(SUFFIXES[:3])}")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)


def _decompressed(path: Path, notes: list[str], resources: contextlib.ExitStack) -> Path:
    folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="bag_")))
    target = folder / path.name.removesuffix(".zstd")
    with path.open("rb") as packed, target.open("wb") as file:
        try:
            copy_zstd(packed, file, Allowance(path.stat().st_size))
        except (zstandard.ZstdError, ValueError) as error:
            notes.append(f"{path.name} is damaged ({error}): what was unpacked before is read")
    return target


def _files_of(path: Path, notes: list[str]) -> list[Path]:
    """The files of a bag, in the order of its metadata, or by name without metadata."""
    if not path.exists():
        raise BagError(f"bag {path} does not exist")
    if not path.is_dir():
        return [path]
    matches = [file for file in files_in(path, SUFFIXES) if file.is_file()]
    listed = _listed_files(path, notes)
    if not matches:
        raise BagError(f"folder {path} holds no bag: no file in it ends in {', '.join(SUFFIXES)}")
    absent = [file.name for file in listed if not file.exists()]
    if absent:
        notes.append(f"{', '.join(absent)} is missing: the bag's {METADATA} names it")
    return [file for file in listed if file.exists()] or matches


def _listed_files(folder: Path, notes: list[str]) -> list[Path]:
    path = folder / METADATA
    if not path.exists():
        notes.append(f"{folder.name} has no {METADATA} (a recorder that was killed): its files are read as they are")
        return []
    try:
        document: Any = read_yaml(path)
        names = document["rosbag2_bagfile_information"]["relative_file_paths"]
        places = [_place(folder, name, notes) for name in names]
        return [place for place in places if place is not None]
    except (DocumentError, KeyError, TypeError) as error:
        notes.append(f"{path.name} is damaged ({type(error).__name__}): the bag's files are read as they are")
        return []


def _place(folder: Path, name: str, notes: list[str]) -> Path | None:
    """A file that the metadata name; None with a note for one outside of the folder."""
    try:
        # Old recorders write the folder's name before that of the file.
        return below(folder, inner_path(name).name)
    except PlaceError as error:
        notes.append(f"{METADATA}: {error}")
        return None
