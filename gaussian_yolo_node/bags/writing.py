"""Write bags that `ros2 bag` can read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Literal

from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.typestore import make_typestore
from gaussian_yolo_node.files import move_whole, prepare_target, scratch_beside

StorageName = Literal["mcap", "sqlite3"]
Compression = Literal["none", "zstd"]

_SUFFIXES: Mapping[StorageName, str] = {"mcap": ".mcap", "sqlite3": ".db3"}
_FOREVER = QosTime(9223372036, 854775807)
# Reliable QoS, so that a player also matches subscribers that request reliability.
_OFFER = Qos(
    QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.VOLATILE, _FOREVER, _FOREVER,
    QosLiveliness.AUTOMATIC, _FOREVER, False,
)  # fmt: skip
# ROS 2 Humble and later read version 8; version 9 changes the format of QoS profiles.
_VERSION: Literal[8] = 8


class BagWriter:
    """Writes serialised messages. The bag appears under its name only when the writer is closed.

    Args:
        path: a file if it has the suffix of the storage (.mcap, .db3), else a folder with `metadata.yaml`.
        topics: message type by topic.
        compression: of MCAP's chunks, or of SQLite's messages.

    Raises:
        BagError: the path exists, the bag cannot be written, or a type is unknown.
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
        if not path.exists():  # an existing one is replaced at the end
            prepare_target(path, BagError)
        self._resources = ExitStack()
        with self._errors():
            self._scratch = self._resources.enter_context(scratch_beside(path))
        self._folder = self._scratch / path.stem
        plugin = StoragePlugin.MCAP if storage == "mcap" else StoragePlugin.SQLITE3
        self._writer = Writer(self._folder, version=_VERSION, storage_plugin=plugin)
        if compression == "zstd":
            # MCAP chunks hold messages of all topics, and every MCAP reader decompresses them.
            mode = CompressionMode.STORAGE if storage == "mcap" else CompressionMode.MESSAGE
            self._writer.set_compression(mode, CompressionFormat.ZSTD)
        self._connections: dict[str, Connection] = {}
        try:
            with self._errors():
                self._writer.open()
            for name, kind in topics.items():
                self.add_topic(name, kind)
        except BaseException:
            self.abort()
            raise

    @property
    def topics(self) -> frozenset[str]:
        """The announced topics."""
        return frozenset(self._connections)

    def add_topic(self, name: str, kind: str) -> None:
        """Announce a topic; allowed also after messages were written. BagError if the type is unknown."""
        store = make_typestore()
        if kind not in store.fielddefs:
            raise BagError(f"message type {kind} of topic {name} is unknown")
        with self._errors():
            connect = self._writer.add_connection
            self._connections[name] = connect(name, kind, typestore=store, offered_qos_profiles=[_OFFER])

    def write(self, topic: str, stamp_ns: int, raw: bytes | memoryview) -> None:
        """Append a serialised message with recording time `stamp_ns`. BagError if the bag cannot be written."""
        with self._errors():
            self._writer.write(self._connections[topic], stamp_ns, raw)

    def close(self) -> None:
        """Finish the bag and move it to its path, replacing an existing bag. BagError if the bag cannot be written; an
        existing one stays."""
        with self._resources, self._errors():
            self._writer.close()
            is_file = self._path.suffix == self._suffix
            done = self._folder / f"{self._path.stem}{self._suffix}" if is_file else self._folder
            replaced = self._scratch / "replaced"
            if self._path.is_dir():
                self._path.replace(replaced)
            try:
                move_whole(done, self._path)
            except BaseException:
                if replaced.exists():
                    replaced.replace(self._path)
                raise

    def abort(self) -> None:
        """Discard the bag and delete its temporary files."""
        with self._resources, suppress(Exception):  # a full disk refuses what is left in buffers, too
            self._writer.abort()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn errors of the disk into BagError."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise BagError(f"{self._path} cannot be written: {reason}") from error

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def check_target(path: Path, *, overwrite: bool) -> None:
    """Raise BagError if a bag must not be written to `path`."""
    if not path.exists():
        return
    if not overwrite:
        raise BagError(f"{path} exists already: choose another name, or --overwrite it")
    if path.is_dir() and not (path / "metadata.yaml").exists():
        raise BagError(f"folder {path} is not a bag, and is not overwritten: choose another name")
