"""Message types from ROS 2, from this package, and from the definitions in a bag."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.interfaces import Nodetype
from rosbags.interfaces.typing import Typesdict
from rosbags.serde import SerdeError
from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from gaussian_yolo_node.bags import BagError
from gaussian_yolo_node.bags.ros1_types import Ros1Types
from gaussian_yolo_node.bags.storage import Channel

MESSAGE_FOLDER = Path(__file__).parents[1] / "ros" / "interfaces" / "vision_msgs" / "msg"

# Errors that rosbags raises for bytes that are not a message of the type.
_MALFORMED = (SerdeError, ValueError, IndexError, AssertionError, KeyError, TypesysError, struct.error)
# Separator between the parts of an IDL definition, as written by rosbag2.
_IDL_RULE = "=" * 80 + "\n"


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
        channels: of the bag; a definition that cannot be parsed counts as missing.
    """

    def __init__(self, channels: Iterable[Channel]) -> None:
        types: dict[str, Any] = {}
        ros1 = False
        for channel in channels:
            ros1 |= channel.encoding == "ros1"
            try:
                types.update(_parse(channel))
            except (TypesysError, ValueError, AttributeError):
                continue
        # A bag never mixes ROS 1 and ROS 2 encodings.
        self._ros1 = Ros1Types(types, _ros2_with(types)) if ros1 else None
        self._stores = [self._ros1.target] if self._ros1 else [*_of_bag(types), make_typestore()]
        self._store_of: dict[str, Typestore | None] = {}

    def knows(self, kind: str) -> bool:
        """Whether messages of a type can be decoded."""
        return self._store(kind) is not None

    def has_header(self, kind: str) -> bool:
        """Whether messages of a type begin with a std_msgs/Header."""
        store = self._store(kind)
        fields = store.fielddefs[kind][1] if store else []
        return bool(fields) and fields[0][1] == (Nodetype.NAME, "std_msgs/msg/Header")

    def decode(self, raw: bytes, kind: str) -> Any:
        """The message as an object with the type's fields.

        Raises:
            BagError: the type is unknown, or the bytes are not a message of that type.
        """
        store = self._store(kind)
        if store is None:
            raise BagError(f"message type {kind} is unknown, and the bag does not define it")
        try:
            return store.deserialize_cdr(raw, kind)
        except _MALFORMED as error:
            raise BagError(f"a message is not a {kind}: {error}") from error

    def from_ros1(self, raw: bytes, kind: str) -> bytes:
        """Convert a serialised ROS 1 message to ROS 2's serialisation.

        Raises:
            BagError: the type is unknown, or the bytes are not a message of that type.
        """
        if self._ros1 is None or not self.knows(kind):
            raise BagError(f"message type {kind} is unknown, and the bag does not define it")
        try:
            return self._ros1.converted(raw, kind)
        except _MALFORMED as error:
            raise BagError(f"a message is not a {kind}: {error}") from error

    def _store(self, kind: str) -> Typestore | None:
        if kind not in self._store_of:
            self._store_of[kind] = next((store for store in self._stores if _is_complete(store, kind)), None)
        return self._store_of[kind]


def _ros2_with(types: Typesdict) -> Typestore:
    """ROS 2's types, and the types of a bag that ROS 2 lacks."""
    store = make_typestore()
    own = {name: fields for name, fields in types.items() if name not in store.fielddefs}
    if not own:
        return store
    extended = _ros2_types()
    try:
        extended.register(own)
    except TypesysError:  # a definition refers to a missing type
        return store
    return extended


def _of_bag(types: Typesdict) -> list[Typestore]:
    """A typestore of a bag's definitions; none if they equal those of ROS 2, whose code is already generated."""
    known = make_typestore().fielddefs
    if all(name in known and known[name][1] == fields for name, (_, fields) in types.items()):
        return []
    store = get_typestore(Stores.EMPTY)
    try:
        store.register(types)
    except TypesysError:  # a definition refers to a missing type
        return []
    return [store]


def _is_complete(store: Typestore, kind: str) -> bool:
    """Whether a typestore has a type and all types of its fields."""
    try:
        store.get_msgdef(kind)
    except (TypesysError, KeyError):
        return False
    return True


def _parse(channel: Channel) -> Typesdict:
    if channel.definition_format == "msg":
        return get_types_from_msg(channel.definition, channel.type)
    types: Typesdict = {}
    if channel.definition_format == "idl":
        parts = channel.definition.split(_IDL_RULE)[1:] if channel.definition.startswith(_IDL_RULE) else []
        for part in parts or [channel.definition]:
            types.update(get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part))
    return types
