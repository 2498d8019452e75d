"""Starts cameras_node, which detects in several cameras with one model in one process.

    ros2 launch gaussian_yolo cameras.launch.py params_file:=my_cameras.yaml

The cameras and their parameters come from params_file; see config/cameras.yaml.
"""

import runpy
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

# Both files start a node in the same way; a launch file cannot be imported by name.
PERCEPTION = runpy.run_path(str(Path(__file__).with_name("perception.launch.py")))


def generate_launch_description() -> LaunchDescription:
    arguments = PERCEPTION["common_arguments"]("cameras.yaml", "the cameras and their parameters", "all cameras")
    return LaunchDescription([*arguments, OpaqueFunction(function=start_node)])


def start_node(context: LaunchContext) -> list[Node]:
    """The node action, once the arguments are known."""
    return [PERCEPTION["node_action"](context, "cameras_node", "perception", True)]
