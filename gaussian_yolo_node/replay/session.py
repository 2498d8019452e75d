"""Connects a replay to its node: starts or finds the node, activates it, and links to its topics."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from gaussian_yolo_node.replay.frames import Selection
from gaussian_yolo_node.replay.link import NodeLink
from gaussian_yolo_node.replay.options import ReplayOptions
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess, installed_fastdds_environment
from gaussian_yolo_node.ros.driving.own_node import OwnNode

NAMESPACE = "/replay"
LOG_FILE = "node.log"
# Average precision needs the low scores, too.
LEAST_SCORE_FOR_TRUTH = 0.005
# Interval of the node's reports, s; a failed frame is known after the next one.
_REPORT_PERIOD_S = 0.1


@dataclass(frozen=True)
class Session:
    """The replay's own node, the driver of the perception node, and the topics between the two."""

    own: OwnNode
    driver: NodeDriver
    link: NodeLink


def prepare_environment(*, private: bool) -> None:
    """Set the shipped transport profile for this process, before ROS starts.

    Args:
        private: use a separate ROS domain, unless the user has chosen one.
    """
    for name, value in installed_fastdds_environment().items():
        os.environ.setdefault(name, value)
    if private:
        # A separate domain keeps other cameras out of the replay, and the replay's images away from other nodes.
        os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@contextmanager
def open_session(options: ReplayOptions, selection: Selection, own: OwnNode | None) -> Iterator[Session]:
    """A session with a node that takes the selected images; a node started here is ended on leaving.

    Args:
        own: an existing node for the replay, instead of a new one.

    Raises:
        DrivingError: the node cannot be started, refuses its parameters, or does not subscribe.
    """
    reliable = options.mode == "lockstep"
    with _nodes(options, selection, own) as (ours, driver):
        _bring_to_life(options, driver, _parameters(options, selection))
        with closing(NodeLink(ours, driver, selection.target, selection.kind, reliable=reliable)) as link:
            link.connect()
            yield Session(ours, driver, link)


def _parameters(options: ReplayOptions, selection: Selection) -> dict[str, Any]:
    """Node parameters: the replay as input, and the user's settings."""
    values: dict[str, Any] = {
        "source": "",
        "image_topic": selection.target,
        "image_transport": "compressed" if selection.compressed else "raw",
        "reliability": "reliable" if options.mode == "lockstep" else "best_effort",
        # The node uses the bag's clock: by today's clock the frames would be as old as the bag.
        "use_sim_time": True,
    }
    if options.mode == "lockstep":
        values["input_size"] = "card"  # the same canvas, and so the same detections, on every machine
        if selection.has_truth:
            values["score_threshold"] = LEAST_SCORE_FOR_TRUTH
    return {**values, **options.parameters}


@contextmanager
def _nodes(options: ReplayOptions, selection: Selection, own: OwnNode | None) -> Iterator[tuple[OwnNode, NodeDriver]]:
    """The replay's own node and a driver of the perception node, which is started unless one is named."""
    remaps = [word for remap in options.remaps for word in ("-r", remap)]
    arguments = ["--ros-args", *remaps] if remaps else []
    if options.node:
        with (
            OwnNode("replay", arguments) if own is None else nullcontext(own) as ours,
            closing(NodeDriver(ours, options.node)) as driver,
        ):
            yield ours, driver
        return
    started = {"autostart": False, "diagnostics_period": _REPORT_PERIOD_S}
    settings = {**_parameters(options, selection), **started}
    with (
        NodeProcess(NAMESPACE, settings, options.output / LOG_FILE, options.remaps) as process,
        OwnNode("replay", arguments) as ours,
    ):
        yield ours, NodeDriver(ours, process.name, process)


def _bring_to_life(options: ReplayOptions, driver: NodeDriver, parameters: Mapping[str, Any]) -> None:
    """Bring the node to the active state; an active node keeps all parameters that the user does not set."""
    state = driver.state()
    if options.node:
        driver.set_parameters(options.parameters if state == "active" else parameters)
    if state == "unconfigured":
        driver.configure()
    if state != "active":
        driver.activate()
