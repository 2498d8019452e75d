"""How predicted standard deviations relate to the IoU and the errors of boxes, and how sharp they are.

Everything here covers boxes that match an object. Functions return None if sigmas are unknown or there are no boxes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.sigma_correction import COORDINATES
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.uncertainty import (
    LEVELS,
    Floats,
    box_uncertainty,
    gaussian_nll,
    observed_coverage,
    relative_sigmas,
)

SIGMA_BINS = 10
_IOU_STEPS = 20  # bins of the unit interval
_PERCENTILES = (10, 50, 90)


@dataclass(frozen=True)
class Spread:
    """Distribution of one quantity over the boxes in one bin of another.

    Attributes:
        low, high: least and greatest value of the binned quantity.
        centre: mean of the binned quantity.
        mean, std: of the other quantity.
        p10, p50, p90: percentiles of the other quantity.
    """

    boxes: int
    low: float
    high: float
    centre: float
    mean: float
    std: float
    p10: float
    p50: float
    p90: float


@dataclass(frozen=True, eq=False)
class IouAgainstSigma:
    """Whether less certain boxes have lower IoU (Choi et al., "Gaussian YOLOv3", ICCV 2019, figure 3).

    Attributes:
        sigmas: [N], `box_uncertainty` of each box.
        ious: [N], of each box with its object.
        by_sigma: IoU in bins with about equal numbers of boxes, by rising sigma; equal sigmas share a bin.
        by_iou: sigma in bins of IoU of width 0.05, by rising IoU; only non-empty bins.
    """

    sigmas: Floats
    ious: Floats
    by_sigma: tuple[Spread, ...]
    by_iou: tuple[Spread, ...]


@dataclass(frozen=True, eq=False)
class CoverageCurve:
    """Reliability diagram of the sigmas.

    Attributes:
        expected: [99], share of errors inside the central interval of a Gaussian: 0.01, 0.02 .. 0.99.
        observed: by cx, cy, w, h and "all", the observed share, [99]. Above `expected` the sigmas are too large, below
            it too small.
    """

    expected: Floats
    observed: Mapping[str, Floats]


@dataclass(frozen=True)
class Sharpness:
    """Size of the sigmas of one coordinate; of two calibrated detectors, the sharper one is more informative.

    Attributes:
        mean_px, median_px, rms_px: of sigma.
        mean_relative, median_relative: of sigma over the box's width (cx, w) or height (cy, h).
    """

    mean_px: float
    median_px: float
    rms_px: float
    mean_relative: float
    median_relative: float


@dataclass(frozen=True)
class Likelihood:
    """How much per-box sigmas improve the likelihood of one coordinate's errors; nats, errors in px, less is better.

    Attributes:
        nll: mean negative log-likelihood under the predicted sigmas; None if one is 0.
        constant: the same under the best single sigma in px for all boxes, chosen with hindsight; None if all errors
            are 0.
        proportional: under the best sigma that is a fixed share of the box's width or height; None likewise.
    """

    nll: float | None
    constant: float | None
    proportional: float | None


def iou_against_sigma(matched: MatchedBoxes, bins: int = SIGMA_BINS) -> IouAgainstSigma | None:
    """IoU by sigma and sigma by IoU; pass boxes with low IoU, too."""
    if matched.sigmas is None or not len(matched):
        return None
    sigmas, ious = box_uncertainty(matched.boxes, matched.sigmas), matched.ious
    steps = np.minimum((ious * _IOU_STEPS).astype(np.intp), _IOU_STEPS - 1)
    return IouAgainstSigma(
        sigmas, ious, _spreads(_equal_bins(sigmas, bins), sigmas, ious), _spreads(steps, ious, sigmas)
    )


def coverage_curve(matched: MatchedBoxes) -> CoverageCurve | None:
    """Expected and observed coverage by coordinate."""
    if matched.sigmas is None or not len(matched):
        return None
    errors, sigmas = matched.errors, matched.sigmas
    observed = {name: observed_coverage(errors[:, axis], sigmas[:, axis]) for axis, name in enumerate(COORDINATES)}
    return CoverageCurve(LEVELS.copy(), {**observed, "all": observed_coverage(errors, sigmas)})


def sharpness(matched: MatchedBoxes) -> Mapping[str, Sharpness] | None:
    """By cx, cy, w, h."""
    if matched.sigmas is None or not len(matched):
        return None
    sigmas, relative = matched.sigmas, relative_sigmas(matched.boxes, matched.sigmas)
    return {
        name: Sharpness(
            float(px.mean()), float(np.median(px)), _rms(px), float(shares.mean()), float(np.median(shares))
        )
        for name, px, shares in zip(COORDINATES, sigmas.T, relative.T, strict=True)
    }


def likelihoods(matched: MatchedBoxes) -> Mapping[str, Likelihood] | None:
    """By cx, cy, w, h and "all"."""
    if matched.sigmas is None or not len(matched):
        return None
    errors, sigmas, sizes = matched.errors, matched.sigmas, matched.sizes
    constant = np.sqrt((errors**2).mean(axis=0))
    proportional = np.sqrt((relative_sigmas(matched.boxes, errors) ** 2).mean(axis=0)) * sizes
    columns = {name: slice(axis, axis + 1) for axis, name in enumerate(COORDINATES)} | {"all": slice(None)}
    return {
        name: Likelihood(
            *(
                gaussian_nll(errors[:, axes], each[:, axes])
                for each in (sigmas, np.broadcast_to(constant, errors.shape), proportional)
            )
        )
        for name, axes in columns.items()
    }


def _spreads(numbers: NDArray[np.intp], of: Floats, values: Floats) -> tuple[Spread, ...]:
    """Distribution of `values` per bin of `of`, by rising bin; `numbers` is the bin of each box."""
    spreads = []
    for number in np.unique(numbers):
        inside = numbers == number
        base, other = of[inside], values[inside]
        bounds = (float(value) for value in (base.min(), base.max(), base.mean()))
        moments = (float(value) for value in (other.mean(), other.std(), *np.percentile(other, _PERCENTILES)))
        spreads.append(Spread(len(base), *bounds, *moments))
    return tuple(spreads)


def _equal_bins(values: Floats, bins: int) -> NDArray[np.intp]:
    """Bin numbers [N]; bins hold about equally many values, and equal values share a bin."""
    ranked = np.sort(values)
    starts = np.unique(ranked[np.arange(1, bins) * len(ranked) // bins])
    return np.searchsorted(starts, values, side="right")


def _rms(values: Floats) -> float:
    return float(np.sqrt((values**2).mean()))
