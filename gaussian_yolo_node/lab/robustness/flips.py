"""Flip probability and top-5 distance over perturbation sequences (Hendrycks & Dietterich, ICLR 2019, section 4.3).

Noise sequences compare each frame with the first, all others with the frame before. AlexNet's flip probabilities, which
mFR divides by, are for the caller to give; without them the mean flip probability is not normalised.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.robustness import RobustnessError

TOP = 5


def is_noise(perturbation: str) -> bool:
    """Whether frames of such a sequence are compared with the first one."""
    return "noise" in perturbation


def flip_probability(predictions: Sequence[NDArray[np.intp]], *, noise: bool) -> float:
    """Mean over sequences of the share of frames whose class is another than the one compared with.

    Args:
        predictions: a class id a frame, [F] with F >= 2 a sequence.
    """
    _check(predictions)
    return float(np.mean([np.mean(row[1:] != (row[0] if noise else row[:-1])) for row in map(np.asarray, predictions)]))


def mean_flip_rate(probabilities: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """mFR in percent: mean of the flip probabilities over the baseline's. RobustnessError where that lacks one."""
    missing = [name for name in probabilities if not baseline.get(name, 0.0) > 0]
    if missing or not probabilities:
        raise RobustnessError(f"the baseline has no flip probability for {', '.join(missing) or 'anything'}")
    return float(np.mean([100 * value / baseline[name] for name, value in probabilities.items()]))


def top5_distance(scores: Sequence[NDArray[np.floating]], *, noise: bool) -> float:
    """Mean over sequences of the distance of the first five ranks, scores [F, C] a sequence."""
    _check(scores)
    distances = []
    for sequence in scores:
        order = np.argsort(-np.asarray(sequence), axis=1, kind="stable")
        ranks = np.argsort(order, axis=1, kind="stable")
        pairs = [(0 if noise else frame - 1, frame) for frame in range(1, len(order))]
        distances.append(np.mean([_distance(order[first], ranks[second]) for first, second in pairs]))
    return float(np.mean(distances))


def _distance(order: NDArray[np.intp], ranks: NDArray[np.intp]) -> int:
    """How far the first five classes of one ranking are from their places in the other; below the fifth is all one."""
    first = order[:TOP]
    return int(np.abs(np.arange(len(first)) - np.minimum(ranks[first], TOP)).sum())


def _check(sequences: Sequence[NDArray[np.generic]]) -> None:
    if not sequences or any(len(each) < 2 for each in sequences):
        raise RobustnessError("flips need at least one sequence, of two frames or more each")
