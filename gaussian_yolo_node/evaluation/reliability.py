"""Whether a detection's score is the probability that it is correct."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SCORE_BINS = 10  # of equal width over 0..1


@dataclass(frozen=True)
class ScoreBin:
    """Detections with similar scores.

    Attributes:
        score: their mean score.
        precision: share of them that is correct.
    """

    detections: int
    score: float
    precision: float


@dataclass(frozen=True)
class ScoreQuality:
    """Calibration of scores: how well they predict the share of correct detections.

    Attributes:
        calibration_error: expected calibration error, 0..1 (Guo et al., "On Calibration of Modern Neural Networks",
            ICML 2017; with precision for accuracy, as Kueppers et al., "Multivariate Confidence Calibration for Object
            Detection", CVPR Workshops 2020): mean of |score - precision| over the bins, weighted by the number of
            detections; None without detections.
        bins: the non-empty bins, by rising score.
    """

    detections: int
    calibration_error: float | None
    bins: tuple[ScoreBin, ...]


def score_quality(scores: NDArray[np.float64], correct: NDArray[np.bool_]) -> ScoreQuality:
    """Compare scores [N], 0..1, with precision; `correct` [N] says which detections are correct."""
    numbers = np.minimum((scores * SCORE_BINS).astype(int), SCORE_BINS - 1)
    bins = tuple(
        ScoreBin(int(inside.sum()), float(scores[inside].mean()), float(correct[inside].mean()))
        for inside in (numbers == number for number in range(SCORE_BINS))
        if inside.any()
    )
    if not bins:
        return ScoreQuality(0, None, ())
    apart = sum(each.detections * abs(each.score - each.precision) for each in bins)
    return ScoreQuality(len(scores), apart / len(scores), bins)
