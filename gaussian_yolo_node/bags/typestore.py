"""Message types from ROS 2, from this package, and from the definitions in a bag."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from gaussian_yolo_node.bags import CAMERA_INFO, COMPRESSED_IMAGE, IMAGE, STRING, BagError
from gaussian_yolo_node.bags.definitions import check_types, parse_definition
from gaussian_yolo_node.bags.ros1_types import ros2_message
from gaussian_yolo_node.bags.storage import Channel

MESSAGE_FOLDER = Path(__file__).parents[1] / "ros" / "interfaces" / "vision_msgs" / "msg"

# Errors that rosbags raises for bytes that are not a message of the type.
_MALFORMED = (
    SerdeError, ValueError, LookupError, AssertionError, TypesysError, struct.error, TypeError, AttributeError,
    OverflowError,
)  # fmt: skip
# Types of which this package reads the fields.
_READ = (IMAGE, COMPRESSED_IMAGE, CAMERA_INFO, STRING)


@cache
def make_typestore() -> Typestore:
    """ROS 2 Jazzy's message types and vision_msgs 4.1, which this package publishes. Shared: do not register types."""
    return _ros2_types()


def _ros2_types() -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(MESSAGE_FOLDER.glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"vision_msgs/msg/{path.stem}"))
    store.register(types)
    return store


class MessageTypes:
    """The types of one bag: as defined in the bag, else as in ROS 2.

    Args:
        channels: of the bag. A type whose definition cannot be parsed is unknown, even if ROS 2 has one of its name:
            its messages may be others.

    Raises:
        BagError: a definition is refused; see `definitions`.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        types: dict[str, Any] = {}
        ros1 = False
        self._unparsed: set[str] = set()
        self._store_of: dict[str, Typestore] = {}
        for channel in channels:
            ros1 |= channel.encoding == "ros1"
            parsed = parse_definition(channel)
            types.update(parsed)
            if channel.definition.strip() and not parsed:
                self._unparsed.add(channel.type)
        check_types(types, ros1=ros1)
        known = make_typestore().fielddefs
        # A bag never mixes ROS 1 and ROS 2 encodings.
        if ros1:
            self._ros1 = _registered(get_typestore(Stores.EMPTY), types)
            lacking = {name: fields for name, fields in types.items() if name not in known}
            self._stores = [_registered(_ros2_types(), lacking) if lacking else make_typestore()]
        elif all(name in known and known[name][1] == fields for name, (_, fields) in types.items()):
            self._stores = [make_typestore()]  # whose code is already generated
        else:
            self._stores = [_registered(get_typestore(Stores.EMPTY), types), make_typestore()]

    def knows(self, kind: str) -> bool:
        """Whether messages of a type can be decoded."""
        return not self.why_unknown(kind)

    def why_unknown(self, kind: str) -> str:
        """Why messages of a type cannot be decoded: "it ..."; empty if they can."""
        if kind in self._unparsed:
            return "is unknown, as its definition in the bag cannot be read"
        store = next((store for store in self._stores if _is_complete(store, kind)), None)
        if store is None:
            return "is unknown, and the bag does not define it"
        # A bag may define these types otherwise than ROS 2 does.
        wanted = make_typestore().fielddefs[kind][1] if kind in _READ else []
        absent = [name for name, details in wanted if (name, details) not in store.fielddefs[kind][1]]
        return f"lacks {', '.join(absent)} as the bag defines it" if absent else ""

    def has_header(self, kind: str) -> bool:
        """Whether messages of a type begin with a std_msgs/Header."""
        fields = self._store(kind).fielddefs[kind][1] if self.knows(kind) else []
        return bool(fields) and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")

    def decode(self, raw: bytes, kind: str) -> Any:
        """The message as an object with the type's fields. BagError if the type is unknown, or the bytes are not a
        message of that type."""
        store = self._store(kind)
        with _malformed(kind):
            return store.deserialize_cdr(raw, kind)

    def from_ros1(self, raw: bytes, kind: str) -> bytes:
        """Convert a serialised ROS 1 message to ROS 2's serialisation; raises as `decode`."""
        store = self._store(kind)
        with _malformed(kind):
            message = ros2_message(self._ros1.deserialize_ros1(raw, kind), kind, store)
            return bytes(store.serialize_cdr(message, kind))

    def _store(self, kind: str) -> Typestore:
        if kind not in self._store_of:
            if why := self.why_unknown(kind):
                raise BagError(f"message type {kind} {why}")
            self._store_of[kind] = next(store for store in self._stores if _is_complete(store, kind))
        return self._store_of[kind]


@contextlib.contextmanager
def _malformed(kind: str) -> Iterator[None]:
    try:
        yield
    except _MALFORMED as error:
        raise BagError(f"a message is not a {kind}: {error}") from error


@lru_cache(maxsize=8)
def message_types(channels: tuple[Channel, ...]) -> MessageTypes:
    """The types of a bag, kept for the next time it is opened: a command opens one several times."""
    return MessageTypes(channels)


def _registered(store: Typestore, types: Typesdict) -> Typestore:
    """The typestore with more types; without them if one of them refers to a missing type."""
    # Its code for names and values that are none is no Python.
    with contextlib.suppress(TypesysError, SyntaxError, NameError, *_MALFORMED):
        store.register(types)
    return store


def _is_complete(store: Typestore, kind: str) -> bool:
    """Whether a typestore has a type and all types of its fields."""
    try:
        store.get_msgdef(kind)
    except (TypesysError, SyntaxError, NameError, *_MALFORMED):
        return False
    return True
