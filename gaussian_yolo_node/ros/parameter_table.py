"""The table of the perception node's parameters.

The node's declaration, the launch arguments, `launch/config/perception.yaml` and the table in README.md come from it.
`make parameters` writes the two files. The module imports no ROS package, because launch files import it.
"""
# ruff: noqa: RUF009 (_parameter returns a dataclass field)

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from textwrap import fill
from typing import Any, Literal, get_args

from gaussian_yolo_node.detector.canvas import Roi
from gaussian_yolo_node.detector.decode import CRITERIA, Criterion
from gaussian_yolo_node.detector.model import DEFAULT_MODEL
from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames.decoding import MAX_MEGAPIXELS
from gaussian_yolo_node.position.camera import CameraPose
from gaussian_yolo_node.runtime import RUNTIMES, Precision
from gaussian_yolo_node.runtime.base import parse_size
from gaussian_yolo_node.view import LOCALHOST

Playback = Literal["realtime", "fastest"]
Value = bool | int | float | str
Changes = Literal["on activate", "on configure", "live", "never"]

# image_transport's name of the compressed images beside raw ones.
COMPRESSED_SUFFIX = "/compressed"
# What rclpy's parameters for the quality of service of a topic start with.
QOS_PREFIX = "qos_overrides."


class ParameterError(GaussianYoloError):
    """A parameter has an unusable value."""


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        default: also gives the type; choices may have other types.
        changes: when a new value takes effect.
        description: sentences, without choices and limits.
        choices: the accepted values; empty if all are.
        limits: least and greatest value.
    """

    default: Value
    changes: Changes
    description: str
    choices: tuple[Value, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """The description with choices or limits."""
        if self.choices:
            return f"{self.description} One of: {', '.join(map(shown, self.choices))}."
        if self.limits:
            return f"{self.description} From {self.limits[0]:g} to {self.limits[1]:g}."
        return self.description


def shown(value: Value) -> str:
    """A value as YAML has it."""
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _parameter(default: Value, changes: Changes, description: str, **constraints: Any) -> Any:
    return field(default=default, metadata={"parameter": Parameter(default, changes, description, **constraints)})


@dataclass(frozen=True)
class PerceptionParameters:
    """The table; an instance has the values."""

    source: str = _parameter(
        "",
        "on activate",
        "Where frames come from, if not from a topic: camera index, video file, image folder, URL (rtsp://...) or "
        "GStreamer pipeline ending in an appsink.",
    )
    image_topic: str = _parameter("", "on activate", "Topic of images to subscribe to instead of a source.")
    image_transport: str = _parameter(
        "auto",
        "on activate",
        "Type of the images: sensor_msgs/Image, or CompressedImage on image_topic with the suffix /compressed; auto "
        "waits for a publisher and takes what it publishes, raw before compressed.",
        choices=("auto", "raw", "compressed"),
    )
    reliability: str = _parameter(
        "best_effort", "on activate", "Reliability of the image subscription.", choices=("best_effort", "reliable")
    )
    frame_id: str = _parameter(
        "camera", "on activate", "frame_id of frames read from source; images from a topic keep their own."
    )
    camera_info_url: str = _parameter(
        "",
        "on activate",
        "Calibration of the camera in source, for ~/camera_info and rectify: a YAML file of ROS's camera_calibration, "
        "as path, file:///PATH or package://PACKAGE/PATH.",
    )
    rectify: bool = _parameter(
        False,
        "on activate",
        "Rectify the frames of source with the calibration; detections, ~/image_raw and ~/camera_info are then those "
        "of the rectified frames.",
    )
    playback: Playback = _parameter(
        "realtime",
        "on activate",
        "How a video file or folder is played: at its frame rate, dropping what the detector cannot follow, or every "
        "frame as fast as the detector takes it.",
        choices=get_args(Playback),
    )
    playback_fps: float = _parameter(
        0.0, "on activate", "Rate of realtime playback, Hz. 0: the file's own, 10 for a folder.", limits=(0, 1000)
    )
    loop: bool = _parameter(False, "on activate", "Start a video file or folder again when it ends.")
    on_end: str = _parameter(
        "keep",
        "on activate",
        "When a video file or folder has ended: keep the node as it is, or shutdown its process.",
        choices=("keep", "shutdown"),
    )
    roi: str = _parameter(
        "",
        "on activate",
        "The part of each frame to search, as left,top,right,bottom in fractions of the frame: 0,0.3,1,0.9 leaves out "
        "sky and bonnet. Empty: all of it.",
    )
    max_megapixels: float = _parameter(
        MAX_MEGAPIXELS,
        "on activate",
        "Largest frame to read, million pixels; larger ones are skipped and counted, before they are decoded.",
        limits=(0.001, 1000),
    )
    target_rate: float = _parameter(
        30.0,
        "on activate",
        "Frames per second to keep: the largest canvas that this machine runs as fast is used, and a smaller one while "
        "the machine is busy. 0: the largest canvas.",
        limits=(0, 1000),
    )

    model: str = _parameter(
        DEFAULT_MODEL, "on configure", "Name of a shipped model, or path of an ONNX file with a card."
    )
    runtime: str = _parameter(
        "auto",
        "on configure",
        "Runtime of the model; auto takes the GPU if the model has an engine for it, else the first installed one.",
        choices=RUNTIMES,
    )
    threads: int = _parameter(0, "on configure", "CPU threads of the runtime. 0: all cores.", limits=(0, 256))
    precision: Precision = _parameter(
        "auto", "on configure", "Arithmetic; auto takes bf16 where the CPU has it.", choices=get_args(Precision)
    )
    device: str = _parameter(
        "auto",
        "on configure",
        "Where the network runs: auto takes the fastest, cpu, gpu or npu one of that kind; or OpenVINO's or ONNX "
        "Runtime's own name of a device.",
    )
    input_size: str = _parameter(
        "",
        "on activate",
        "Canvas as HEIGHTxWIDTH in px. card: as large as the model card's, in the shape of the frames. Empty: as "
        "target_rate allows.",
    )

    score_threshold: float = _parameter(
        0.0, "live", "Detections below this score are dropped. 0: the model card's.", limits=(0, 0.99)
    )
    classes: str = _parameter(
        "", "live", "Names of the classes to detect, with commas between them. Empty: all that the model has."
    )
    class_thresholds: str = _parameter(
        "", "live", "Lowest scores of single classes instead of score_threshold, such as pedestrian:0.2,cyclist:0.25."
    )
    iou_threshold: float = _parameter(
        0.0,
        "live",
        "A box is suppressed above this IoU with a better one of its class. 0: the model card's.",
        limits=(0, 0.99),
    )
    variance_vote: str | bool = _parameter(
        "card",
        "live",
        "Merge suppressed boxes into the kept one, weighted by their inverse variance; card: as the model card says.",
        choices=("card", True, False),
    )
    criterion: Criterion = _parameter(
        CRITERIA[0],
        "live",
        "Detections are thresholded and ranked by objectness * class * (1 - mean uncertainty), with confidence by "
        "objectness * class alone.",
        choices=CRITERIA,
    )

    class_id_format: str = _parameter(
        "name",
        "on configure",
        "What hypothesis.class_id of a detection is: the class's name, or its index in ~/label_info as a decimal.",
        choices=("name", "index"),
    )
    view_port: int = _parameter(
        0,
        "on configure",
        "Port of a page that shows frames, boxes and figures live; the cameras of a process share it. 0: none.",
        limits=(0, 65535),
    )
    view_host: str = _parameter(
        LOCALHOST,
        "on configure",
        "Address that the page listens on; with 0.0.0.0 all that reach this machine see the cameras.",
    )

    autostart: bool = _parameter(True, "never", "Configure and activate on start; false waits for a lifecycle manager.")
    tracking: bool = _parameter(
        False,
        "live",
        "Follow objects from frame to frame: ids in ~/detections, filtered boxes in ~/tracks. Needs scipy.",
    )
    position: bool = _parameter(
        False,
        "live",
        "Place objects on the ground, in ~/detections_3d. Needs the camera's pose (camera_pose) and matrix.",
    )
    base_frame: str = _parameter(
        "",
        "live",
        "Frame of ~/detections_3d; its plane z = 0 is the ground, z up. With the pose from parameters it is below the "
        "camera, x ahead, y left. Empty: the camera's.",
    )
    camera_pose: str = _parameter(
        "auto",
        "live",
        "Where the camera's pose in base_frame comes from: parameters are camera_height, camera_pitch and camera_roll; "
        "tf has that of the images' frame_id, an optical frame; auto takes tf if base_frame is set and camera_height "
        "is not.",
        choices=("auto", "parameters", "tf"),
    )
    camera_height: float = _parameter(
        0.0, "live", "Height of the camera above the ground, m. 0: unknown.", limits=(0, 100)
    )
    camera_pitch: float = _parameter(
        0.0, "live", "Angle by which the camera looks down, rad; negative: up.", limits=(-1.5, 1.5)
    )
    camera_roll: float = _parameter(
        0.0, "live", "Angle by which the camera's right side is lower, rad.", limits=(-3.2, 3.2)
    )
    camera_height_sigma: float = _parameter(
        CameraPose.height_sigma,
        "live",
        "Standard deviation of the height, m, from springs and an uneven ground.",
        limits=(0, 10),
    )
    camera_pitch_sigma: float = _parameter(
        CameraPose.pitch_sigma, "live", "Standard deviation of the pitch, rad, slopes included.", limits=(0, 1)
    )
    camera_roll_sigma: float = _parameter(
        CameraPose.roll_sigma, "live", "Standard deviation of the roll, rad, slopes included.", limits=(0, 1)
    )
    camera_info_topic: str = _parameter(
        "",
        "live",
        "Topic with the camera's matrix (sensor_msgs/CameraInfo). Empty: camera_info beside image_topic, of a source "
        "~/camera_info. K and D are used, and P if the name of image_topic starts with image_rect.",
    )
    depth_topic: str = _parameter(
        "",
        "live",
        "Topic of depth images (16UC1 in mm or 32FC1 in m), registered to the camera's images, as another witness of "
        "positions. Empty: none.",
    )
    min_rate: float = _parameter(
        0.0, "live", "A warning on /diagnostics if fewer frames per second arrive. 0: none.", limits=(0, 1000)
    )
    max_dropped: float = _parameter(
        0.1, "live", "A warning if a larger share of the frames of the last seconds is dropped.", limits=(0, 1)
    )
    max_age: float = _parameter(
        0.5, "live", "A warning if detections are older than this when they are published (p99), s.", limits=(0, 60)
    )
    diagnostics_period: float = _parameter(1.0, "never", "Time between messages on /diagnostics, s.", limits=(0.05, 60))

    def check(self) -> None:
        """Check what no single choice or limit can.

        Raises:
            ParameterError: not exactly one of source and image_topic is set, or rectify has nothing to work with.
            SettingError: roi or input_size has another form.
        """
        Roi.parse(self.roi)
        self.fixed_canvas  # noqa: B018 (raises)
        if not self.source and not self.image_topic:
            raise ParameterError(
                "no input: set parameter 'source' (camera index, video file, image folder, URL or GStreamer "
                "pipeline) or 'image_topic'"
            )
        if self.source and self.image_topic:
            raise ParameterError(
                f"two inputs: parameters 'source' ({without_secrets(self.source)}) and 'image_topic' "
                f"({self.image_topic}) are both set, clear one of them"
            )
        if self.rectify and self.image_topic:
            raise ParameterError(
                "rectify is for 'source': give 'image_topic' the rectified images of image_proc, such as image_rect"
            )
        if self.rectify and not self.camera_info_url:
            raise ParameterError("rectify needs the camera's calibration: set parameter 'camera_info_url'")

    @property
    def fixed_canvas(self) -> tuple[int, int] | None:
        """(height, width) in px of the canvas; None if it follows the frames."""
        return None if self.input_size in ("", "card") else parse_size(self.input_size, "input_size")

    @property
    def keeps_rate(self) -> bool:
        """Whether target_rate chooses the canvas."""
        return self.input_size == ""

    @property
    def pose_is_from_tf(self) -> bool:
        """Whether TF has the camera's pose, not the parameters."""
        return self.camera_pose == "tf" or (
            self.camera_pose == "auto" and bool(self.base_frame) and not self.camera_height
        )

    @property
    def pose_numbers(self) -> dict[str, float]:
        """The arguments of `CameraPose.level`."""
        return {name: getattr(self, f"camera_{name}") for name in ("height", "pitch", "roll")} | self.pose_sigmas

    @property
    def pose_sigmas(self) -> dict[str, float]:
        """The spreads of a `CameraPose`."""
        return {name: getattr(self, f"camera_{name}") for name in ("height_sigma", "pitch_sigma", "roll_sigma")}

    @property
    def image_is_rectified(self) -> bool:
        """Whether the name of image_topic says so, as image_proc's names do."""
        return self.image_topic.removesuffix(COMPRESSED_SUFFIX).rpartition("/")[2].startswith("image_rect")

    @property
    def shown_input(self) -> str:
        """The input as it may be logged and published, with a stream's password masked."""
        return without_secrets(self.source) or self.subscribed_topic

    @property
    def subscribed_topic(self) -> str:
        """The topic to subscribe to; for compressed images, the raw topic's name with image_transport's suffix."""
        if self.image_transport == "compressed" and not self.image_topic.endswith(COMPRESSED_SUFFIX):
            return f"{self.image_topic}{COMPRESSED_SUFFIX}"
        return self.image_topic


PARAMETERS: dict[str, Parameter] = {entry.name: entry.metadata["parameter"] for entry in fields(PerceptionParameters)}

_YAML_START = """\
# Parameters of perception_node at their defaults, written by `make parameters`. Set one of source and image_topic.
# Give a copy of it to the launch file: ros2 launch gaussian_yolo perception.launch.py params_file:=my.yaml
/**:
  ros__parameters:
"""
_README_HEADER = "| parameter | default | changes | meaning |\n|---|---|---|---|\n"


def generated_files(repository: Path) -> dict[Path, str]:
    """Path and due contents of `launch/config/perception.yaml` and README.md."""
    readme = repository / "README.md"
    before, _, after = readme.read_text(encoding="utf-8").partition(_README_HEADER)
    yaml, rows = _YAML_START, ""
    for name, entry in PARAMETERS.items():
        comment = fill(f"{entry.text} Changes: {entry.changes}.", 116, subsequent_indent="    # ")
        yaml += f"    # {comment}\n    {name}: {shown(entry.default)}\n"
        changes = entry.changes if entry.changes != "never" else "-"
        rows += f"| `{name}` | `{shown(entry.default)}` | {changes} | {entry.text} |\n"
    return {
        repository / "launch" / "config" / "perception.yaml": yaml,
        readme: before + _README_HEADER + rows + after[after.index("\n\n") + 1 :],
    }


if __name__ == "__main__":
    for path, text in generated_files(Path.cwd()).items():
        write_whole(path, text)
