"""Starts perception_node, which turns frames from a camera, file, URL or image topic into detections with uncertainty.

    ros2 launch gaussian_yolo perception.launch.py source:=drive.mp4
    ros2 launch gaussian_yolo perception.launch.py image_topic:=/camera/image_raw namespace:=front

Parameters come from params_file. A non-empty argument overrides the file's value.
"""

import os
from collections.abc import Callable
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

HERE = Path(__file__).parent

# Fast DDS 2 (Humble, Jazzy) reads the first, Fast DDS 3 (Kilted) the second.
FASTDDS_PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


# Argument and parameter name -> (parser, description)
PARAMETERS: dict[str, tuple[Callable[[str], object], str]] = {
    "source": (
        str,
        "Where frames come from: camera index, video file, image folder, URL (rtsp://...) or GStreamer "
        "pipeline. Clears image_topic.",
    ),
    "image_topic": (str, "Topic of images to subscribe to instead of a source. Clears source."),
    "image_transport": (str, "raw (sensor_msgs/Image) or compressed (sensor_msgs/CompressedImage)."),
    "reliability": (str, "Reliability of the image subscription: best_effort or reliable."),
    "frame_id": (str, "frame_id of frames read from source; images from a topic keep their own."),
    "playback": (str, "How a video or folder is played: realtime, or fastest (every frame)."),
    "playback_fps": (float, "Frames per second of realtime playback; 0: the video's own, 10 for a folder."),
    "loop": (boolean, "Start a video or folder again when it ends: true or false."),
    "model": (str, "Name of a shipped model, or path of an ONNX file with a model card."),
    "runtime": (str, "What runs the model: auto, openvino, onnxruntime or tensorrt."),
    "threads": (int, "CPU threads of the runtime; 0: all cores."),
    "precision": (str, "Arithmetic of the runtime: auto, fp32 or bf16."),
    "score_threshold": (float, "Detections below this score are dropped, in [0, 1); 0: the model card's."),
    "iou_threshold": (
        float,
        "Overlap above which a weaker box of its class is dropped; 0: the model card's.",
    ),
    "variance_vote": (boolean, "Merge suppressed boxes into the kept one, by variance: true or false."),
    "criterion": (str, "What a score is: gaussian (with the uncertainty term) or confidence (without)."),
    "autostart": (boolean, "Configure and activate on start: true; wait for a lifecycle manager: false."),
    "use_sim_time": (boolean, "Take the time from /clock: true or false."),
}

KINDS = {float: "a number", int: "a whole number", boolean: "true or false"}


def generate_launch_description() -> LaunchDescription:
    def optional(name: str, text: str) -> DeclareLaunchArgument:
        return DeclareLaunchArgument(name, default_value="", description=f"{text} Empty: as in params_file.")

    return LaunchDescription(
        [
            *(optional(name, text) for name, (_, text) in PARAMETERS.items()),
            DeclareLaunchArgument(
                "params_file",
                default_value=str(HERE / "config" / "perception.yaml"),
                description="YAML file with the node's parameters.",
            ),
            DeclareLaunchArgument("namespace", default_value="", description="Namespace of node and topics."),
            DeclareLaunchArgument("name", default_value="perception", description="Name of the node."),
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
            executable="perception_node",
            name=argument("name"),
            namespace=argument("namespace"),
            output="screen",
            respawn=False,
            parameters=[str(params_file), overrides({name: argument(name) for name in PARAMETERS})],
            arguments=["--ros-args", "--log-level", argument("log_level")],
            additional_env=fastdds_profile(),
        )
    ]


def overrides(arguments: dict[str, str]) -> dict[str, object]:
    """Parameters set by arguments, by name. Raises RuntimeError naming the argument that cannot be parsed."""
    # The node takes one input: the argument replaces the input in params_file.
    if arguments["source"] and arguments["image_topic"]:
        raise RuntimeError("source and image_topic are both given: the node takes one of them")
    values: dict[str, object] = {}
    if arguments["source"] or arguments["image_topic"]:
        values = {name: text_value("") for name in ("source", "image_topic") if not arguments[name]}

    for name, text in arguments.items():
        if not text:
            continue
        read = PARAMETERS[name][0]
        try:
            values[name] = text_value(text) if read is str else read(text)
        except ValueError:
            raise RuntimeError(f"{name}:={text} is not {KINDS[read]}") from None
    return values


def text_value(text: str) -> ParameterValue:
    """A string parameter: launch would turn a camera index into a number."""
    return ParameterValue(text, value_type=str)


def fastdds_profile() -> dict[str, str]:
    """Environment that makes Fast DDS use the shipped profile, unless the user has set one."""
    if any(name in os.environ for name in FASTDDS_PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(FASTDDS_PROFILE_VARIABLES, str(HERE / "fastdds_shm.xml"))
