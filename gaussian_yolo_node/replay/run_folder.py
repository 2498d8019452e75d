"""The folder that a replay writes: what was played, what was answered, and how old the answers were.

answers.mcap      the node's detections as published, with copies of the bag's truth
detections.json   the same in the format of `detect --json`, one record per answered frame
run.json          everything else; this module reads and writes it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from gaussian_yolo_node import settings
from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import whole_file

FORMAT = 1
ANSWERS_FILE = "answers.mcap"
DETECTIONS_FILE = "detections.json"
RUN_FILE = "run.json"
REPORT_FILES = ("report.html", "report.json")

Mode = Literal["lockstep", "realtime"]
MODES: tuple[Mode, ...] = get_args(Mode)


class ReplayRunError(GaussianYoloError):
    """A folder is not the result of a replay, or cannot be written."""


@dataclass(frozen=True, slots=True)  # a long run has many
class ReplayedFrame:
    """One image of the bag and its outcome.

    Attributes:
        name: file name from the bag, or the header stamp in ns; unique in a run.
        stamp_ns: header stamp, ns.
        width, height: px; 0 if the message does not state them.
        published_s: time of publication, s since the run's start.
        answered_s: time of arrival of its detections, s since the run's start; None if they never arrived.
        detections: number of boxes in the answer.
        failure: why the node could not process it, in the node's words; empty for an answered or dropped frame.
    """

    name: str
    stamp_ns: int
    width: settings.Natural
    height: settings.Natural
    published_s: settings.NotNegative
    answered_s: settings.NotNegative | None = None
    detections: settings.Natural = 0
    failure: str = ""

    @property
    def age_s(self) -> float | None:
        """From the publication of the image to the arrival of its detections, s."""
        return None if self.answered_s is None else self.answered_s - self.published_s

    @property
    def dropped(self) -> bool:
        """Neither answered nor known to have failed."""
        return self.answered_s is None and not self.failure


@dataclass(frozen=True)
class ReplayCounters:
    """Frames of a run; `played` is the sum of the others."""

    played: settings.Natural
    answered: settings.Natural
    dropped: settings.Natural
    failed: settings.Natural


@dataclass(frozen=True)
class ReplayRun:
    """Contents of run.json.

    Attributes:
        bag: path of the bag as given.
        image_topic: topic in the bag.
        mode: whether each frame waited for the answer to the previous one, or was published at its time.
        rate_factor: speed relative to the bag, in real time; 1 in lockstep.
        rate_hz: fixed rate of publication, if requested, Hz.
        score_threshold: minimum criterion of the node's detections; None if the node does not report it.
        criterion: "gaussian" or "confidence"; empty if the node does not report it.
        model: the model's card; empty if the node does not report it.
        model_hash, runtime: as reported by the node.
        machine: processor and cores.
        command: the command line that repeats the run.
        started: ISO 8601 with zone.
        elapsed_s: from the first frame's publication to the end, s.
        notes: notes for the reader, one sentence each.
        counters: totals over the frames. In real time the node's diagnostics report how many frames failed but not
            which, so `failed` may exceed the number of frames with a `failure`.
        diagnostics: last key/values of the node's status, without the card. Its ages are by the replay's /clock: use
            the frames' ages instead.
        frames: in the order of the bag.
    """

    bag: str
    image_topic: str
    mode: Mode
    rate_factor: settings.Positive
    rate_hz: settings.Positive | None
    score_threshold: settings.Probability | None
    criterion: str
    model: Mapping[str, Any]
    model_hash: str
    runtime: str
    machine: str
    command: tuple[str, ...]
    started: str
    elapsed_s: settings.NotNegative
    notes: tuple[str, ...]
    counters: ReplayCounters
    diagnostics: Mapping[str, str]
    frames: tuple[ReplayedFrame, ...] = field(repr=False)

    def summary_lines(self) -> list[str]:
        """Summary of the run, for a terminal or a log."""
        counters = self.counters
        lines = [
            f"{counters.played} frames played, {counters.answered} answered, {counters.dropped} dropped, "
            f"{counters.failed} failed in {self.elapsed_s:.1f} s; "
            f"{sum(frame.detections for frame in self.frames)} boxes"
        ]
        ages = [frame.age_s for frame in self.frames if frame.age_s is not None]
        if ages:
            p50, p99 = np.percentile(ages, (50, 99)) * 1e3
            rate = counters.answered / max(self.elapsed_s, 1e-9)
            lines.append(
                f"age of the answers p50 {p50:.1f} ms, p99 {p99:.1f} ms; {rate:.1f} answers/s; "
                f"{self.model.get('name') or 'unknown model'} on {self.runtime}"
            )
        return lines


def write_run(folder: Path, run: ReplayRun) -> Path:
    """Write run.json.

    Raises:
        ReplayRunError: it cannot be written.
    """
    path = folder / RUN_FILE
    if not folder.is_dir():
        raise ReplayRunError(f"{path} cannot be written: there is no folder {folder}")
    document = {"format": FORMAT, **{each.name: getattr(run, each.name) for each in fields(run)}}
    document |= {"counters": asdict(run.counters), "frames": None}
    head, tail = json.dumps(document, indent=1, allow_nan=False).rsplit("null", 1)
    with whole_file(path, ReplayRunError) as part, part.open("w", encoding="utf-8") as file:
        # One line per frame: a long run is never one string in memory, and the file stays readable.
        file.write(f"{head}[")
        for number, frame in enumerate(run.frames):
            file.write(("," if number else "") + "\n  " + json.dumps(asdict(frame), allow_nan=False))
        file.write(f"\n ]{tail}\n")
    return path


def read_run(folder: Path) -> ReplayRun:
    """Read the run.json of a run.

    Args:
        folder: the run's folder, or its run.json.

    Raises:
        ReplayRunError: there is none, or a field differs from what `write_run` writes; the message names the field.
    """
    path = folder / RUN_FILE if folder.is_dir() else folder
    if not path.exists():
        raise ReplayRunError(f"{folder} is not the folder of a replay: it has no {RUN_FILE}, which `replay -o` writes")
    document = read_json(path, "", ReplayRunError)
    version = document.pop("format", None) if isinstance(document, dict) else FORMAT
    if version != FORMAT:
        raise ReplayRunError(f'{path}: "format" is {version!r}, but this version reads {FORMAT}: replay again')
    return settings.read(ReplayRun, document, path, ReplayRunError)
