"""SQLite files of rosbag2, including those of a killed recorder."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.limits import MOST_MESSAGE, MOST_STAMP_NS
from gaussian_yolo_node.bags.storage import Channel, Storage

MAGIC = b"SQLite format 3\0"

# Errors from reading damaged bytes. UnicodeDecodeError, because the sqlite3 module decodes error messages that quote
# them.
_UNREADABLE = (sqlite3.DatabaseError, UnicodeDecodeError)
# SQLite columns are untyped, so a damaged file may contain values of any type. The sign keeps SQLite from the index of
# times, which may be missing.
_SOUND = (
    "typeof(topic_id) = 'integer' AND typeof(timestamp) = 'integer' AND typeof(data) = 'blob' "
    f"AND +timestamp BETWEEN 0 AND {MOST_STAMP_NS}"
)
# Steps of SQLite's machine for one query: so many, and so many for each byte of the file. Reading a message takes about
# 30, and a message at least 30 bytes.
_MOST_STEPS, _STEPS_PER_BYTE = 5_000_000, 10
_STEPS = 10_000  # between two looks at their number


class SqliteFile(Storage):
    """An open .db3 file; see `Storage`."""

    kind = "sqlite3"

    def __init__(self, path: Path, notes: list[str]) -> None:
        super().__init__(path, notes)
        with path.open("rb") as file:
            head = file.read(100)
        # Compare with the size in the file header (sqlite.org/fileformat.html, 1.3).
        page = int.from_bytes(head[16:18], "big")
        self._torn = self.size < (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")
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
            for channel, stamp_ns, raw in self._execute(query, wanted):
                yield by_id[channel], stamp_ns, bytes(raw)
        except _UNREADABLE as error:
            if not self._torn:
                self.notes.append(f"{self.path.name} is damaged ({error}): messages are missing")

    def _connect(self) -> sqlite3.Connection:
        log = self.path.with_name(self.path.name + "-wal")
        if not log.exists() or not log.stat().st_size:
            # No locks and no auxiliary files: the bag may be on a read-only medium.
            database = self._open(self.path, "immutable=1")
            if self._torn:
                # Otherwise SQLite refuses a file shorter than its header says.
                database.execute("PRAGMA writable_schema=ON")
            return database
        self.notes.append(f"{self.path.name} was not closed by its recorder: what is still in {log.name} is read, too")
        self._torn = False
        index = self.path.with_name(self.path.name + "-shm")
        if not index.exists():
            # SQLite creates the log's index and does not delete it.
            self._resources.callback(index.unlink, missing_ok=True)
        try:
            database = self._open(self.path, "mode=ro")
            database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
            return database
        except sqlite3.OperationalError:
            # SQLite needs write access to read a log, because it writes the log's index.
            folder = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="bag_"))
            for path in (self.path, log):
                shutil.copy(path, folder)
            return self._open(Path(folder) / self.path.name, "mode=rw")

    def _open(self, path: Path, options: str) -> sqlite3.Connection:
        # A caller may read ahead in another thread.
        uri = f"file:{quote(str(path.resolve()))}?{options}"
        database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        database.execute("PRAGMA query_only=ON")
        database.execute("PRAGMA trusted_schema=OFF")
        if hasattr(database, "setlimit"):  # from Python 3.11
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_MESSAGE)
        database.text_factory = lambda text: text.decode("utf-8", "replace")
        self._resources.callback(database.close)
        return database

    def _execute(self, query: str, parameters: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query; raises DatabaseError also for one that takes more steps than the file has data for."""
        left = _MOST_STEPS + _STEPS_PER_BYTE * self.size

        def count() -> bool:
            nonlocal left
            left -= _STEPS
            return left < 0

        self._database.set_progress_handler(count, _STEPS)
        try:
            yield from self._database.execute(query, parameters)
        except sqlite3.OperationalError as error:
            if left < 0:
                raise sqlite3.DatabaseError("reading it takes far longer than a file of its size does") from error
            raise

    def _read_channels(self) -> list[Channel]:
        columns = self._columns("topics")
        if not columns or not self._columns("messages"):
            raise BagError(f"{self.path} is an SQLite file, but not a bag: it has no tables of topics and messages")
        qos = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
        definitions = {}
        if self._columns("message_definitions"):
            for kind, encoding, text in self._execute(
                "SELECT topic_type, encoding, encoded_message_definition FROM message_definitions"
            ):
                definitions[kind] = (_text(text), _text(encoding))
        topics = list(self._execute(f"SELECT id, name, type, serialization_format, {qos} FROM topics"))
        counts = self._count()
        channels = []
        for number, name, kind, encoding, offered in topics:
            text, layout = definitions.get(kind, ("", ""))
            if isinstance(number, int):
                texts = _text(name), _text(kind), counts[number], _text(encoding), text, layout, _text(offered)
                channels.append(Channel(number, *texts))
        return channels

    def _columns(self, table: str) -> list[str]:
        """The columns of a table; none of a view or with computed columns, which may give any number of bytes."""
        plain = "SELECT COUNT(*) FROM sqlite_master WHERE name = ? AND type = 'table' AND sql LIKE 'CREATE TABLE%'"
        if next(self._execute(plain, (table,))) == (0,):
            return []
        columns = list(self._execute(f"PRAGMA table_xinfo({table})"))
        return [] if any(hidden for *_, hidden in columns) else [name for _, name, *_ in columns]

    def _count(self) -> Counter[int]:
        counts = Counter[int]()
        previous: dict[int, int] = {}
        # In a truncated file a row may exist while the pages of its data are missing, so read the data too.
        columns = "topic_id, timestamp, data" if self._torn else "topic_id, timestamp"
        damage = "its end is missing" if self._torn else ""
        try:
            for topic, stamp_ns, *_ in self._execute(f"SELECT {columns} FROM messages WHERE {_SOUND} ORDER BY id"):
                counts[topic] += 1
                self._backward.see(previous.get(topic, 0), stamp_ns)
                previous[topic] = stamp_ns
                self._extend(stamp_ns, stamp_ns)
        except _UNREADABLE as error:
            if not (counts or self._torn):
                raise
            self._torn = True
            damage = str(error)
        if damage:
            self._note_damage(damage, counts.total())
        return counts


def _text(value: object) -> str:
    """A text from a column, which may hold a value of any type."""
    return value if isinstance(value, str) else ""
