"""Replays a bag through perception_node, records and evaluates the answers, and exits with the bag.

    ros2 launch gaussian_yolo replay.launch.py bag:=drive.mcap output:=out/run
    ros2 launch gaussian_yolo replay.launch.py bag:=drive.mcap output:=out/run mode:=realtime rate:=2.0 threads:=2

Accepts all arguments of perception.launch.py for the node, except the input: that is the bag.
"""

import runpy
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from gaussian_yolo_node.replay import DECLARATIONS
from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment

HERE = Path(__file__).parent
# Both files convert arguments to parameters in the same way; a launch file cannot be imported by name.
PERCEPTION = runpy.run_path(str(HERE / "perception.launch.py"))

REQUIRED = ("bag", "output")
OPTIONAL = [name for name in DECLARATIONS if name not in (*REQUIRED, "node")]


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, description=DECLARATIONS[name][1]) for name in REQUIRED),
            *(DeclareLaunchArgument(name, default_value="", description=describe(name)) for name in OPTIONAL),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of both nodes."),
            DeclareLaunchArgument("name", default_value="perception", description="Name of the perception node."),
            DeclareLaunchArgument(
                "log_level", default_value="info", description="Log level: debug, info, warn, error or fatal."
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / "perception.launch.py")),
                # The replay configures and activates the node, with the bag's images and the bag's time; one that has
                # ended is a failed replay.
                launch_arguments=[
                    ("autostart", "false"),
                    ("use_sim_time", "true"),
                    ("source", ""),
                    ("respawn", "false"),
                ],
            ),
            OpaqueFunction(function=start_replay),
        ]
    )


def describe(name: str) -> str:
    """The description of an optional argument."""
    default, text = DECLARATIONS[name]
    return f"{text}{' true or false.' if isinstance(default, bool) else ''} Empty: the default."


def start_replay(context: LaunchContext) -> list[Node]:
    """The replay action, once the arguments are known. Raises RuntimeError naming the one that cannot be parsed."""

    def argument(name: str) -> str:
        return str(PERCEPTION["argument"](context, name))

    values: dict[str, object] = {name: PERCEPTION["text_value"](argument(name)) for name in REQUIRED}
    for name in OPTIONAL:
        if text := argument(name):
            values[name] = PERCEPTION["parse"](name, text, type(DECLARATIONS[name][0]))
    return [
        Node(
            package="gaussian_yolo",
            executable="replay_node",
            name="replay",
            namespace=argument("namespace"),
            output="screen",
            parameters=[{**values, "node": PERCEPTION["text_value"](argument("name"))}],
            arguments=["--ros-args", "--log-level", argument("log_level")],
            additional_env=fastdds_environment(HERE),
            on_exit=Shutdown(reason="the replay is over"),
        )
    ]
