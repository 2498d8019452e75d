from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from gaussian_yolo_node.ros.parameter_table import PARAMETERS, PerceptionParameters, generated_files

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_field_is_in_the_table() -> None:
    assert list(PARAMETERS) == [field.name for field in fields(PerceptionParameters)]


def test_the_generated_files_are_up_to_date() -> None:
    stale = [str(path) for path, text in generated_files(REPOSITORY).items() if path.read_text("utf-8") != text]
    assert not stale, f"{stale}: run `make parameters`"


def test_launch_files_can_import_the_table_without_ros_nodes() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('rclpy', 'rcl_interfaces', 'vision_msgs')));"
        "import gaussian_yolo_node.ros.parameter_table"
    )
    subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, check=True)
