"""A replay started by launch beside a perception node, which launch also starts: parameters in, log lines out."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.replay import DECLARATIONS, ReplayOptions
from gaussian_yolo_node.replay.frame_log import FrameLog
from gaussian_yolo_node.replay.link import prepare_environment
from gaussian_yolo_node.replay.run import Outcome, replay
from gaussian_yolo_node.replay.run_folder import MODES, Mode
from gaussian_yolo_node.ros.driving.own_node import OwnNode
from gaussian_yolo_node.ros.parameter_table import ParameterError

EXIT_ERROR = 2
# Interval of progress messages, s.
_SAY_S = 5.0


@dataclass
class _Progress:
    """Logs the progress of the replay."""

    node: Node
    total: int = 0
    said: float = 0.0

    def start(self, frames: int) -> None:
        self.total, self.said = frames, time.monotonic()
        self.node.get_logger().info(f"replaying {frames} images")

    def update(self, log: FrameLog) -> None:
        if time.monotonic() - self.said >= _SAY_S:
            self.said = time.monotonic()
            counters = log.counters()
            self.node.get_logger().info(
                f"{counters.played} of {self.total} images, {counters.dropped - log.in_flight} dropped, "
                f"{counters.failed} failed"
            )


def run(arguments: Sequence[str]) -> int:
    """Replay according to the parameters, from an unconfigured perception node to a written run.

    Args:
        arguments: ROS arguments.

    Returns:
        The exit code: 0 after the end of the bag or Ctrl-C, 2 after an error.
    """
    try:
        prepare_environment(private=False)
        with OwnNode("replay", arguments) as own:
            return _run(own)
    except GaussianYoloError as error:  # there is no node to log it
        print(f"error: {error}", file=sys.stderr)
        return EXIT_ERROR


def _run(own: OwnNode) -> int:
    logger = own.node.get_logger()
    progress = _Progress(own.node)
    try:
        values = _parameters(own.node)
        outcome = replay(_options(own.node, values), progress.update, progress.start, own)
        _conclude(own.node, values, outcome)
    except GaussianYoloError as error:
        logger.error(str(error))
        return EXIT_ERROR
    if outcome.error is not None:
        logger.error(str(outcome.error))
        return EXIT_ERROR
    return 0


def _conclude(node: Node, values: dict[str, Any], outcome: Outcome) -> None:
    logger = node.get_logger()
    for line in outcome.run.summary_lines():
        logger.info(line)
    for note in outcome.run.notes:
        logger.warning(note)
    if values["report"] and outcome.run.counters.answered and not outcome.interrupted:
        from gaussian_yolo_node.report.write import write_report

        baseline = Path(values["baseline"]) if values["baseline"] else None
        logger.info(f"report: {write_report(Path(values['output']), baseline=baseline)}")


def _parameters(node: Node) -> dict[str, Any]:
    """Declare and read the parameters. Raises ParameterError naming the invalid one."""
    values = {}
    for name, (default, text) in DECLARATIONS.items():
        try:
            values[name] = node.declare_parameter(name, default, ParameterDescriptor(description=text)).value
        except InvalidParameterTypeException:
            raise ParameterError(f"parameter '{name}' must be like {default!r}") from None
    for name in ("bag", "output"):
        if not values[name]:
            raise ParameterError(f"parameter '{name}' is empty: {DECLARATIONS[name][1]}")
    if values["mode"] not in MODES:
        raise ParameterError(f"parameter 'mode' is '{values['mode']}', but must be one of: {', '.join(MODES)}")
    return values


def _options(node: Node, values: dict[str, Any]) -> ReplayOptions:
    name = values["node"]
    threshold = values["score_threshold"]
    return ReplayOptions(
        bag=Path(values["bag"]),
        output=Path(values["output"]),
        mode=cast(Mode, values["mode"]),
        rate_factor=values["rate"],
        rate_hz=values["hz"] or None,
        image_topic=values["image_topic"],
        node=name if name.startswith("/") else f"{node.get_namespace().rstrip('/')}/{name}",
        parameters={"score_threshold": threshold} if threshold else {},
        timeout_s=values["timeout"],
        overwrite=values["overwrite"],
        command=sys.argv,
    )
