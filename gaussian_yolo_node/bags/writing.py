"""Bags as `ros2 bag` reads them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal

from rosbags.interfaces import (
    Connection,
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.typestore import make_typestore

StorageName = Literal["mcap", "sqlite3"]
Compression = Literal["none", "zstd"]

_SUFFIXES: Mapping[StorageName, str] = {"mcap": ".mcap", "sqlite3": ".db3"}
_FOREVER = QosTime(9223372036, 854775807)
# Reliable: a player then reaches those who insist on it, too.
_OFFER = Qos(
    QosHistory.KEEP_LAST,
    10,
    QosReliability.RELIABLE,
    QosDurability.VOLATILE,
    _FOREVER,
    _FOREVER,
    QosLiveliness.AUTOMATIC,
    _FOREVER,
    False,
)
# What ROS 2 Humble reads as well as later ones: version 9 writes QoS profiles in another way.
_VERSION: Literal[8] = 8


class BagWriter:
    """Writes serialised messages. The bag appears under its name when the writer is closed, or not at all.

    Args:
        path: a file, if it ends as one of the storage (.mcap, .db3); else a folder with `metadata.yaml`.
        topics: message type by topic.
        compression: of MCAP's chunks, or of SQLite's messages.
        overwrite: replace a bag that is there.

    Raises:
        BagError: there is something already, or it cannot be written; a type is unknown.
    """

    def __init__(
        self,
        path: Path,
        topics: Mapping[str, str],
        *,
        storage: StorageName = "mcap",
        compression: Compression = "none",
        overwrite: bool = False,
    ) -> None:
        self._path = path
        self._suffix = _SUFFIXES[storage]
        if path.suffix in _SUFFIXES.values() and path.suffix != self._suffix:
            raise BagError(f"{path} does not end in {self._suffix}, as a file of storage {storage} does")
        check_target(path, overwrite=overwrite)
        try:
            # Beside the target, so that it gets its name without being copied.
            self._scratch = Path(tempfile.mkdtemp(prefix=f".{path.stem}_", dir=path.parent))
        except OSError as error:
            raise BagError(f"{path} cannot be written: {error.strerror}") from error
        self._folder = self._scratch / path.stem
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = Writer(self._folder, version=_VERSION, storage_plugin=plugin)
        if compression == "zstd":
            # Chunks hold messages of all topics, and any reader of MCAP unpacks them.
            mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}
        try:
            self._writer.open()
            for name, kind in topics.items():
                self.add_topic(name, kind)
        except BaseException:
            self.abort()
            raise

    @property
    def topics(self) -> frozenset[str]:
        """Those that are announced."""
        return frozenset(self._connections)

    def add_topic(self, name: str, kind: str) -> None:
        """Announce a topic; messages may have been written before.

        Raises:
            BagError: the type is unknown.
        """
        store = make_typestore()
        if kind not in store.fielddefs:
            raise BagError(f"message type {kind} of topic {name} is unknown")
        self._connections[name] = self._writer.add_connection(
            name, kind, typestore=store, offered_qos_profiles=[_OFFER]
        )

    def write(self, topic: str, stamp_ns: int, raw: bytes | memoryview) -> None:
        """Append a serialised message that was recorded at `stamp_ns`."""
        self._writer.write(self._connections[topic], stamp_ns, raw)

    def close(self) -> None:
        """Finish the bag and give it its name, in place of one that is there."""
        self._writer.close()
        is_file = self._path.suffix == self._suffix
        done = self._folder / f"{self._path.stem}{self._suffix}" if is_file else self._folder
        if self._path.is_dir():
            self._path.replace(self._scratch / "replaced")
        done.replace(self._path)
        shutil.rmtree(self._scratch)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._writer.abort()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise BagError if a bag must not be written to `path`."""
    if not path.parent.is_dir():
        raise BagError(f"{path} cannot be written: there is no folder {path.parent}")
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"{path} exists already: choose another name, or --overwrite it")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise BagError(f"folder {path} is not a bag, and is not overwritten: choose another name")
