"""Flip probability and top-5 distance over perturbation sequences (Hendrycks & Dietterich, ICLR 2019, section 4.3).

In noise sequences each frame is compared with the first, in all others with the previous frame. The caller supplies
AlexNet's flip probabilities for mFR; without them the mean flip probability is not normalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.robustness import RobustnessError

TOP = 5


def is_noise(perturbation: str) -> bool:
    """True if frames of the sequence are compared with the first."""
    return "noise" in perturbation


def flip_probability(predictions: Sequence[NDArray[np.intp]], *, noise: bool) -> float:
    """Share of frames whose class differs from the reference frame's, averaged over sequences.

    Args:
        predictions: one class id per frame; one array [F] with F >= 2 per sequence.
    """
    _check(predictions)
    return float(np.mean([np.mean(row[1:] != (row[0] if noise else row[:-1])) for row in map(np.asarray, predictions)]))


def mean_flip_rate(probabilities: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mFR in percent: mean ratio of flip probabilities to the baseline's. RobustnessError if the baseline lacks one."""
    missing = [name for name in probabilities if not baseline.get(name, 0.0) > 0]
    if missing or not probabilities:
        raise RobustnessError(f"the baseline has no flip probability for {', '.join(missing) or 'anything'}")
    return float(np.mean([100 * value / baseline[name] for name, value in probabilities.items()]))


def top5_distance(scores: Sequence[NDArray[np.floating]], *, noise: bool) -> float:
    """Top-5 distance averaged over sequences; one array of scores [F, C] per sequence."""
    _check(scores)
    distances = []
    for sequence in scores:
        order = np.argsort(-np.asarray(sequence), axis=1, kind="stable")
        ranks = np.argsort(order, axis=1, kind="stable")
        pairs = [(0 if noise else frame - 1, frame) for frame in range(1, len(order))]
        distances.append(np.mean([_distance(order[first], ranks[second]) for first, second in pairs]))
    return float(np.mean(distances))


def _distance(order: NDArray[np.intp], ranks: NDArray[np.intp]) -> int:
    """Distance of the top five classes from their ranks in the other ranking; all ranks below the fifth are equal."""
    first = order[:TOP]
    return int(np.abs(np.arange(len(first)) - np.minimum(ranks[first], TOP)).sum())


def _check(sequences: Sequence[NDArray[np.generic]]) -> None:
    if not sequences or any(len(each) < 2 for each in sequences):
        raise RobustnessError("flips need at least one sequence, of two frames or more each")
