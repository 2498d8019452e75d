"""The executable `replay_node`: a replay started by launch, and its signals.

SIGINT and SIGTERM, with which launch ends its nodes, and SIGHUP end it with exit code 0 at any moment; the frames
played so far are kept. This module imports nothing heavy at the top, so that its handlers are installed first.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from gaussian_yolo_node.ros.perception_node import on_signals

# Parameters and arguments of replay.launch.py: name -> (default, description).
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


def main(args: list[str] | None = None) -> None:
    """Replay according to the parameters, and exit."""
    on_signals(lambda *_: os._exit(0))
    from gaussian_yolo_node.commands.replay_node_run import run

    on_signals(signal.default_int_handler)
    try:
        code = run(sys.argv if args is None else args)
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


if __name__ == "__main__":
    main()
