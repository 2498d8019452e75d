"""The layouts for rviz and Foxglove: what their readers need, and that they show images, boxes and health."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
CAMERA = "/camera/image_raw"

# rviz_common's names of the policies.
POLICIES = {
    "Reliability Policy": {"Reliable", "Best Effort", "System Default"},
    "History Policy": {"Keep Last", "Keep All", "System Default"},
    "Durability Policy": {"Volatile", "Transient Local", "System Default"},
}
# Panel -> the settings without which it shows nothing.
PANELS = {
    "Image": {"imageMode"},
    "RawMessages": {"topicPath"},
    "DiagnosticSummary": {"topicToRender", "minLevel", "pinnedIds", "hardwareIdFilter"},
    "Plot": {"paths", "xAxisVal"},
    "RosOut": {"topicToRender", "minLogLevel", "searchTerms"},
}


@pytest.fixture(scope="module")
def rviz() -> dict[str, Any]:
    return dict(yaml.safe_load((LAUNCH / "perception.rviz").read_text()))


@pytest.fixture(scope="module")
def foxglove() -> dict[str, Any]:
    return dict(json.loads((LAUNCH / "perception_foxglove.json").read_text()))


def test_rviz_finds_its_sections(rviz: dict[str, Any]) -> None:
    assert set(rviz) == {"Panels", "Visualization Manager", "Window Geometry"}
    assert all({"Class", "Name"} <= set(panel) for panel in rviz["Panels"])
    manager = rviz["Visualization Manager"]
    assert {
        "Class",
        "Displays",
        "Enabled",
        "Global Options",
        "Name",
        "Tools",
        "Transformation",
        "Value",
        "Views",
    } == set(manager)
    assert set(manager["Global Options"]) == {"Background Color", "Fixed Frame", "Frame Rate"}
    assert manager["Views"]["Current"]["Class"] == "rviz_default_plugins/Orbit"
    assert manager["Transformation"]["Current"]["Class"] == "rviz_default_plugins/TF"


def test_rviz_shows_boxes_and_camera(rviz: dict[str, Any]) -> None:
    displays = rviz["Visualization Manager"]["Displays"]
    assert {each["Name"]: each["Topic"]["Value"] for each in displays} == {
        "Detections": "/perception/image_annotated",
        "Camera": CAMERA,
    }
    for display in displays:
        assert display["Class"] == "rviz_default_plugins/Image"
        assert display["Enabled"] is display["Value"] is True
        topic = display["Topic"]
        assert topic["Depth"] >= 1
        assert all(topic[name] in values for name, values in POLICIES.items())
        assert topic["Reliability Policy"] == "Best Effort"  # cameras publish so, and it reads reliable topics, too


def test_rviz_places_every_display(rviz: dict[str, Any]) -> None:
    window = rviz["Window Geometry"]
    assert all(isinstance(window[side], int) for side in ("Height", "Width", "X", "Y"))
    state = bytes.fromhex(window["QMainWindow State"])
    assert state.startswith(bytes.fromhex("000000ff00000000fd"))  # QMainWindow's marker, version and docks
    for name in ("Displays", "Detections", "Camera"):
        assert name.encode("utf-16-be") in state
        assert window[name] == {"collapsed": False}
    # What is unfolded in the list of displays is there.
    named = {"/" + each["Name"] + "1" for each in rviz["Visualization Manager"]["Displays"]}
    assert {re.match(r"/[^/]+", path)[0] for path in rviz["Panels"][0]["Property Tree Widget"]["Expanded"]} == named  # type: ignore[index]


def leaves(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
        return
    assert set(node) == {"direction", "splitPercentage", "first", "second"}
    assert node["direction"] in ("row", "column") and 0 < node["splitPercentage"] < 100
    yield from leaves(node["first"])
    yield from leaves(node["second"])


def test_foxglove_finds_its_sections_and_panels(foxglove: dict[str, Any]) -> None:
    assert set(foxglove) == {"configById", "globalVariables", "userNodes", "playbackConfig", "layout"}
    placed = list(leaves(foxglove["layout"]))
    assert sorted(placed) == sorted(foxglove["configById"])  # each panel once
    for name, config in foxglove["configById"].items():
        assert re.fullmatch(r"\w+!\w+", name)
        assert PANELS[name.partition("!")[0]] <= set(config), name


def test_foxglove_shows_images_boxes_and_health(foxglove: dict[str, Any]) -> None:
    panels = foxglove["configById"]
    assert panels["Image!detections"]["imageMode"]["imageTopic"] == "/perception/image_annotated/compressed"
    assert panels["Image!camera"]["imageMode"]["imageTopic"] == CAMERA
    assert panels["RawMessages!detections"]["topicPath"].startswith("/perception/detections.")
    assert panels["DiagnosticSummary!health"]["topicToRender"] == "/diagnostics"
    for name in ("Plot!age", "Plot!rate"):
        for path in panels[name]["paths"]:
            assert {"value", "enabled", "timestampMethod"} <= set(path)
            assert re.fullmatch(r'/diagnostics\.status\[:\]\.values\[:\]\{key=="\w+"\}\.value', path["value"])
