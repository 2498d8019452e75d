"""How honest predicted standard deviations are: errors of matched boxes, divided by their sigma."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A sigma of 0 claims a perfect box; any error then counts as far outside, without a division by zero.
_LEAST_SIGMA = 1e-6  # px


@dataclass(frozen=True, eq=False)
class MatchedBoxes:
    """Detections beside the objects they found.

    Attributes:
        boxes, truths: float64 [N, 4], x1 y1 x2 y2 in px.
        sigmas: float64 [N, 4], standard deviations of centre x, centre y, width, height in px; None if unknown.
    """

    boxes: NDArray[np.float64]
    truths: NDArray[np.float64]
    sigmas: NDArray[np.float64] | None


@dataclass(frozen=True)
class SigmaCoverage:
    """Standardised errors of all matched boxes.

    Attributes:
        boxes: number of matched boxes.
        within: share of the coordinates whose error is at most 1, 2, 3 sigma.
        rms: root mean square of error / sigma, for centre x, centre y, width, height; 1 is calibrated, above 1 is
            overconfident.
    """

    boxes: int
    within: tuple[float, float, float]
    rms: tuple[float, float, float, float]


def sigma_coverage(frames: Iterable[MatchedBoxes]) -> SigmaCoverage | None:
    """Coverage over all frames; None if sigmas are unknown or nothing was matched."""
    errors = [np.empty((0, 4))]
    for frame in frames:
        if frame.sigmas is None:
            return None
        difference = _centres_sizes(frame.boxes) - _centres_sizes(frame.truths)
        errors.append(difference / np.maximum(frame.sigmas, _LEAST_SIGMA))
    z = np.abs(np.concatenate(errors))
    if not len(z):
        return None
    one, two, three = (float((z <= limit).mean()) for limit in (1, 2, 3))
    cx, cy, w, h = (float(value) for value in np.sqrt((z**2).mean(axis=0)))
    return SigmaCoverage(len(z), (one, two, three), (cx, cy, w, h))


def _centres_sizes(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)
