"""Ages of the answers, and frames without an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.replay.run_folder import ReplayedFrame, ReplayRun
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.bootstrap import weighted_quantile
from gaussian_yolo_node.report.drawing import captioned, side_by_side
from gaussian_yolo_node.report.page import (
    Html,
    Section,
    count,
    join,
    number,
    paragraphs,
    percent,
    table,
    tag,
)

Floats = NDArray[np.float64]

PERCENTILES = (50, 90, 99, 100)
_STAGES = ("preprocess", "inference", "postprocess", "publish")


@dataclass(frozen=True)
class Latency:
    """Ages of a run's answers; an age is the time from publishing an image to the arrival of its detections.

    Attributes:
        age_percentiles_s: by 50, 90, 99, 100; empty without answers.
        played_hz, answered_hz: frames per second between the first and the last published; None for a single instant.
        lost: number of frames without an answer.
        longest_loss_frames: most consecutive frames without an answer.
        longest_wait_s: longest time between consecutive answers, or between an answer and the run's ends; None without
            answers.
    """

    age_percentiles_s: dict[int, float]
    played_hz: float | None
    answered_hz: float | None
    lost: int
    longest_loss_frames: int
    longest_wait_s: float | None


def ages_of(frames: Sequence[ReplayedFrame]) -> Floats:
    """[F], age of the answer to each frame in s; NaN without an answer."""
    return np.array([np.nan if frame.age_s is None else frame.age_s for frame in frames], np.float64)


def measure_latency(run: ReplayRun) -> Latency:
    """The latency figures of a run."""
    ages = ages_of(run.frames)
    published = np.array([frame.published_s for frame in run.frames], np.float64)
    answered = np.array([frame.answered_s for frame in run.frames if frame.answered_s is not None], np.float64)
    lost = np.isnan(ages)
    once = np.ones((1, len(ages)), np.int32)
    span = float(np.ptp(published)) if len(published) else 0.0
    # A subscriber experiences the silence between answers, whichever frames they belong to.
    ends = [published.min(), max(published.max(), answered.max())] if len(answered) else []
    moments = np.sort(np.append(answered, ends))
    return Latency(
        {level: float(weighted_quantile(ages, level / 100, once)[0]) for level in PERCENTILES} if len(answered) else {},
        (len(ages) - 1) / span if span else None,
        max(0, len(answered) - 1) / span if span else None,
        int(lost.sum()),
        _longest_run(lost),
        float(np.diff(moments).max()) if len(answered) else None,
    )


def latency_section(run: ReplayRun, latency: Latency) -> Section:
    """Tables and drawings of one run's latency."""
    ages = ages_of(run.frames)
    known = ~np.isnan(ages)
    published = np.array([frame.published_s for frame in run.frames], np.float64)
    frames = len(run.frames)
    parts: list[Html] = [paragraphs([_pace(run)]), _counters(run, latency)]
    if known.any():
        marks = {f"p{level}": 1e3 * latency.age_percentiles_s[level] for level in (50, 99)}
        histogram = captioned(
            plots.age_histogram("age-histogram", 1e3 * ages[known], marks),
            "Ages",
            f"How many of the {count(known.sum())} answered frames had an answer of which age: from publishing the "
            "image to the arrival of its detections, with both ways through the middleware. Further left is better; a "
            "long tail to the right is what a controller must be built for. The last bar also holds the 0.1 % that "
            "are older.",
        )
        parts.append(side_by_side(histogram, tag("div", _ages(latency), *_stages(run))))
        parts.append(
            captioned(
                plots.age_timeline("age-timeline", published[known], 1e3 * ages[known], published[~known]),
                "Timeline",
                f"Age of the answer to each of {count(frames)} frames over the run; a red line is a frame that never "
                f"got one ({count((~known).sum())}). Red in clusters, or ages that climb, mean that the node cannot "
                "keep up; single spikes are the machine's. In long runs a band from the youngest to the oldest answer "
                "of each moment is drawn.",
                class_="long",
            )
        )
    return Section("latency", "Latency and drops", join(*parts))


def _pace(run: ReplayRun) -> str:
    if run.mode == "lockstep":
        return (
            "Lockstep: each frame was published after the answer to the one before, so no frame can be dropped and "
            "the ages are those of a node at rest. They say nothing about a camera's own rate; for that, replay in "
            "real time."
        )
    if run.rate_hz:
        return f"Real time: frames were published at {number(run.rate_hz, 1)} Hz, whether the node kept up or not."
    return (
        f"Real time: frames were published at {number(run.rate_factor)} times the bag's own pace, whether the node "
        "kept up or not."
    )


def _counters(run: ReplayRun, latency: Latency) -> Html:
    counters = run.counters
    rows = [
        (name, count(value), percent(value / counters.played if counters.played else None))
        for name, value in (
            ("played", counters.played),
            ("answered", counters.answered),
            ("dropped", counters.dropped),
            ("failed", counters.failed),
        )
    ]
    facts = [
        ("published", f"{number(latency.played_hz)} Hz"),
        ("answered", f"{number(latency.answered_hz)} Hz"),
        ("most frames lost in a row", count(latency.longest_loss_frames)),
        ("longest wait for an answer", f"{number(latency.longest_wait_s, 3)} s"),
        ("length of the run", f"{number(run.elapsed_s, 1)} s"),
    ]
    return side_by_side(
        table(("frames", "number", "%"), rows, caption="What became of the frames."),
        table(("pace", "value"), facts, caption="How often, and the longest silence."),
    )


def _ages(latency: Latency) -> Html:
    rows = [
        ("oldest" if level == 100 else f"p{level}", number(1e3 * age))
        for level, age in latency.age_percentiles_s.items()
    ]
    return table(("age of the answer", "ms"), rows, caption="Half, nine in ten, 99 in 100 answers are no older.")


def _stages(run: ReplayRun) -> list[Html]:
    times = {stage: _milliseconds(run.diagnostics.get(f"{stage}_ms")) for stage in _STAGES}
    rows = [(stage, number(value)) for stage, value in times.items() if value is not None]
    if not rows:
        return []
    return [table(("stage", "ms"), rows, caption="Inside the node, as its last diagnostics message tells.")]


def _milliseconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((ends - starts).max(initial=0))
