"""Plays a bag's images through a running perception node and records its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.replay.run_folder import Mode


class ReplayError(GaussianYoloError):
    """A replay cannot start or continue; the message says why."""


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how.

    Attributes:
        bag: file or folder.
        output: folder of the run; created if missing.
        mode: whether each frame waits for the answer to the previous one, or is published at its time.
        rate_factor: in real time, speed relative to the bag.
        rate_hz: in real time, a fixed rate instead, Hz.
        image_topic: topic in the bag; empty for the only one.
        node: full name of a running node; empty to start one.
        parameters: node parameters that override the defaults: model, runtime, threads, score_threshold, criterion.
        remaps: topic remappings, each as `from:=to`.
        timeout_s: in lockstep, a frame without a response from the node within this time has failed.
        overwrite: replace an existing run.
        command: command line that repeats the run.
    """

    bag: Path
    output: Path
    mode: Mode = "lockstep"
    rate_factor: float = 1.0
    rate_hz: float | None = None
    image_topic: str = ""
    node: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remaps: Sequence[str] = ()
    timeout_s: float = 10.0
    overwrite: bool = False
    command: Sequence[str] = ()

    def check(self) -> None:
        """Raise ReplayError for invalid values."""
        if not self.rate_factor > 0 or not (self.rate_hz is None or self.rate_hz > 0):
            raise ReplayError("the rate of a replay must be above 0")
        if not self.timeout_s > 0:
            raise ReplayError("the time that an answer may take must be above 0 s")
        if self.node and not self.node.startswith("/"):
            raise ReplayError(
                f"node '{self.node}' is not a full name: give it as `ros2 node list` prints it, starting with '/'"
            )
        for remap in self.remaps:
            source, arrow, target = remap.partition(":=")
            if not (source and arrow and target) or " " in remap:
                raise ReplayError(
                    f"remap '{remap}' is not of the form from:=to, such as /camera/image_raw:=/front/image"
                )


# Parameters of replay_node, and arguments of replay.launch.py: name -> (default, description).
DECLARATIONS: dict[str, tuple[Any, str]] = {
    "bag": ("", "ROS 2 bag (folder, .mcap, .db3) or ROS 1 .bag."),
    "output": ("", "Folder for the results."),
    "mode": ("lockstep", "lockstep: the next frame waits for the answer to the last; realtime: it comes in its time."),
    "rate": (1.0, "In real time, speed against the bag's own."),
    "hz": (0.0, "In real time, frames a second, whatever the bag says. 0: as the bag says."),
    "image_topic": ("", "Topic in the bag, which images are published on as well. Empty: the only one."),
    "node": ("perception", "The perception node, in this node's namespace unless it starts with '/'."),
    "score_threshold": (0.0, "Least criterion of the detections. 0: the node's; 0.005 in lockstep with truth."),
    "timeout": (10.0, "In lockstep, time in s after which a frame without an answer counts as failed."),
    "overwrite": (False, "Replace an existing run in the folder."),
    "report": (True, "Write report.html and report.json."),
    "baseline": ("", "Folder of a run to compare with in the report."),
}
