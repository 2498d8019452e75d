"""The way from a replay to its node: the node is started or found, brought to life, and linked to."""

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
from gaussian_yolo_node.ros.driving.node_process import NodeProcess, fastdds_profile
from gaussian_yolo_node.ros.driving.own_node import OwnNode

NAMESPACE = "/replay"
LOG_FILE = "node.log"
# Average precision needs the tail of the scores, too.
LEAST_SCORE_FOR_TRUTH = 0.005
# A failed frame is known by the node's next report, s.
_REPORT_PERIOD_S = 0.1


@dataclass(frozen=True)
class Session:
    """Our node, what it drives the perception node with, and the topics between the two."""

    own: OwnNode
    driver: NodeDriver
    link: NodeLink


def prepare_environment(*, private: bool) -> None:
    """Give this process the shipped transport profile, before it starts ROS.

    Args:
        private: in a ROS domain of its own, unless the user has chosen one.
    """
    for name, value in fastdds_profile().items():
        os.environ.setdefault(name, value)
    if private:
        # Neither does anybody's camera get between the frames, nor do ours reach anybody's node.
        os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
        os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@contextmanager
def open_session(options: ReplayOptions, selection: Selection, own: OwnNode | None) -> Iterator[Session]:
    """A node that takes the selected images; it is ended on leaving if it was started here.

    Args:
        own: the node of ours, in place of one that is made for it.

    Raises:
        DrivingError: the node cannot be started, refuses its parameters, or does not listen.
    """
    reliable = options.mode == "lockstep"
    with _nodes(options, selection, own) as (ours, driver):
        _bring_to_life(options, driver, _parameters(options, selection))
        with closing(NodeLink(ours, driver, selection.target, selection.kind, reliable=reliable)) as link:
            link.connect()
            yield Session(ours, driver, link)


def _parameters(options: ReplayOptions, selection: Selection) -> dict[str, Any]:
    """What the node is given: the input that we are, and what the user asks for."""
    values: dict[str, Any] = {
        "source": "",
        "image_topic": selection.target,
        "image_transport": "compressed" if selection.compressed else "raw",
        "reliability": "reliable" if options.mode == "lockstep" else "best_effort",
        # Its clock is the bag's: against today's the frames would be as old as the bag.
        "use_sim_time": True,
    }
    if options.mode == "lockstep" and selection.has_truth:
        values["score_threshold"] = LEAST_SCORE_FOR_TRUTH
    return {**values, **options.parameters}


@contextmanager
def _nodes(options: ReplayOptions, selection: Selection, own: OwnNode | None) -> Iterator[tuple[OwnNode, NodeDriver]]:
    """Our node and a driver of the perception node, which is started unless one is named."""
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
    """Bring the node to where it takes images; one that is active already keeps what it is not asked to change."""
    state = driver.state()
    if options.node:
        driver.set_parameters(options.parameters if state == "active" else parameters)
    if state == "unconfigured":
        driver.configure()
    if state != "active":
        driver.activate()
