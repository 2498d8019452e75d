"""One replay from start to end: from the bag to the run folder, including after errors."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gaussian_yolo_node.bags import DETECTIONS, INFO_TOPIC, PLACES, TRUTH_TOPIC
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.replay import ReplayError, ReplayOptions
from gaussian_yolo_node.replay.frames import BagTime, Prefetched, Schedule, Selection, frames_and_copies
from gaussian_yolo_node.replay.link import LOG_FILE, NodeLink, open_link, prepare_environment
from gaussian_yolo_node.replay.player import Lockstep, OnProgress, Player, RealTime
from gaussian_yolo_node.replay.recorder import Recorder, write_detections
from gaussian_yolo_node.replay.run_folder import (
    ANSWERS_FILE,
    DETECTIONS_FILE,
    REPORT_FILES,
    RUN_FILE,
    ReplayedFrame,
    ReplayRun,
    write_run,
)
from gaussian_yolo_node.ros.driving.own_node import OwnNode
from gaussian_yolo_node.runtime.machine import machine

# Number of images read ahead: enough to bridge a pause of the disk, few enough for large images.
_READ_AHEAD = 8


@dataclass(frozen=True)
class Outcome:
    """A written run, with the error that ended it early, if any."""

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

    Once the first frame is played, an error or Ctrl-C ends the replay, but the results so far are written.

    Args:
        options: what to replay, and how.
        on_progress: called after each frame.
        on_start: called with the bag's number of images when the node is ready.
        own: an existing node to replay with, instead of a new one.

    Raises:
        GaussianYoloError: the replay cannot start.
    """
    options.check()
    with BagReader(options.bag) as reader:
        selection = Selection(reader, options.image_topic)
        prepare_folder(options.output, overwrite=options.overwrite)
        prepare_environment(private=not options.node)
        with open_link(options, selection, own) as link:
            return _play(options, selection, link, on_progress, on_start)


def prepare_folder(folder: Path, *, overwrite: bool) -> None:
    """Create a run's folder, and remove the files of an earlier run.

    Raises:
        ReplayError: it already holds a run, or it cannot be created.
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


def _play(
    options: ReplayOptions,
    selection: Selection,
    link: NodeLink,
    on_progress: OnProgress,
    on_start: Callable[[int], None],
) -> Outcome:
    bag_time = BagTime()
    error: GaussianYoloError | None = None
    interrupted = False
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    answers = {link.answer_topic: DETECTIONS, **({link.places_topic: PLACES} if link.places_topic else {})}
    topics = {**answers, **selection.copied}
    repeatable = tuple(answers) if options.mode == "lockstep" else ()
    with Recorder(options.output / ANSWERS_FILE, topics, repeatable=repeatable) as recorder:
        player: Player
        if options.mode == "lockstep":
            player = Lockstep(link, recorder, on_progress, options.timeout_s)
        else:
            player = RealTime(link, recorder, on_progress, Schedule(options.rate_factor, options.rate_hz))
        try:
            player.listen()
            on_start(selection.count)
            with Prefetched(frames_and_copies(selection, bag_time), _READ_AHEAD) as items:
                player.play(items)
        except KeyboardInterrupt:
            interrupted = True
        except GaussianYoloError as failure:
            error = failure
    frames = tuple(player.log.named(player.names, player.start_ns))
    write_detections(options.output, link.answer_topic, frames)
    notes = [*selection.reader.notes, *link.notes, *_notes_on(player, frames, selection, bag_time), *player.notes]
    end = [f"the replay ended early: {error}"] if error else ["the replay was interrupted"] if interrupted else []
    diagnostics = dict(link.driver.diagnostics)
    card = diagnostics.pop("model_card", "") or "{}"
    run = ReplayRun(
        bag=str(options.bag),
        image_topic=selection.topic,
        mode=options.mode,
        rate_factor=options.rate_factor,
        rate_hz=options.rate_hz,
        score_threshold=_number(diagnostics.get("score_threshold")),
        criterion=diagnostics.get("criterion", ""),
        model=json.loads(card),
        model_hash=diagnostics.get("model_hash", ""),
        runtime=diagnostics.get("runtime", ""),
        machine=machine(),
        command=tuple(options.command),
        started=started,
        elapsed_s=round(player.elapsed_s, 6),
        notes=(*notes, *end),
        counters=player.log.counters(),
        diagnostics=diagnostics,
        frames=frames,
    )
    write_run(options.output, run)
    return Outcome(run, error, interrupted)


def _notes_on(
    player: Player, frames: Sequence[ReplayedFrame], selection: Selection, bag_time: BagTime
) -> Iterator[str]:
    """Irregularities of the bag's images, one sentence each."""
    log = player.log
    failures = Counter(frame.failure for frame in frames if frame.failure)
    if failures and all(frame.answered_s is None for frame in frames):
        yield f"no image was answered: {failures.most_common(1)[0][0]}"
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
    if player.unread_names:
        yield (
            f"{len(player.unread_names)} messages on {INFO_TOPIC} cannot be read, so frames are named by their stamps: "
            f"{player.unread_names[0]}"
        )
    if log.late:
        yield f"{log.late} answers came after their frame had been given up, and are left out"
    if not selection.has_truth:
        topic = selection.reader.topics.get(TRUTH_TOPIC)
        there = f"; what is there is of {topic.type}" if topic is not None and topic.type != DETECTIONS else ""
        yield f"the bag has no truth on {TRUTH_TOPIC}, so there is no accuracy{there}"


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
