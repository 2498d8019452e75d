"""Writes messages to a bag in its own thread: a slow disk must not delay frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.typestore import make_typestore
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.replay import ReplayError


class Recorder:
    """A bag that is written during a replay; leaving the context manager closes it.

    Args:
        path: the .mcap file.
        topics: message type by topic.
        repeatable: topics whose equal messages are written as equal bytes. The middleware leaves arbitrary memory in
            the padding between fields. Clearing it takes time that a real-time replay cannot spare.

    Raises:
        ReplayError: the bag cannot be written; also raised by `check` and on leaving.
    """

    def __init__(self, path: Path, topics: Mapping[str, str], *, repeatable: Collection[str] = ()) -> None:
        self._path = path
        self._kinds = {topic: topics[topic] for topic in repeatable}
        self._queue: queue.SimpleQueue[tuple[str, int, bytes] | None] = queue.SimpleQueue()
        self._trouble: Exception | None = None
        self._writer = BagWriter(path, topics, overwrite=True)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def write(self, topic: str, stamp_ns: int, raw: bytes) -> None:
        """Append a serialised message with the bag time `stamp_ns`. Returns at once."""
        self._queue.put((topic, stamp_ns, raw))

    def check(self) -> None:
        """Raise ReplayError if a message could not be written."""
        if self._trouble is not None:
            named = isinstance(self._trouble, BagError)
            told = str(self._trouble) if named else f"{self._path} cannot be written: {self._trouble}"
            raise ReplayError(told) from self._trouble

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            if self._trouble is None:
                try:
                    topic, stamp_ns, raw = entry
                    if topic in self._kinds:
                        raw = without_gaps(raw, self._kinds[topic])
                    self._writer.write(topic, stamp_ns, raw)
                except Exception as error:  # raised to the player by `check`
                    self._trouble = error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._trouble is None:
            try:
                self._writer.close()
            except BagError as failure:
                self._trouble = failure
        if self._trouble is not None:
            self._writer.abort()
        self.check()


def without_gaps(raw: bytes, kind: str) -> bytes:
    """A serialised message of a ROS 2 type or a type of this package, with zeros in the padding between its fields."""
    store = make_typestore()
    return bytes(store.serialize_cdr(store.deserialize_cdr(raw, kind), kind))
