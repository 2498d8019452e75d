"""Message packages that no wheel brings, as modules of plain classes with the released fields.

Fields and constants are those of foxglove_msgs (`ros_foxglove_msgs/ros2/*.msg` of github.com/foxglove/schemas),
tier4_perception_msgs (github.com/tier4/tier4_autoware_msgs) and autoware_perception_msgs
(github.com/autowarefoundation/autoware_msgs).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header


def message(name: str, fields: dict[str, Callable[[], Any]], **constants: int) -> type:
    """A class that takes its fields as keywords, and refuses other names and other types."""

    def initialise(self: Any, **values: Any) -> None:
        for field, default in fields.items():
            setattr(self, field, values.pop(field, default()))
        assert not values, f"{name} has no {', '.join(values)}"

    def check(self: Any, field: str, value: Any) -> None:
        assert type(value) is type(fields[field]()), f"{name}.{field} is a {type(value).__name__}"
        object.__setattr__(self, field, value)

    return type(name, (), {"__slots__": tuple(fields), "__init__": initialise, "__setattr__": check, **constants})


def foxglove_msgs(*, with_timestamp: bool = False) -> ModuleType:
    """`foxglove_msgs.msg`; the annotations of later releases have a timestamp of their own."""
    module = ModuleType("foxglove_msgs.msg")
    point = message("Point2", {"x": float, "y": float})
    colour = message("Color", {"r": float, "g": float, "b": float, "a": float})
    of_points = {"timestamp": Time, "type": int, "points": list, "outline_color": colour, "outline_colors": list}
    of_texts = {"timestamp": Time, "position": point, "text": str, "font_size": float, "text_color": colour}
    constants = {"UNKNOWN": 0, "POINTS": 1, "LINE_LOOP": 2, "LINE_STRIP": 3, "LINE_LIST": 4}
    of_all = {"circles": list, "points": list, "texts": list}
    for each in (
        point,
        colour,
        message("PointsAnnotation", {**of_points, "fill_color": colour, "thickness": float}, **constants),
        message("TextAnnotation", {**of_texts, "background_color": colour}),
        message("ImageAnnotations", {"timestamp": Time, **of_all} if with_timestamp else of_all),
    ):
        setattr(module, each.__name__, each)
    return module


def autoware_perception_msgs() -> ModuleType:
    """`autoware_perception_msgs.msg`, without kinematics and shapes."""
    module = ModuleType("autoware_perception_msgs.msg")
    labels = ("UNKNOWN", "CAR", "TRUCK", "BUS", "TRAILER", "MOTORCYCLE", "BICYCLE", "PEDESTRIAN", "ANIMAL", "HAZARD")
    constants = {label: number for number, label in enumerate(labels)}
    for each in (
        message("ObjectClassification", {"label": int, "probability": float}, **constants),
        message("DetectedObject", {"existence_probability": float, "classification": list}),
    ):
        setattr(module, each.__name__, each)
    return module


def tier4_perception_msgs(autoware: ModuleType) -> ModuleType:
    """`tier4_perception_msgs.msg`, without point clouds."""
    module = ModuleType("tier4_perception_msgs.msg")
    feature = message("Feature", {"roi": RegionOfInterest})
    for each in (
        feature,
        message("DetectedObjectWithFeature", {"object": autoware.DetectedObject, "feature": feature}),
        message("DetectedObjectsWithFeature", {"header": Header, "feature_objects": list}),
    ):
        setattr(module, each.__name__, each)
    return module


def install(monkeypatch: pytest.MonkeyPatch, *modules: ModuleType) -> None:
    """Make the modules importable for one test."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module.__name__.partition(".")[0], ModuleType("package"))
        monkeypatch.setitem(sys.modules, module.__name__, module)
