"""One replay from beginning to end: bag in, run folder out, whatever happens on the way."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gaussian_yolo_node.bags import COMPRESSED_IMAGE, DETECTIONS, INFO_TOPIC, STRING, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.detector.model import read_card
from gaussian_yolo_node.detector.onnx_metadata import read_metadata
from gaussian_yolo_node.errors import GaussianYoloError, ModelError
from gaussian_yolo_node.evaluation.replay_run import (
    ANSWERS_FILE,
    DETECTIONS_FILE,
    REPORT_FILES,
    RUN_FILE,
    Mode,
    ReplayedFrame,
    ReplayRun,
    write_run,
)
from gaussian_yolo_node.machine import machine
from gaussian_yolo_node.ros.driving.driver import NodeDriver
from gaussian_yolo_node.ros.driving.node_process import NodeProcess, fastdds_profile
from gaussian_yolo_node.ros.driving.own_node import OwnNode
from gaussian_yolo_node.ros.replay import ReplayError
from gaussian_yolo_node.ros.replay.frames import BagTime, frames_and_copies
from gaussian_yolo_node.ros.replay.link import NodeLink
from gaussian_yolo_node.ros.replay.lockstep import Lockstep
from gaussian_yolo_node.ros.replay.player import OnProgress, Played, Player
from gaussian_yolo_node.ros.replay.prefetch import Prefetched
from gaussian_yolo_node.ros.replay.realtime import RealTime, Schedule
from gaussian_yolo_node.ros.replay.recorder import Recorder
from gaussian_yolo_node.ros.replay.results import write_detections

NAMESPACE = "/replay"
LOG_FILE = "node.log"
# Average precision needs the tail of the scores, too.
LEAST_SCORE_FOR_TRUTH = 0.005
# What is copied into the recording, so that it can be judged without the bag.
_TRUTH_TYPES = {TRUTH_TOPIC: DETECTIONS, INFO_TOPIC: STRING}
# Images read ahead: enough to bridge a pause of the disk, few enough for large images.
_READ_AHEAD = 8
# A failed frame is known by the node's next report, s.
_REPORT_PERIOD_S = 0.1


@dataclass(frozen=True)
class ReplayOptions:
    """What to replay, and how.

    Attributes:
        bag: file or folder.
        output: folder of the run; made if it is not there.
        mode: whether the next frame waits for the answer to the last, or comes in its time.
        rate_factor: in real time, speed against the bag's own.
        rate_hz: in real time, a fixed rate instead, Hz.
        image_topic: topic in the bag; empty for the only one.
        node: full name of a running node; empty to start one.
        parameters: of the node, over its defaults: model, runtime, threads, score_threshold, criterion.
        remaps: topics that go by another name, each as `from:=to`.
        timeout_s: in lockstep, a frame without a word of the node by then has failed.
        overwrite: replace a run that is there.
        command: what repeats the run.
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
        """Raise ReplayError for values that make no replay."""
        if not self.rate_factor > 0 or not (self.rate_hz is None or self.rate_hz > 0):
            raise ReplayError("the rate of a replay must be above 0")
        if not self.timeout_s > 0:
            raise ReplayError("the time that an answer may take must be above 0 s")
        if self.node and not self.node.startswith("/"):
            raise ReplayError(f"node '{self.node}' is no full name: it starts with '/', as `ros2 node list` prints it")
        for remap in self.remaps:
            source, arrow, target = remap.partition(":=")
            if not (source and arrow and target) or " " in remap:
                raise ReplayError(
                    f"remap '{remap}' is not of the form from:=to, such as /camera/image_raw:=/front/image"
                )


@dataclass(frozen=True)
class Outcome:
    """A run that is written, with what ended it early if something did."""

    run: ReplayRun
    error: GaussianYoloError | None = None
    interrupted: bool = False


def replay(
    options: ReplayOptions,
    on_progress: OnProgress,
    on_start: Callable[[int], None] = lambda frames: None,
    own: OwnNode | None = None,
) -> Outcome:
    """Replay a bag and write the run's folder.

    Once the first frame is played, an error or Ctrl-C ends the replay, but what there is by then is written.

    Args:
        options: what to replay, and how.
        on_progress: called after each frame.
        on_start: called with the number of images that the bag announces, when the node is ready.
        own: the node of ours to replay with, in place of one that is made for it.

    Raises:
        GaussianYoloError: the replay cannot start.
    """
    options.check()
    with BagReader(options.bag) as reader:
        topic = reader.the_image_topic(options.image_topic or None)
        prepare_folder(options.output, overwrite=options.overwrite)
        prepare_environment(private=not options.node)
        with _node(options, own, reader, topic) as (ours, driver):
            _start_node(options, driver, _parameters(options, reader, topic))
            kind = reader.topics[topic].type
            reliable = options.mode == "lockstep"
            with closing(NodeLink(ours, driver, image_target(topic, kind), kind, reliable=reliable)) as link:
                return _play(options, reader, topic, ours, driver, link, on_progress, on_start)


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Make a run's folder, without what an earlier run has left in it.

    Raises:
        ReplayError: there is a run in it already, or it cannot be made.
    """
    results = [folder / name for name in (RUN_FILE, ANSWERS_FILE, DETECTIONS_FILE)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        there = [path.name for path in results if path.exists()]
        if there and not overwrite:
            raise ReplayError(f"{folder} holds a run already ({there[0]}): take another folder, or --overwrite")
        for path in (*results, folder / LOG_FILE, *(folder / name for name in REPORT_FILES)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ReplayError(f"folder {folder} cannot be written: {error.strerror}") from error


def image_target(topic: str, kind: str) -> str:
    """Where the images of a bag's topic are published: compressed ones where the node looks for them."""
    return f"{topic}/compressed" if kind == COMPRESSED_IMAGE and not topic.endswith("/compressed") else topic


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


def _parameters(options: ReplayOptions, reader: BagReader, topic: str) -> dict[str, Any]:
    """What the node is given: the input that we are, and what the user asks for."""
    kind = reader.topics[topic].type
    values: dict[str, Any] = {
        "source": "",
        "image_topic": image_target(topic, kind),
        "image_transport": "compressed" if kind == COMPRESSED_IMAGE else "raw",
        "reliability": "reliable" if options.mode == "lockstep" else "best_effort",
        # Its clock is the bag's: against today's the frames would be as old as the bag.
        "use_sim_time": True,
    }
    if options.mode == "lockstep" and _holds(reader, TRUTH_TOPIC, DETECTIONS):
        values["score_threshold"] = LEAST_SCORE_FOR_TRUTH
    return {**values, **options.parameters}


@contextmanager
def _node(
    options: ReplayOptions, own: OwnNode | None, reader: BagReader, topic: str
) -> Iterator[tuple[OwnNode, NodeDriver]]:
    """Our node and a driver of the perception node, which is started unless one is named."""
    arguments = ["--ros-args", *(word for remap in options.remaps for word in ("-r", remap))] if options.remaps else []
    if options.node:
        with (
            OwnNode("replay", arguments) if own is None else nullcontext(own) as ours,
            closing(NodeDriver(ours, options.node)) as driver,
        ):
            yield ours, driver
        return
    settings = {
        **_parameters(options, reader, topic),
        "autostart": False,
        "diagnostics_period": _REPORT_PERIOD_S,
    }
    with (
        NodeProcess(NAMESPACE, settings, options.output / LOG_FILE, options.remaps) as process,
        OwnNode("replay", arguments) as ours,
    ):
        yield ours, NodeDriver(ours, process.name, process)


def _start_node(options: ReplayOptions, driver: NodeDriver, parameters: Mapping[str, Any]) -> None:
    """Bring the node to where it takes images; one that is active already keeps what it is not asked to change."""
    state = driver.state()
    if options.node:
        driver.set_parameters(options.parameters if state == "active" else parameters)
    if state == "unconfigured":
        driver.configure()
    if state != "active":
        driver.activate()


def _play(
    options: ReplayOptions,
    reader: BagReader,
    topic: str,
    own: OwnNode,
    driver: NodeDriver,
    link: NodeLink,
    on_progress: OnProgress,
    on_start: Callable[[int], None],
) -> Outcome:
    copied = {name: kind for name, kind in _TRUTH_TYPES.items() if _holds(reader, name, kind)}
    recorded = {link.answer_topic: DETECTIONS, **copied}
    bag_time = BagTime()
    error: GaussianYoloError | None = None
    interrupted = False
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    link.connect()
    with Recorder(options.output / ANSWERS_FILE, recorded) as recorder:
        player = _player(options, own, driver, link, recorder, on_progress)
        link.hand_answers_to(player.on_answer)
        try:
            player.listen()
            on_start(reader.topics[topic].count)
            with Prefetched(frames_and_copies(reader, topic, copied, bag_time), _READ_AHEAD) as items:
                player.play(items)
        except KeyboardInterrupt:
            interrupted = True
        except GaussianYoloError as failure:
            error = failure
    played = player.played
    elapsed_s = (time.monotonic_ns() - played.start_ns) / 1e9
    frames = tuple(played.log.named(played.names, played.start_ns))
    write_detections(options.output, link.answer_topic, frames)
    end = [f"the replay ended early: {error}"] if error else ["the replay was interrupted"] if interrupted else []
    run = ReplayRun(
        bag=str(options.bag),
        image_topic=topic,
        mode=options.mode,
        rate_factor=options.rate_factor,
        rate_hz=options.rate_hz,
        score_threshold=_number(driver.diagnostics.get("score_threshold")),
        criterion=driver.diagnostics.get("criterion", ""),
        model=_card(driver.diagnostics.get("model", "")),
        model_hash=driver.diagnostics.get("model_hash", ""),
        runtime=driver.diagnostics.get("runtime", ""),
        machine=machine(),
        command=list(options.command),
        started=started,
        elapsed_s=round(elapsed_s, 6),
        notes=[*reader.notes, *link.notes, *_notes(played, frames, bag_time, reader), *played.notes, *end],
        counters=played.log.counters(),
        diagnostics=driver.diagnostics,
        frames=frames,
    )
    write_run(options.output, run)
    return Outcome(run, error, interrupted)


def _player(
    options: ReplayOptions,
    own: OwnNode,
    driver: NodeDriver,
    link: NodeLink,
    recorder: Recorder,
    on_progress: OnProgress,
) -> Player:
    common = (own, driver, link, recorder, on_progress)
    if options.mode == "lockstep":
        return Lockstep(*common, timeout_s=options.timeout_s)
    return RealTime(*common, schedule=Schedule(options.rate_factor, options.rate_hz))


def _notes(played: Played, frames: Sequence[ReplayedFrame], bag_time: BagTime, reader: BagReader) -> Iterator[str]:
    """What is out of the ordinary in the bag's images, a sentence each."""
    log = played.log
    sizes = Counter(f"{frame.width}x{frame.height}" for frame in frames if frame.width)
    if len(sizes) > 1:
        counts = ", ".join(f"{size} ({count})" for size, count in sizes.most_common())
        yield f"images of {len(sizes)} sizes: {counts}; each is judged in its own px"
    oddities = (
        (log.backwards, "before the stamp of the image before"),
        (log.repeated, "equal to an earlier image's"),
        (log.zero, "0"),
    )
    odd = ", ".join(f"{count} {what}" for count, what in oddities if count)
    if odd:
        yield (
            f"header stamps that do not run forward: {odd} (of {len(log)}); they are published as they are, "
            "images go by the time they were recorded"
        )
    if bag_time.backwards:
        yield f"the bag's time runs backwards {bag_time.backwards} times: /clock stands still there"
    if played.unread_names:
        yield (
            f"{len(played.unread_names)} messages on {INFO_TOPIC} cannot be read, so that frames go by their stamps: "
            f"{played.unread_names[0]}"
        )
    if log.late:
        yield f"{log.late} answers came after their frame had been given up, and are left out"
    if not _holds(reader, TRUTH_TOPIC, DETECTIONS):
        kind = reader.topics[TRUTH_TOPIC].type if TRUTH_TOPIC in reader.topics else ""
        there = f"what is there is of {kind}" if kind and kind != DETECTIONS else "there are detections and times"
        yield f"the bag has no truth on {TRUTH_TOPIC}, so there is no accuracy: {there}"


def _holds(reader: BagReader, topic: str, kind: str) -> bool:
    """Whether a bag has messages of a type on a topic."""
    found = reader.topics.get(topic)
    return found is not None and found.type == kind and found.count > 0


def _card(model: str) -> dict[str, Any]:
    """The card of the node's model; empty if the file is not to be read here."""
    path = Path(model)
    try:
        return dict(json.loads(read_card(read_metadata(path), path).to_json()))
    except ModelError:
        return {}


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
