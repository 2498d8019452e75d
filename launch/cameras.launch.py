"""Starts cameras_node, which detects in several cameras with one model in one process.

    ros2 launch gaussian_yolo cameras.launch.py params_file:=my_cameras.yaml

The cameras and their parameters come from params_file; see config/cameras.yaml.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment

HERE = Path(__file__).parent


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(HERE / "config" / "cameras.yaml"),
                description="YAML file with the cameras and their parameters.",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of all cameras."),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="Log level: debug, info, warn, error or fatal."
            ),
            OpaqueFunction(function=start_node),
        ]
    )


def start_node(context: LaunchContext) -> list[Node]:
    """The node action, once the arguments are known."""

    def argument(name: str) -> str:
        return str(LaunchConfiguration(name).perform(context))

    params_file = Path(argument("params_file")).expanduser()
    if not params_file.is_file():
        raise RuntimeError(f"params_file: there is no file {params_file}")
    return [
        Node(
            package="gaussian_yolo",
            executable="cameras_node",
            name="perception",
            namespace=argument("namespace"),
            output="screen",
            respawn=True,  # it ends with exit code 75 if a worker is held for ever
            respawn_delay=2.0,
            parameters=[str(params_file)],
            arguments=["--ros-args", "--log-level", argument("log_level")],
            additional_env=fastdds_environment(HERE),
        )
    ]
