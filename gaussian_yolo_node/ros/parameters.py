"""The perception node's parameters: names, types, defaults, ranges, and the rules between them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from gaussian_yolo_node.detector.decode import CRITERIA, Criterion
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.frames import without_password
from gaussian_yolo_node.runtime import RUNTIMES


class ParameterError(GaussianYoloError):
    """A parameter has an unusable value."""


@dataclass(frozen=True)
class PerceptionParameters:
    """Values of all parameters; `DECLARATIONS` describes them."""

    source: str
    image_topic: str
    image_transport: str
    reliability: str
    frame_id: str
    playback: str
    playback_fps: float
    loop: bool
    model: str
    runtime: str
    threads: int
    precision: str
    score_threshold: float
    iou_threshold: float
    variance_vote: str | bool
    criterion: Criterion
    autostart: bool
    diagnostics_period: float

    def check(self) -> None:
        """Raise ParameterError unless exactly one of source and image_topic is set."""
        if not self.source and not self.image_topic:
            raise ParameterError(
                "no input: set parameter 'source' (camera index, video file, image folder, URL or GStreamer "
                "pipeline) or 'image_topic'"
            )
        if self.source and self.image_topic:
            raise ParameterError(
                f"two inputs: parameters 'source' ({without_password(self.source)}) and 'image_topic' "
                f"({self.image_topic}) are "
                "both set, clear one of them"
            )

    @property
    def shown_input(self) -> str:
        """The input as it may be logged and published, with a stream's password masked."""
        return without_password(self.source) or self.subscribed_topic

    @property
    def subscribed_topic(self) -> str:
        """The topic to subscribe to; for compressed images, the raw topic's name with image_transport's suffix."""
        if self.image_transport == "compressed" and not self.image_topic.endswith("/compressed"):
            return f"{self.image_topic}/compressed"
        return self.image_topic


CHOICES: dict[str, tuple[Any, ...]] = {
    "image_transport": ("raw", "compressed"),
    "reliability": ("best_effort", "reliable"),
    "playback": ("realtime", "fastest"),
    "runtime": RUNTIMES,
    "precision": ("auto", "fp32", "bf16"),
    "variance_vote": ("card", True, False),
    "criterion": CRITERIA,
}

# When a change takes effect. The thresholds, variance_vote and criterion are in neither set: they change live.
READ_AT_CONFIGURE = frozenset({"model", "runtime", "threads", "precision"})
READ_AT_ACTIVATE = frozenset(
    {
        "source",
        "image_topic",
        "image_transport",
        "reliability",
        "frame_id",
        "playback",
        "playback_fps",
        "loop",
    }
)


def _describe(name: str, text: str, **constraints: Any) -> ParameterDescriptor:
    choices = _listed(CHOICES.get(name, ()))
    return ParameterDescriptor(
        description=text, additional_constraints=f"one of: {choices}" if choices else "", **constraints
    )


def _listed(choices: tuple[Any, ...]) -> str:
    return ", ".join(str(choice).lower() for choice in choices)


def _between(low: float, high: float) -> list[FloatingPointRange]:
    return [FloatingPointRange(from_value=low, to_value=high, step=0.0)]


# name -> (default, description, constraints)
DECLARATIONS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "source": (
        "",
        "Where frames come from: camera index, video file, image folder, URL (rtsp://...) or GStreamer "
        "pipeline ending in an appsink. Empty: image_topic is used.",
        {},
    ),
    "image_topic": ("", "Topic of images to subscribe to. Empty: source is used.", {}),
    "image_transport": (
        "raw",
        "Type of the images on image_topic; compressed subscribes to <image_topic>/compressed.",
        {},
    ),
    "reliability": ("best_effort", "Reliability of the image subscription.", {}),
    "frame_id": ("camera", "frame_id of frames read from source; images from a topic keep their own.", {}),
    "playback": (
        "realtime",
        "How a video file or folder is played: at its frame rate, dropping what the detector cannot follow, "
        "or every frame as fast as the detector takes it.",
        {},
    ),
    "playback_fps": (
        0.0,
        "Frames per second of realtime playback. 0: the file's own rate, 10 for a folder.",
        {"floating_point_range": _between(0.0, 1000.0)},
    ),
    "loop": (False, "Start a video file or folder again when it ends.", {}),
    "model": (DEFAULT_MODEL, "Name of a shipped model, or path of an ONNX file with a card.", {}),
    "runtime": (
        "auto",
        "What runs the model; auto takes the GPU where the model has an engine for it, else the first that is "
        "installed.",
        {},
    ),
    "threads": (
        0,
        "CPU threads of the runtime. 0: all cores.",
        {"integer_range": [IntegerRange(from_value=0, to_value=256, step=1)]},
    ),
    "precision": ("auto", "Arithmetic of the runtime; auto takes bf16 where the CPU has it.", {}),
    "score_threshold": (
        0.0,
        "Detections below this score are dropped; changes live. 0: the model card's.",
        {"floating_point_range": _between(0.0, 0.99)},
    ),
    "iou_threshold": (
        0.0,
        "Boxes of a class that overlap a better one by more than this IoU are suppressed; changes live. "
        "0: the model card's.",
        {"floating_point_range": _between(0.0, 0.99)},
    ),
    "variance_vote": (
        "card",
        "Merge suppressed boxes into the kept one, weighted by their inverse variance; changes live.",
        {"dynamic_typing": True},
    ),
    "criterion": (
        CRITERIA[0],
        "What a score is: objectness * class * (1 - mean uncertainty), or confidence for objectness * class alone; "
        "changes live.",
        {},
    ),
    "autostart": (True, "Configure and activate on start, without a lifecycle manager.", {"read_only": True}),
    "diagnostics_period": (
        1.0,
        "Seconds between messages on /diagnostics.",
        {"read_only": True, "floating_point_range": _between(0.05, 60.0)},
    ),
}


def declare(node: Node) -> dict[str, str]:
    """Declare all parameters.

    Returns:
        Name and reason of each refused start value; the default replaces it.
    """
    refused: dict[str, str] = {}
    for name, (default, text, constraints) in DECLARATIONS.items():
        descriptor = _describe(name, text, **constraints)
        try:
            value = node.declare_parameter(name, default, descriptor).value
        except InvalidParameterTypeException:
            refused[name] = f"parameter '{name}' must be of type {_type_name(default)}, {_hint(name, default)}"
        except InvalidParameterValueException:
            low, high = _range(descriptor)
            refused[name] = f"parameter '{name}' lies outside {low:g}..{high:g}"
        else:
            reason = refusal(name, value)
            if reason:
                refused[name] = reason
                node.undeclare_parameter(name)
        if name in refused:
            node.declare_parameter(name, default, _describe(name, text, **constraints), ignore_override=True)
    return refused


def read(node: Node) -> PerceptionParameters:
    """The current values."""
    return PerceptionParameters(
        **{field.name: node.get_parameter(field.name).value for field in fields(PerceptionParameters)}
    )


def refusal(name: str, value: Any) -> str:
    """Why a value of the right type is refused; empty if it is accepted. The descriptors check the ranges."""
    choices = CHOICES.get(name)
    if choices is not None and not any(value == choice and type(value) is type(choice) for choice in choices):
        return f"parameter '{name}' is {value!r}, but must be one of: {_listed(choices)}"
    return ""


def _hint(name: str, default: Any) -> str:
    # ROS parses an unquoted 0 on the command line as an integer, but a camera index is a string parameter.
    return f"quoted twice on a command line: -p {name}:='\"0\"'" if isinstance(default, str) else f"like {default!r}"


def _type_name(default: Any) -> str:
    return {bool: "bool", int: "integer", float: "double", str: "string"}[type(default)]


def _range(descriptor: ParameterDescriptor) -> tuple[float, float]:
    limits = (list(descriptor.floating_point_range) + list(descriptor.integer_range))[0]
    return limits.from_value, limits.to_value
