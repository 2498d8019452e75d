"""The folder that a replay writes: what was played, what was answered, and how old the answers were.

answers.mcap      the node's detections as published, with copies of the bag's truth
detections.json   the same in the format of `detect --json`, one record per answered frame
run.json          everything else; this module reads and writes it
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import numpy as np

from gaussian_yolo_node.documents import read_json
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import whole_file

FORMAT = 1
ANSWERS_FILE = "answers.mcap"
DETECTIONS_FILE = "detections.json"
RUN_FILE = "run.json"
REPORT_FILES = ("report.html", "report.json")

Mode = Literal["lockstep", "realtime"]
MODES: tuple[Mode, ...] = ("lockstep", "realtime")


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
    width: int
    height: int
    published_s: float
    answered_s: float | None = None
    detections: int = 0
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

    played: int = 0
    answered: int = 0
    dropped: int = 0
    failed: int = 0


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
    rate_factor: float
    rate_hz: float | None
    score_threshold: float | None
    criterion: str
    model: Mapping[str, Any]
    model_hash: str
    runtime: str
    machine: str
    command: Sequence[str]
    started: str
    elapsed_s: float
    notes: Sequence[str]
    counters: ReplayCounters
    diagnostics: Mapping[str, str]
    frames: Sequence[ReplayedFrame] = field(repr=False)

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
    document = {"format": FORMAT, **{name: getattr(run, name) for name in _FIELDS}}
    document["counters"] = asdict(run.counters)
    with whole_file(path, ReplayRunError) as part, part.open("w", encoding="utf-8") as file:
        _write_document(file, document, run.frames)
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
    try:
        return _run(document)
    except ValueError as error:
        raise ReplayRunError(f"{path}: {error}") from error


def _write_document(file: TextIO, document: Mapping[str, Any], frames: Sequence[ReplayedFrame]) -> None:
    # One line per frame: a long run is never one string in memory, and the file stays readable.
    file.write(json.dumps(document, indent=1, default=list, allow_nan=False).removesuffix("\n}") + ',\n "frames": [')
    for number, frame in enumerate(frames):
        file.write(("," if number else "") + "\n  " + json.dumps(asdict(frame), allow_nan=False))
    file.write("\n ]\n}\n")


# Name -> (types, expected value) of the fields of run.json besides "format", "counters" and "frames".
_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "bag": ((str,), "a path"),
    "image_topic": ((str,), "a topic"),
    "mode": ((str,), " or ".join(f'"{mode}"' for mode in MODES)),
    "rate_factor": ((int, float), "a number"),
    "rate_hz": ((int, float, type(None)), "a number or null"),
    "score_threshold": ((int, float, type(None)), "a number or null"),
    "criterion": ((str,), "a name"),
    "model": ((dict,), "an object"),
    "model_hash": ((str,), "text"),
    "runtime": ((str,), "text"),
    "machine": ((str,), "text"),
    "command": ((list,), "an array"),
    "started": ((str,), "a time"),
    "elapsed_s": ((int, float), "a number"),
    "notes": ((list,), "an array"),
    "diagnostics": ((dict,), "an object"),
}
_FRAME_FIELDS: dict[str, tuple[tuple[type, ...], str]] = {
    "name": ((str,), "a name"),
    "stamp_ns": ((int,), "a whole number"),
    "width": ((int,), "a whole number"),
    "height": ((int,), "a whole number"),
    "published_s": ((int, float), "a number"),
    "answered_s": ((int, float, type(None)), "a number or null"),
    "detections": ((int,), "a whole number"),
}


def _run(document: Any) -> ReplayRun:
    if not isinstance(document, dict):
        raise ValueError("it is not an object")
    if document.get("format") != FORMAT:
        raise ValueError(f'"format" is {document.get("format")!r}, but this version reads {FORMAT}: replay again')
    values = {name: _value(document, name, *kind) for name, kind in _FIELDS.items()}
    if values["mode"] not in MODES:
        raise ValueError(f'"mode" is {values["mode"]!r}, not {_FIELDS["mode"][1]}')
    counters = _value(document, "counters", (dict,), "an object")
    frames = _value(document, "frames", (list,), "an array")
    return ReplayRun(
        **cast(Any, values),
        counters=ReplayCounters(
            **{name: _value(counters, name, (int,), "a whole number") for name in asdict(ReplayCounters())}
        ),
        frames=tuple(_frame(record, number) for number, record in enumerate(frames)),
    )


def _frame(record: Any, number: int) -> ReplayedFrame:
    if not isinstance(record, dict):
        raise ValueError(f"frame {number} is not an object")
    try:
        values = {name: _value(record, name, *kind) for name, kind in _FRAME_FIELDS.items()}
        if "failure" in record:
            values["failure"] = _value(record, "failure", (str,), "text")
    except ValueError as error:
        raise ValueError(f"frame {number}: {error}") from None
    return ReplayedFrame(**values)


def _value(record: Mapping[str, Any], name: str, types: tuple[type, ...], what: str) -> Any:
    if name not in record:
        raise ValueError(f'"{name}" is missing')
    value = record[name]
    if not isinstance(value, types) or isinstance(value, bool):
        raise ValueError(f'"{name}" is {value!r}, not {what}')
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f'"{name}" is {value!r}, not {what}')
    return value
