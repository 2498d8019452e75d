"""Confidence intervals of a recording's figures, for other frames of the same kind.

Consecutive frames show the same objects, so frames are not independent samples: resampling single frames would claim
far too much certainty. Blocks of consecutive frames are resampled instead (moving-block bootstrap: Kuensch, Annals of
Statistics 1989), on a circle, so that frames at the ends are drawn as often as all others (Politis and Romano, "A
circular block-resampling procedure", 1992). Resampling one recording cannot show the variation between recordings -
another road, another day.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]

RESAMPLES = 1000
LEVEL = 0.95
# An object stays in view for a few seconds.
BLOCK_SECONDS = 2.0
# With fewer blocks there is nothing to draw from.
_LEAST_BLOCKS = 4
# Elements of the weights per chunk: keeps the product in the cache and the memory bounded.
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval.

    Attributes:
        value: the figure for the original frames; None if there is nothing to measure.
        low, high: ends of the interval; None if there are too few frames, or if too many resamples have nothing to
            measure.
    """

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether, for a difference, chance alone is an unlikely explanation."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    def scaled(self, scale: float) -> Estimate:
        """The same in another unit."""
        return Estimate(*(None if each is None else scale * each for each in (self.value, self.low, self.high)))


@dataclass(frozen=True, eq=False)
class Resampling:
    """How often each frame is drawn.

    Attributes:
        weights: int32 [R, F], one row per resample; each row sums to F.
        block: number of frames per block.
    """

    weights: Counts
    block: int

    @classmethod
    def of(cls, stamps: Floats, resamples: int = RESAMPLES, seed: int = 0) -> Resampling:
        """Draw blocks of about two seconds, but of at most a quarter of the recording.

        Args:
            stamps: [F], times of the frames in s, rising. If they are all equal or unknown (NaN), a block has as many
                frames as the cube root of F.
            resamples: R.
            seed: seed of the draw.
        """
        frames = len(stamps)
        block = block_length(stamps)
        generator = np.random.default_rng(seed)
        starts = generator.integers(0, max(1, frames), (resamples, -(-frames // block)))
        reach = np.arange(block)
        weights = np.empty((resamples, frames), np.int32)
        for row, firsts in zip(weights, starts, strict=True):
            drawn = ((firsts[:, None] + reach) % max(1, frames)).ravel()[:frames]
            row[:] = np.bincount(drawn, minlength=frames)
        return cls(weights, block)

    def estimates(self, figures: Callable[[Counts], Mapping[str, Floats]]) -> dict[str, Estimate]:
        """Figures and their intervals, from percentiles of the resamples.

        Args:
            figures: maps weights [r, F] to named arrays [r]; NaN if there is nothing to measure.
        """
        frames = self.weights.shape[1]
        if not frames:
            return {}
        values = {name: float(row[0]) for name, row in figures(np.ones((1, frames), np.int32)).items()}
        if frames < _LEAST_BLOCKS:
            return {name: Estimate(None if np.isnan(value) else value) for name, value in values.items()}
        rows = max(1, _CHUNK // frames)
        parts = [figures(self.weights[first : first + rows]) for first in range(0, len(self.weights), rows)]
        return {
            name: _estimate(value, np.concatenate([part[name] for part in parts])) for name, value in values.items()
        }


def _estimate(value: float, drawn: Floats) -> Estimate:
    if np.isnan(value):
        return Estimate(None)
    known = drawn[~np.isnan(drawn)]
    if len(known) < LEVEL * len(drawn):
        return Estimate(value)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high))


def block_length(stamps: Floats) -> int:
    """Number of frames in about two seconds, 1 to a quarter of all."""
    frames = len(stamps)
    steps = np.diff(stamps)
    step = float(np.median(steps)) if frames > 1 else np.nan
    wanted = round(BLOCK_SECONDS / step) if step > 0 else round(frames ** (1 / 3))
    return int(np.clip(wanted, 1, max(1, frames // _LEAST_BLOCKS)))


def weighted_ap(
    scores: Floats, correct: NDArray[np.bool_], frames: NDArray[np.intp], truths: NDArray[np.intp], weights: Counts
) -> Floats:
    """All-point average precision when frame f occurs `weights[:, f]` times.

    Args:
        scores: [N].
        correct: [N], whether a detection matches an object that no earlier detection matched.
        frames: [N], the frame of each detection.
        truths: [F], number of objects in each frame.
        weights: [R, F].

    Returns:
        [R], 0..1; NaN if no object is left.
    """
    order = np.argsort(-scores, kind="stable")
    matches = np.flatnonzero(correct[order])
    # Detections after the last correct one do not change AP.
    of_detection = frames[order][: matches[-1] + 1 if len(matches) else 0]
    objects = weights @ truths.astype(np.int64)
    ap = np.zeros(len(weights))
    for row, weight in enumerate(weights):
        copies = weight[of_detection]
        of_matches = copies[matches]
        taken = np.cumsum(copies, dtype=np.int64)[matches]
        precision = np.cumsum(of_matches, dtype=np.int64) / np.maximum(taken, 1)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        ap[row] = of_matches @ best_from_here
    return np.where(objects > 0, ap / np.maximum(objects, 1), np.nan)


def weighted_ratio(part: Floats, whole: Floats, weights: Counts) -> Floats:
    """[R], weighted sum of `part` [F] over weighted sum of `whole` [F]; NaN if the latter is 0."""
    below = weights @ whole
    return np.where(below > 0, (weights @ part) / np.where(below > 0, below, 1), np.nan)


def weighted_quantile(values: Floats, share: float, weights: Counts) -> Floats:
    """[R], the smallest value that at least this share of the values does not exceed; NaN values are ignored.

    Args:
        values: [F].
        share: 0..1.
        weights: [R, F].
    """
    rows = np.flatnonzero(~np.isnan(values))
    rows = rows[np.argsort(values[rows], kind="stable")]
    if not len(rows):
        return np.full(len(weights), np.nan)
    passed = np.cumsum(weights[:, rows], axis=1)
    total = passed[:, -1]
    # The tolerance keeps rounding from deciding, for example, the median of two equal halves.
    at = (passed < np.ceil(share * total - 1e-9)[:, None]).sum(axis=1)
    return np.where(total > 0, values[rows][np.minimum(at, len(rows) - 1)], np.nan)
