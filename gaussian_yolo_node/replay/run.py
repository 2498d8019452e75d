"""One replay from start to end: from the bag to the run folder, including after errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gaussian_yolo_node.bags import DETECTIONS
from gaussian_yolo_node.bags.reading import BagReader
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.replay import ReplayError
from gaussian_yolo_node.replay.frames import BagTime, Selection, frames_and_copies
from gaussian_yolo_node.replay.lockstep import Lockstep
from gaussian_yolo_node.replay.notes import notes_on
from gaussian_yolo_node.replay.options import ReplayOptions
from gaussian_yolo_node.replay.player import OnProgress, Player
from gaussian_yolo_node.replay.prefetch import Prefetched
from gaussian_yolo_node.replay.realtime import RealTime, Schedule
from gaussian_yolo_node.replay.recorder import Recorder
from gaussian_yolo_node.replay.results import write_detections
from gaussian_yolo_node.replay.run_folder import (
    ANSWERS_FILE,
    DETECTIONS_FILE,
    REPORT_FILES,
    RUN_FILE,
    ReplayRun,
    write_run,
)
from gaussian_yolo_node.replay.session import LOG_FILE, Session, open_session, prepare_environment
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
        with open_session(options, selection, own) as session:
            return _play(options, selection, session, on_progress, on_start)


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
    session: Session,
    on_progress: OnProgress,
    on_start: Callable[[int], None],
) -> Outcome:
    driver, link = session.driver, session.link
    bag_time = BagTime()
    error: GaussianYoloError | None = None
    interrupted = False
    started = datetime.now().astimezone().isoformat(timespec="seconds")
    topics = {link.answer_topic: DETECTIONS, **selection.copied}
    repeatable = (link.answer_topic,) if options.mode == "lockstep" else ()
    with Recorder(options.output / ANSWERS_FILE, topics, repeatable=repeatable) as recorder:
        player = _player(options, session, recorder, on_progress)
        link.hand_answers_to(player.on_answer)
        try:
            player.listen()
            on_start(selection.count)
            with Prefetched(frames_and_copies(selection, bag_time), _READ_AHEAD) as items:
                player.play(items)
        except KeyboardInterrupt:
            interrupted = True
        except GaussianYoloError as failure:
            error = failure
    played = player.played
    frames = tuple(played.log.named(played.names, played.start_ns))
    write_detections(options.output, link.answer_topic, frames)
    notes = [*selection.reader.notes, *link.notes, *notes_on(played, frames, selection, bag_time), *played.notes]
    end = [f"the replay ended early: {error}"] if error else ["the replay was interrupted"] if interrupted else []
    diagnostics = dict(driver.diagnostics)
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
        command=list(options.command),
        started=started,
        elapsed_s=round(played.elapsed_s, 6),
        notes=[*notes, *end],
        counters=played.log.counters(),
        diagnostics=diagnostics,
        frames=frames,
    )
    write_run(options.output, run)
    return Outcome(run, error, interrupted)


def _player(options: ReplayOptions, session: Session, recorder: Recorder, on_progress: OnProgress) -> Player:
    common = (session.own, session.driver, session.link, recorder, on_progress)
    if options.mode == "lockstep":
        return Lockstep(*common, timeout_s=options.timeout_s)
    return RealTime(*common, schedule=Schedule(options.rate_factor, options.rate_hz))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
