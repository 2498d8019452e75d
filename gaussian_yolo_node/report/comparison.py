"""Two runs over the same frames: their differences, and whether these are more than chance."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.threshold_curves import ThresholdCurve, threshold_curve
from gaussian_yolo_node.report.bootstrap import (
    RESAMPLES,
    Counts,
    Estimate,
    Resampling,
    weighted_ap,
    weighted_quantile,
    weighted_ratio,
)

Floats = NDArray[np.float64]


class ComparisonError(GaussianYoloError):
    """Two runs cannot be compared; the message says why."""


@dataclass(frozen=True, eq=False)
class JudgedClass:
    """Detections of a class, correct or wrong.

    Attributes:
        scores, correct: [N].
        frames: [N], row of the frame in `FrameFigures`.
        truths: [F], number of objects in each frame.
    """

    scores: Floats
    correct: NDArray[np.bool_]
    frames: NDArray[np.intp]
    truths: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class FrameFigures:
    """Results of a run, frame by frame.

    Attributes:
        keys: F names, the same for the same frame of another run.
        stamps: [F], capture times in s, rising; NaN if unknown.
        classes: judged detections by class; empty without truth.
        found, false_positives: [F], correct and wrong detections at the score threshold; None without truth.
        inside, coordinates: [F], number of coordinates of matched boxes whose error is within one sigma, and number of
            all such coordinates; None without truth or sigmas.
        ages: [F], s; NaN for a frame without an answer. None if there was no run.
    """

    keys: tuple[str, ...]
    stamps: Floats
    classes: Mapping[str, JudgedClass]
    found: Floats | None
    false_positives: Floats | None
    inside: Floats | None
    coordinates: Floats | None
    ages: Floats | None

    @property
    def threshold_curve(self) -> ThresholdCurve | None:
        """Correct and wrong detections of all classes together, by falling score; None without truth."""
        if not self.classes:
            return None
        scores = np.concatenate([judged.scores for judged in self.classes.values()])
        correct = np.concatenate([judged.correct for judged in self.classes.values()])
        return threshold_curve(scores, correct, sum(self.objects.values()))

    @property
    def objects(self) -> dict[str, int]:
        """Number of objects by class."""
        return {name: int(judged.truths.sum()) for name, judged in self.classes.items()}

    def of(self, keys: tuple[str, ...]) -> FrameFigures:
        """The frames with these names only, in their order; all must exist."""
        row_of = {key: row for row, key in enumerate(self.keys)}
        rows = np.array([row_of[key] for key in keys], np.intp)
        new_row = np.full(len(self.keys), -1, np.intp)
        new_row[rows] = np.arange(len(rows))
        picked: dict[str, Any] = {
            field.name: None if (values := getattr(self, field.name)) is None else values[rows]
            for field in fields(self)
            if field.name not in ("keys", "classes")
        }
        classes = {}
        for name, judged in self.classes.items():
            kept = new_row[judged.frames] >= 0
            classes[name] = JudgedClass(
                judged.scores[kept], judged.correct[kept], new_row[judged.frames[kept]], judged.truths[rows]
            )
        return FrameFigures(keys, classes=classes, **picked)


@dataclass(frozen=True)
class Measure:
    """A figure of a run.

    Attributes:
        name: display name, with the unit after scaling.
        unit: "%" for shares, otherwise the unit of the number.
        scale: factor from the figure to the displayed number.
        higher_is_better: None if neither direction is better.
        digits: displayed decimals.
    """

    name: str
    unit: str
    scale: float
    higher_is_better: bool | None
    digits: int


@dataclass(frozen=True)
class Comparison:
    """One figure of two runs.

    Attributes:
        measure: which figure.
        run, baseline: its values over the common frames; None if there is nothing to measure.
        difference: run minus baseline, with its interval.
    """

    measure: Measure
    run: float | None
    baseline: float | None
    difference: Estimate

    @property
    def verdict(self) -> str:
        """One of "better", "worse" or "changed"; "none" for a difference of exactly 0, "not beyond chance" for any
        other."""
        if not self.difference.excludes_zero or self.difference.value is None:
            return "none" if self.difference.value == 0 else "not beyond chance"
        if self.measure.higher_is_better is None:
            return "changed"
        return "better" if (self.difference.value > 0) == self.measure.higher_is_better else "worse"


@dataclass(frozen=True)
class ComparedRuns:
    """All figures of two runs.

    Attributes:
        rows: by key.
        frames: number of common frames.
        only_run, only_baseline: number of frames in one run only, left out.
        block: number of frames per block of the bootstrap.
    """

    rows: Mapping[str, Comparison]
    frames: int
    only_run: int
    only_baseline: int
    block: int


def compare(
    run: FrameFigures,
    baseline: FrameFigures,
    *,
    no_verdict: Collection[str] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ComparedRuns:
    """Compare two runs over their common frames, resampling the same frames in both.

    Args:
        run, baseline: with the same truth and score threshold.
        no_verdict: keys of figures for which, between these two, neither direction is better.
        resamples, seed: of the bootstrap.

    Raises:
        ComparisonError: there are no common frames, or only one.
    """
    common = common_frames(run.keys, baseline.keys)
    ours, others = run.of(common), baseline.of(common)
    resampling = Resampling.of(ours.stamps, resamples, seed)

    def differences(weights: Counts) -> dict[str, Floats]:
        figures, other_figures = figures_of(ours, weights), figures_of(others, weights)
        return {key: figures[key] - other_figures[key] for key in figures if key in other_figures}

    once = np.ones((1, len(common)), np.int32)
    values, other_values = figures_of(ours, once), figures_of(others, once)
    shown = {key: measure_of(key) for key in values}
    shown |= {key: replace(shown[key], higher_is_better=None) for key in no_verdict if key in shown}
    rows = {
        key: Comparison(shown[key], _or_none(values[key][0]), _or_none(other_values[key][0]), difference)
        for key, difference in resampling.estimates(differences).items()
    }
    return ComparedRuns(
        rows, len(common), len(run.keys) - len(common), len(baseline.keys) - len(common), resampling.block
    )


def common_frames(run: tuple[str, ...], baseline: tuple[str, ...]) -> tuple[str, ...]:
    """Keys of the common frames, in the order of the run.

    Raises:
        ComparisonError: there are none, or only one.
    """
    theirs = set(baseline)
    common = tuple(key for key in run if key in theirs)
    if not common:
        raise ComparisonError(
            f"the run and its baseline have no frame in common: the run has frames such as {_first(run)}, the baseline "
            f"such as {_first(baseline)}; replay the same bag for both"
        )
    if len(common) == 1:
        raise ComparisonError(
            f"the run and its baseline have one frame in common, {common[0]}: one frame says nothing about "
            "chance; replay a longer bag"
        )
    return common


def figures_of(run: FrameFigures, weights: Counts) -> dict[str, Floats]:
    """The figures of a run when frame f occurs `weights[:, f]` times.

    Args:
        run: F frames.
        weights: [R, F].

    Returns:
        [R] by the keys of `measure_of`; NaN if there is nothing to measure.
    """
    by_class = {
        name: weighted_ap(judged.scores, judged.correct, judged.frames, judged.truths, weights)
        for name, judged in run.classes.items()
        if judged.truths.any()
    }
    figures: dict[str, Floats] = {}
    if by_class:
        figures["map"] = _mean_of_known(np.stack(list(by_class.values())))
        figures |= {f"{_AP}{name}": values for name, values in by_class.items()}
    if run.found is not None and run.false_positives is not None:
        figures["found"] = weights @ run.found
        figures["false_positives"] = weights @ run.false_positives
    if run.inside is not None and run.coordinates is not None:
        figures["within_1_sigma"] = weighted_ratio(run.inside, run.coordinates, weights)
    if run.ages is not None:
        figures["age_p50_s"] = weighted_quantile(run.ages, 0.5, weights)
        figures["age_p99_s"] = weighted_quantile(run.ages, 0.99, weights)
        figures["lost"] = weighted_ratio(np.isnan(run.ages).astype(np.float64), np.ones(len(run.ages)), weights)
    return figures


def measure_of(key: str) -> Measure:
    """The measure of a key."""
    return Measure(f"AP {key.removeprefix(_AP)}", "%", 100, True, 2) if key.startswith(_AP) else _MEASURES[key]


_AP = "ap/"
_MEASURES = {
    "map": Measure("mean AP", "%", 100, True, 2),
    "found": Measure("objects found", "", 1, True, 0),
    "false_positives": Measure("false positives", "", 1, False, 0),
    "within_1_sigma": Measure("errors within 1 sigma", "%", 100, None, 1),
    "age_p50_s": Measure("age, p50", "ms", 1e3, False, 2),
    "age_p99_s": Measure("age, p99", "ms", 1e3, False, 2),
    "lost": Measure("frames without an answer", "%", 100, False, 2),
}


def _mean_of_known(values: Floats) -> Floats:
    """Column means of [C, R]; a class without objects in a resample is left out of that resample's mean."""
    known = ~np.isnan(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _or_none(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)


def _first(keys: tuple[str, ...]) -> str:
    return keys[0] if keys else "none"
