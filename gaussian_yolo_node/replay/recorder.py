"""A replay's recording: written in a thread of its own, since a slow disk must not delay frames, and read again for
detections.json, so that memory does not grow with the bag."""

from __future__ import annotations

import queue
import threading
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.bags.typestore import make_typestore
from gaussian_yolo_node.bags.writing import BagWriter
from gaussian_yolo_node.frames.recording import JsonArrayFile, detection_record
from gaussian_yolo_node.replay import ReplayError
from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE, ReplayedFrame
from gaussian_yolo_node.ros.messages import detections_from_message


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
        self._error: Exception | None = None
        self._writer = BagWriter(path, topics, overwrite=True)
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def write(self, topic: str, stamp_ns: int, raw: bytes) -> None:
        """Append a serialised message with the bag time `stamp_ns`. Returns at once."""
        self._queue.put((topic, stamp_ns, raw))

    def check(self) -> None:
        """Raise ReplayError if a message could not be written."""
        if self._error is not None:
            named = isinstance(self._error, BagError)
            raise ReplayError(
                str(self._error) if named else f"{self._path} cannot be written: {self._error}"
            ) from self._error

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            if self._error is None:
                try:
                    topic, stamp_ns, raw = entry
                    if topic in self._kinds:
                        raw = without_gaps(raw, self._kinds[topic])
                    self._writer.write(topic, stamp_ns, raw)
                except Exception as error:  # raised to the player by `check`
                    self._error = error

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._error is None:
            try:
                self._writer.close()
            except BagError as failure:
                self._error = failure
        if self._error is not None:
            self._writer.abort()
        self.check()


def without_gaps(raw: bytes, kind: str) -> bytes:
    """A serialised message of a ROS 2 type or a type of this package, with zeros in the padding between its fields."""
    store = make_typestore()
    return bytes(store.serialize_cdr(store.deserialize_cdr(raw, kind), kind))


def write_detections(folder: Path, topic: str, frames: Iterable[ReplayedFrame]) -> None:
    """Write detections.json, one record per answered frame, from the recorded answers.

    Args:
        folder: folder of the run.
        topic: topic of the answers.
        frames: in the order of publication, like the answers.

    Raises:
        RecordingError: the file cannot be written.
        BagError: the recording cannot be read.
    """
    answered = (frame for frame in frames if frame.answered_s is not None)
    with JsonArrayFile(folder / DETECTIONS_FILE) as file, BagReader(folder / ANSWERS_FILE) as reader:
        if topic not in reader.topics:  # no frame was answered
            return
        for frame, message in zip(answered, reader.messages({topic}), strict=True):
            file.append(_record(frame, message.decode()))


def _record(frame: ReplayedFrame, message: Any) -> dict[str, Any]:
    names = tuple(sorted({result.hypothesis.class_id for box in message.detections for result in box.results}))
    boxes = detections_from_message(message, names)
    # The message groups a box's classes; the detector orders by score.
    by_score = boxes[(-boxes.scores).argsort(kind="stable")]
    return detection_record(frame.name, (frame.height, frame.width), by_score, names)
