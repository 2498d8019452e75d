"""Ages of the answers and frames without an answer: figures, and the values and drawings of their section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from gaussian_yolo_node.replay.run_folder import ReplayedFrame, ReplayRun
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.bootstrap import weighted_quantile

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


def latency_values(run: ReplayRun, latency: Latency) -> dict[str, Any]:
    """Values of latency.html.j2."""
    times = {stage: _milliseconds(run.diagnostics.get(f"{stage}_ms")) for stage in _STAGES}
    return {
        "run": run,
        "latency": latency,
        "stages_ms": {stage: time for stage, time in times.items() if time is not None},
        "drawings": _drawings(run, latency),
    }


def _drawings(run: ReplayRun, latency: Latency) -> dict[str, Markup]:
    """The drawings by name; empty without answers."""
    ages = ages_of(run.frames)
    known = ~np.isnan(ages)
    if not known.any():
        return {}
    published = np.array([frame.published_s for frame in run.frames], np.float64)
    marks = {f"p{level}": 1e3 * latency.age_percentiles_s[level] for level in (50, 99)}
    return {
        "histogram": plots.age_histogram("age-histogram", 1e3 * ages[known], marks),
        "timeline": plots.age_timeline("age-timeline", published[known], 1e3 * ages[known], published[~known]),
    }


def _milliseconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return int((ends - starts).max(initial=0))
