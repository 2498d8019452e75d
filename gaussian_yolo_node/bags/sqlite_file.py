"""SQLite files of rosbag2, including those of a killed recorder."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path
from urllib.parse import quote

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.storage import SORTED, BackwardSteps, Channel, damage_note

MAGIC = b"SQLite format 3\0"

# Errors from reading damaged bytes. UnicodeDecodeError, because the sqlite3 module decodes error messages that quote
# them.
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
# SQLite columns are untyped, so a damaged file may contain values of any type.
_SOUND = "typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer' AND typeof(data) = 'blob'"


class SqliteFile:
    """An open .db3 file; see `Storage`.

    Args:
        notes: receives one sentence per problem of the file.

    Raises:
        BagError: the file is not a bag.
    """

    def __init__(self, path: Path, notes: list[str]) -> None:
        self._path = path
        self._notes = notes
        self._backward = BackwardSteps(path.name, SORTED, notes)
        self.compression = ""
        self.start_ns: int | None = None
        self.end_ns: int | None = None
        self._resources = contextlib.ExitStack()
        with path.open("rb") as file:
            head = file.read(100)
        if not head.startswith(MAGIC):
            raise BagError(f"{path} is not an SQLite file: it does not begin as one")
        # Compare with the size in the file header (sqlite.org/fileformat.html, 1.3).
        page = int.from_bytes(head[16:18], "big")
        self._torn = path.stat().st_size < (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
        try:
            self._database = self._connect()
            self.channels = self._read_channels()
        except _UNREADABLE as error:
            self._resources.close()
            raise BagError(f"{path} cannot be read as a bag: {error}") from error

    def messages(self, ids: Collection[int]) -> Iterator[tuple[Channel, int, bytes]]:
        by_id = {channel.id: channel for channel in self.channels}
        wanted = sorted(set(ids) & by_id.keys())
        # The time index of a truncated file may be in the missing part; the table begins before it.
        order = "id" if self._torn else "timestamp, id"
        query = (
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({','.join('?' * len(wanted))}) "
            f"AND {_SOUND} ORDER BY {order}"
        )
        try:
            for channel, stamp_ns, raw in self._database.execute(query, wanted):
                yield by_id[channel], stamp_ns, bytes(raw)
        except _UNREADABLE as error:
            if not self._torn:
                self._notes.append(f"{self._path.name} is damaged ({error}): messages are missing")

    def close(self) -> None:
        self._resources.close()

    def _connect(self) -> sqlite3.Connection:
        log = self._path.with_name(self._path.name + "-wal")
        if not log.exists() or not log.stat().st_size:
            # No locks and no auxiliary files: the bag may be on a read-only medium.
            database = self._open(self._path, "immutable=1")
            if self._torn:
                # Otherwise SQLite refuses a file shorter than its header says.
                database.execute("PRAGMA writable_schema=ON")
            return database
        self._notes.append(
            f"{self._path.name} was not closed by its recorder: what is still in {log.name} is read, too"
        )
        self._torn = False
        index = self._path.with_name(self._path.name + "-shm")
        if not index.exists():
            # SQLite creates the log's index and does not delete it.
            self._resources.callback(index.unlink, missing_ok=True)
        try:
            database = self._open(self._path, "mode=ro")
            database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            return database
        except sqlite3.OperationalError:
            # SQLite needs write access to read a log, because it writes the log's index.
            folder = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="bag_"))
            for path in (self._path, log):
                shutil.copy(path, folder)
            return self._open(Path(folder) / self._path.name, "mode=rw")

    def _open(self, path: Path, options: str) -> sqlite3.Connection:
        # A caller may read ahead in another thread.
        uri = f"file:{quote(str(path.resolve()))}?{options}"
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        self._resources.callback(database.close)
        return database

    def _read_channels(self) -> list[Channel]:
        columns = self._columns("topics")
        if not columns or not self._columns("messages"):
            raise BagError(f"{self._path} is an SQLite file, but not a bag: it has no tables of topics and messages")
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        definitions = {}
        if self._columns("message_definitions"):
            for kind, encoding, text in self._database.execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                definitions[kind] = (text, encoding)
        topics = self._database.execute(f"SELECT id, name, type, serialization_format, {qos} FROM topics").fetchall()
        counts = self._count()
        channels = []
        for number, name, kind, encoding, offered in topics:
            text, layout = definitions.get(kind, ("", ""))
            form = "msg" if layout == "ros2msg" else "idl" if layout == "ros2idl" else ""
            channels.append(Channel(number, name, kind, counts.get(number, 0), encoding, text, form, offered))  # type: ignore[arg-type]
        return channels

    def _columns(self, table: str) -> list[str]:
        return [row[1] for row in self._database.execute(f"PRAGMA table_info({table})")]

    def _count(self) -> dict[int, int]:
        if self._torn:
            return self._count_what_is_left()
        counts = {}
        rows = self._database.execute(
            f"SELECT topic_id, COUNT(*), MIN(timestamp), MAX(timestamp) FROM messages WHERE {_SOUND} GROUP BY topic_id"
        )
        for topic, count, first, last in rows:
            counts[topic] = count
            self._extend(first, last)
        for before, after in self._database.execute(
            "SELECT before, after FROM (SELECT LAG(timestamp) OVER (PARTITION BY topic_id ORDER BY id) AS before, "
            f"timestamp AS after FROM messages WHERE {_SOUND}) WHERE after < before"
        ):
            self._backward.see(before, after)
        return counts

    def _count_what_is_left(self) -> dict[int, int]:
        counts: dict[int, int] = {}
        trouble = "its end is missing"
        previous: dict[int, int] = {}
        try:
            # Read the data too: the row may exist while its overflow pages are missing.
            for topic, stamp_ns, _ in self._database.execute(
                f"SELECT topic_id, timestamp, data FROM messages WHERE {_SOUND}"
            ):
                counts[topic] = counts.get(topic, 0) + 1
                self._backward.see(previous.get(topic, 0), stamp_ns)
                previous[topic] = stamp_ns
                self._extend(stamp_ns, stamp_ns)
        except _UNREADABLE as error:
            trouble = str(error)
        self._notes.append(damage_note(self._path, trouble, sum(counts.values()), self.end_ns))
        return counts

    def _extend(self, first_ns: int, last_ns: int) -> None:
        self.start_ns = first_ns if self.start_ns is None else min(self.start_ns, first_ns)
        self.end_ns = last_ns if self.end_ns is None else max(self.end_ns, last_ns)
