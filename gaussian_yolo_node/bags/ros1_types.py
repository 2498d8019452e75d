"""Convert ROS 1 messages to ROS 2: no `seq` in headers, lower-case field names, vision_msgs version 4."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys import Stores, TypesysError, get_typestore
from rosbags.typesys.store import Typestore

# numpy dtype of an array field that the ROS 1 message lacks, by message type; other types have numpy's names.
_DTYPES = {"bool": "?", "byte": "u1", "char": "u1", "octet": "u1"}


class Ros1Types:
    """Converts the messages of a ROS 1 bag to ROS 2.

    Args:
        types: definitions from the bag, as parsed by rosbags.
        target: ROS 2's types, and the types of the bag that ROS 2 lacks.
    """

    def __init__(self, types: Mapping[str, Any], target: Typestore) -> None:
        self.target = target
        # A ROS 1 bag defines all types of its messages.
        self._source = get_typestore(Stores.EMPTY)
        with contextlib.suppress(TypesysError):
            self._source.register(dict(types))

    def converted(self, raw: bytes, kind: str) -> bytes:
        """Convert a serialised ROS 1 message to ROS 2's serialisation. Errors of rosbags are not caught."""
        message = self._source.deserialize_ros1(raw, kind)
        return bytes(self.target.serialize_cdr(self._message(message, kind), kind))

    def _message(self, source: Any, kind: str) -> Any:
        """The ROS 2 message with the field values of the source; fields that the source lacks are 0 or empty."""
        if kind == "vision_msgs/msg/ObjectHypothesisWithPose" and not hasattr(source, "hypothesis"):
            hypothesis = SimpleNamespace(class_id=str(source.id), score=source.score)
            source = SimpleNamespace(hypothesis=hypothesis, pose=source.pose)
        elif kind == "vision_msgs/msg/Pose2D" and not hasattr(source, "position"):
            source = SimpleNamespace(position=source, theta=getattr(source, "theta", 0.0))
        values = {name.lower(): value for name, value in vars(source).items()}
        _, fields = self.target.fielddefs[kind]
        return self.target.types[kind](
            **{name: self._value(values.get(name.lower()), definition) for name, definition in fields}
        )

    def _value(self, source: Any, definition: Any) -> Any:
        node, details = definition
        if node == Nodetype.BASE:
            return source if source is not None else "" if details[0] in ("string", "wstring") else 0
        if node == Nodetype.NAME:
            return self._message(SimpleNamespace() if source is None else source, details)
        (inner, inner_details), length = details
        if inner == Nodetype.NAME:
            items = [None] * (length if node == Nodetype.ARRAY else 0) if source is None else source
            return [self._value(item, (inner, inner_details)) for item in items]
        if source is not None:
            return source
        count = length if node == Nodetype.ARRAY else 0
        if inner_details[0] in ("string", "wstring"):
            return [""] * count
        return np.zeros(count, _DTYPES.get(inner_details[0], inner_details[0]))
