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

from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment

HERE = Path(__file__).parent
# Both files convert arguments to parameters in the same way; a launch file cannot be imported by name.
PERCEPTION = runpy.run_path(str(HERE / "perception.launch.py"))

# Argument and parameter name -> (type, description)
REQUIRED: dict[str, str] = {
    "bag": "ROS 2 bag (folder, .mcap, .db3) or ROS 1 .bag.",
    "output": "Folder for the results.",
}
OPTIONAL: dict[str, tuple[type, str]] = {
    "mode": (str, "lockstep: the next frame waits for the answer to the last; realtime: it comes in its time."),
    "rate": (float, "In real time, speed against the bag's own."),
    "hz": (float, "In real time, frames a second, whatever the bag says."),
    "image_topic": (str, "Topic in the bag."),
    "score_threshold": (
        float,
        "Detections below this score are dropped; 0: the model's, 0.005 in lockstep with truth.",
    ),
    "timeout": (float, "In lockstep, time in s after which a frame without an answer counts as failed."),
    "overwrite": (bool, "Replace the run that is in the folder: true or false."),
    "report": (bool, "Write report.html and report.json: true or false."),
    "baseline": (str, "Folder of a run to compare with in the report."),
}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            *(DeclareLaunchArgument(name, description=text) for name, text in REQUIRED.items()),
            *(
                DeclareLaunchArgument(name, default_value="", description=f"{text} Empty: the default.")
                for name, (_, text) in OPTIONAL.items()
            ),
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


def start_replay(context: LaunchContext) -> list[Node]:
    """The replay action, once the arguments are known. Raises RuntimeError naming the one that cannot be parsed."""

    def argument(name: str) -> str:
        return str(PERCEPTION["argument"](context, name))

    values: dict[str, object] = {name: PERCEPTION["text_value"](argument(name)) for name in REQUIRED}
    for name, (kind, _) in OPTIONAL.items():
        if text := argument(name):
            values[name] = PERCEPTION["parse"](name, text, kind)
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
