"""Starts perception_node, which turns frames from a camera, file, URL or image topic into detections with uncertainty.

    ros2 launch gaussian_yolo perception.launch.py source:=drive.mp4
    ros2 launch gaussian_yolo perception.launch.py image_topic:=/camera/image_raw namespace:=front

Parameters come from params_file. A non-empty argument overrides the file's value.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from gaussian_yolo_node.ros.fastdds_profile import fastdds_environment
from gaussian_yolo_node.ros.parameter_table import PARAMETERS, Parameter

HERE = Path(__file__).parent

INPUTS = ("source", "image_topic")
ARGUMENTS = {**PARAMETERS, "use_sim_time": Parameter(False, "never", "Take the time from /clock: true or false.")}

# Before a node that has ended is started again; one whose worker is held for ever ends with exit code 75, s.
RESPAWN_DELAY_S = 2.0

KINDS = {float: "a number", int: "a whole number", bool: "true or false"}


def generate_launch_description() -> LaunchDescription:
    def optional(name: str, text: str) -> DeclareLaunchArgument:
        text += " Replaces the input in params_file." if name in INPUTS else ""
        return DeclareLaunchArgument(name, default_value="", description=f"{text} Empty: as in params_file.")

    return LaunchDescription(
        [
            *(optional(name, parameter.text) for name, parameter in ARGUMENTS.items()),
            DeclareLaunchArgument("name", default_value="perception", description="Name of the node."),
            *common_arguments("perception.yaml", "the node's parameters", "node and topics"),
            DeclareLaunchArgument(
                "respawn",
                default_value="",
                description="Start the node again when it ends: true or false. Empty: unless on_end:=shutdown.",
            ),
            OpaqueFunction(function=start_node),
        ]
    )


def common_arguments(config: str, content: str, named: str) -> list[DeclareLaunchArgument]:
    """Arguments of every launch file that starts a node with a file of parameters."""
    return [
        DeclareLaunchArgument(
            "params_file", default_value=str(HERE / "config" / config), description=f"YAML file with {content}."
        ),
        DeclareLaunchArgument("namespace", default_value="", description=f"Namespace of {named}."),
        DeclareLaunchArgument(
            "log_level", default_value="info", description="Log level: debug, info, warn, error or fatal."
        ),
    ]


def start_node(context: LaunchContext) -> list[Node]:
    """The action of perception_node, once the arguments are known."""
    given = {name: argument(context, name) for name in ARGUMENTS}
    respawn = parse("respawn", argument(context, "respawn") or str(given["on_end"] != "shutdown"), bool)
    return [node_action(context, "perception_node", argument(context, "name"), respawn, overrides(given))]


def node_action(
    context: LaunchContext, executable: str, name: str, respawn: bool, *parameters: dict[str, object]
) -> Node:
    """The action of a node with the common arguments; `parameters` override the file."""
    params_file = Path(argument(context, "params_file")).expanduser()
    if not params_file.is_file():
        raise RuntimeError(f"params_file: there is no file {params_file}")
    return Node(
        package="gaussian_yolo",
        executable=executable,
        name=name,
        namespace=argument(context, "namespace"),
        output="screen",
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY_S,
        parameters=[str(params_file), *parameters],
        arguments=["--ros-args", "--log-level", argument(context, "log_level")],
        additional_env=fastdds_environment(HERE),
    )


def argument(context: LaunchContext, name: str) -> str:
    """The value of a launch argument."""
    return str(LaunchConfiguration(name).perform(context))


def overrides(arguments: dict[str, str]) -> dict[str, object]:
    """Parameters set by arguments, by name. Raises RuntimeError naming the argument that cannot be parsed."""
    # The node takes one input: the argument replaces the input in params_file.
    if arguments["source"] and arguments["image_topic"]:
        raise RuntimeError("source and image_topic are both given: the node takes one of them")
    given = {name: text for name, text in arguments.items() if text}
    values: dict[str, object] = dict.fromkeys(INPUTS, text_value("")) if given.keys() & set(INPUTS) else {}
    for name, text in given.items():
        default, choices = ARGUMENTS[name].default, ARGUMENTS[name].choices
        values[name] = parse(name, text, bool if True in choices and text not in choices else type(default))
    return values


def parse(name: str, text: str, kind: type) -> object:
    """The value of an argument. Raises RuntimeError if the text is not of that kind."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return text_value(text) if kind is str else kind(text)
    except (KeyError, ValueError):
        raise RuntimeError(f"{name}:={text} is not {KINDS[kind]}") from None


def text_value(text: str) -> ParameterValue:
    """A string parameter: launch would turn a camera index into a number."""
    return ParameterValue(text, value_type=str)
