"""Convert ROS 1 messages to ROS 2: no `seq` in headers, lower-case field names, vision_msgs version 4."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.store import Typestore

# numpy dtype of an array field that the ROS 1 message lacks, by message type; other types have numpy's names.
_DTYPES = {"bool": "?", "byte": "u1", "char": "u1", "octet": "u1"}
_NOTHING = SimpleNamespace()


def ros2_message(source: Any, kind: str, target: Typestore) -> Any:
    """The ROS 2 message with the field values of a ROS 1 message or of any object; fields it lacks are 0 or empty."""
    if kind == "vision_msgs/msg/ObjectHypothesisWithPose" and hasattr(source, "id"):
        hypothesis = SimpleNamespace(class_id=str(source.id), score=source.score)
        source = SimpleNamespace(hypothesis=hypothesis, pose=source.pose)
    elif kind == "vision_msgs/msg/Pose2D" and hasattr(source, "x"):
        source = SimpleNamespace(position=source, theta=getattr(source, "theta", 0.0))
    values = {name.lower(): value for name, value in vars(source).items()}
    _, fields = target.fielddefs[kind]
    return target.types[kind](**{name: _value(values.get(name.lower()), kind, target) for name, kind in fields})


def _value(source: Any, definition: Any, target: Typestore) -> Any:
    """A field's value; `source` is None if the ROS 1 message lacks it."""
    node, details = definition
    if node == Nodetype.NAME:
        return ros2_message(_NOTHING if source is None else source, details, target)
    if node == Nodetype.BASE:
        return source if source is not None else "" if details[0] in ("string", "wstring") else 0
    item, length = details
    count = length if node == Nodetype.ARRAY else 0
    if item[0] == Nodetype.NAME:
        return [_value(value, item, target) for value in ([None] * count if source is None else source)]
    if source is not None:
        return source
    kind = item[1][0]
    return [""] * count if kind in ("string", "wstring") else np.zeros(count, _DTYPES.get(kind, kind))
