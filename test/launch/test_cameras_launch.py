"""launch/cameras.launch.py: the node it starts, and the parameter file it ships."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gaussian_yolo_node.ros.parameter_table import PARAMETERS

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


def test_one_node_with_the_file_of_cameras(evaluate: Callable[..., Any], tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("/**: {}")
    for arguments, file in (({}, LAUNCH / "config" / "cameras.yaml"), ({"params_file": str(own)}, own)):
        [node] = evaluate("cameras.launch.py", {"namespace": "car", **arguments}).nodes
        assert (node.package, node.executable, node.namespace) == ("gaussian_yolo", "cameras_node", "car")
        assert node.parameters == [str(file)]
        assert node.respawn


def test_a_missing_file_is_named(evaluate: Callable[..., Any]) -> None:
    with pytest.raises(RuntimeError, match=r"there is no file /nowhere\.yaml"):
        evaluate("cameras.launch.py", {"params_file": "/nowhere.yaml"})


def test_the_shipped_file_sets_parameters_that_exist() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from gaussian_yolo_node.ros.cameras_node import camera_settings

    values = yaml.safe_load((LAUNCH / "config" / "cameras.yaml").read_text())["/**"]["ros__parameters"]
    flat = {}
    for name, value in values.items():
        flat |= {f"{name}.{key}": entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}
    settings = camera_settings(flat)
    assert list(settings) == values["cameras"]
    for camera in settings.values():
        assert camera.keys() <= PARAMETERS.keys()
