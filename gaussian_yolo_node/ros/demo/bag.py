"""Detections and annotated frames as a ROS 2 bag in one .mcap file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

MESSAGE_FOLDER = Path(__file__).parents[1] / "interfaces" / "vision_msgs" / "msg"


def make_typestore() -> Typestore:
    """ROS 2 Jazzy's message types and the vision_msgs that this package publishes."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(MESSAGE_FOLDER.glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(), f"vision_msgs/msg/{path.stem}"))
    store.register(types)
    return store


class BagFile:
    """Writes serialised messages to `path`; the file appears when the writer is closed.

    Args:
        path: the .mcap file.
        topics: message type by topic.
    """

    def __init__(self, path: Path, topics: Mapping[str, str]) -> None:
        self._path = path
        # rosbags writes a folder with metadata beside the file; one file is handier and reads as well.
        self._scratch = Path(tempfile.mkdtemp(prefix="bag_", dir=path.parent))
        self._writer = Writer(self._scratch / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        store = make_typestore()
        self._connections = {
            topic: self._writer.add_connection(topic, kind, typestore=store) for topic, kind in topics.items()
        }

    def write(self, topic: str, timestamp_ns: int, raw: bytes) -> None:
        """Append a message that was published at `timestamp_ns`."""
        self._writer.write(self._connections[topic], timestamp_ns, raw)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
        (self._scratch / "bag" / "bag.mcap").replace(self._path)
        shutil.rmtree(self._scratch)

    def __enter__(self) -> BagFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_bag(path: Path, topic: str) -> Iterator[Any]:
    """Messages of one topic, in order."""
    with AnyReader([path], default_typestore=make_typestore()) as reader:
        connections = [connection for connection in reader.connections if connection.topic == topic]
        for connection, _, raw in reader.messages(connections):
            yield reader.deserialize(raw, connection.msgtype)
