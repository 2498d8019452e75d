"""Calibration of predicted standard deviations, from the errors of matched boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from gaussian_yolo_node.detector.sigma_correction import COORDINATES, coordinate_sizes
from gaussian_yolo_node.evaluation.matching import Floats, MatchedBoxes

# A sigma of 0 claims a perfect box; any error is then far outside, without a division by zero.
LEAST_SIGMA = 1e-6  # px
# Keeps the uncertainty of a box clipped to nothing finite.
_LEAST_SIZE = 1e-6  # px

# Central intervals whose coverage is measured, and their half-widths in sigma.
LEVELS = np.arange(1, 100) / 100
_REACHES = np.array([NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS])
_ENCE_BINS = 10
_ENCE_LEAST = 20  # per bin; fewer give no meaningful RMS
_LEAST_RANKED = 3  # any two points have a perfect rank correlation


@dataclass(frozen=True)
class SigmaFigures:
    """Calibration of sigmas against errors, for some coordinates of some boxes; z is error / sigma.

    Attributes:
        nll: mean negative log-likelihood of the errors under Gaussians with these sigmas, nats, coordinates in px; None
            if a sigma is 0.
        within: share of the errors that are at most 1, 2, 3 sigma (a Gaussian: 0.683, 0.954, 0.997).
        rms: root mean square of z; 1 is calibrated, more is overconfident; None if a sigma is 0.
        calibration_error: expected calibration error of the sigmas, 0..1: mean of |observed - expected coverage| over
            the central intervals that a Gaussian fills to 1, 2 .. 99 %. The curve is that of Kuleshov et al., "Accurate
            Uncertainties for Deep Learning Using Calibrated Regression", ICML 2018, with central instead of one-sided
            intervals, summarised by its mean distance from the diagonal.
        ence: expected normalised calibration error (Levi et al., "Evaluating and Calibrating Uncertainty Prediction in
            Regression Tasks", Sensors 2022): the mean of |RMS sigma - RMS error| / RMS sigma over bins of equal size by
            rising sigma, so sigmas must also be large where errors are; None with fewer than 40 values.
    """

    boxes: int
    nll: float | None
    within: tuple[float, float, float]
    rms: float | None
    calibration_error: float
    ence: float | None


@dataclass(frozen=True)
class RankCorrelation:
    """Whether less certain boxes have lower IoU.

    Attributes:
        least_iou: minimum IoU of the boxes with their objects.
        rho: Spearman's correlation of a box's uncertainty with its IoU, -1..1, lower is better; equal values share
            their mean rank. None with fewer than 3 boxes, or if all have the same uncertainty or IoU.
    """

    least_iou: float
    boxes: int
    rho: float | None


@dataclass(frozen=True)
class SigmaQuality:
    """Calibration of the standard deviations.

    Attributes:
        coordinates: by cx, cy, w, h.
        classes: the same by class, for classes with matched boxes.
        correlations: at the IoU of the figures above, and at a lower one, because sigma must rank bad boxes too.
    """

    boxes: int
    coordinates: Mapping[str, SigmaFigures]
    overall: SigmaFigures
    classes: Mapping[str, SigmaFigures]
    correlations: tuple[RankCorrelation, ...]

    @property
    def rows(self) -> dict[str, SigmaFigures]:
        """By cx, cy, w, h and "all"."""
        return {**self.coordinates, "all": self.overall}


def sigma_quality(matched: MatchedBoxes, correlations: tuple[RankCorrelation, ...] = ()) -> SigmaQuality | None:
    """Calibration of matched boxes; None if sigmas are unknown or nothing matches."""
    if matched.sigmas is None or not len(matched):
        return None
    errors, sigmas = matched.errors, matched.sigmas
    return SigmaQuality(
        len(matched),
        {name: sigma_figures(errors[:, axis], sigmas[:, axis]) for axis, name in enumerate(COORDINATES)},
        sigma_figures(errors, sigmas),
        {
            str(name): sigma_figures(errors[matched.classes == name], sigmas[matched.classes == name])
            for name in dict.fromkeys(matched.classes)
        },
        correlations,
    )


def sigma_figures(errors: Floats, sigmas: Floats) -> SigmaFigures:
    """Calibration of sigmas against errors, both in px: two arrays [N] or [N, coordinates], of at least one box."""
    z = absolute_z(errors, sigmas)
    nll = gaussian_nll(errors, sigmas)
    one, two, three = (float((z <= limit).mean()) for limit in (1, 2, 3))
    return SigmaFigures(
        len(errors),
        nll,
        (one, two, three),
        None if nll is None else float(np.sqrt((z**2).mean())),
        float(np.abs(observed_coverage(errors, sigmas) - LEVELS).mean()),
        None if nll is None else _ence(errors.ravel(), sigmas.ravel()),
    )


def gaussian_nll(errors: Floats, sigmas: Floats) -> float | None:
    """Mean negative log-likelihood of errors under Gaussians with these sigmas, in nats.

    Errors and sigmas are in px and have the same shape, with at least one element. None if a sigma is 0.
    """
    if (sigmas <= LEAST_SIGMA).any():
        return None
    return float((np.log(sigmas) + (errors / sigmas) ** 2 / 2).mean() + math.log(2 * math.pi) / 2)


def absolute_z(errors: Floats, sigmas: Floats) -> Floats:
    """|error| / sigma for errors and sigmas in px of the same shape; finite for a sigma of 0, too."""
    return np.abs(errors) / np.maximum(sigmas, LEAST_SIGMA)


def observed_coverage(errors: Floats, sigmas: Floats) -> Floats:
    """[99], observed coverage: share of at least one error inside the central interval of its Gaussian, at `LEVELS`."""
    z = np.sort(absolute_z(errors, sigmas), axis=None)
    return np.searchsorted(z, _REACHES, side="right") / z.size


def relative_sigmas(boxes: Floats, sigmas: Floats) -> Floats:
    """Sigmas of centre x and width over the box's width, of centre y and height over its height: [N, 4], finite for
    boxes without area, too. Boxes [N, 4] are x1 y1 x2 y2, sigmas [N, 4] of centre x, centre y, width, height, in px."""
    return sigmas / np.maximum(coordinate_sizes(boxes), _LEAST_SIZE)


def box_uncertainty(boxes: Floats, sigmas: Floats) -> Floats:
    """[N], mean of a box's `relative_sigmas`: uncertainty relative to the box size, as IoU is."""
    return relative_sigmas(boxes, sigmas).mean(axis=1)


def rank_correlation(matched: MatchedBoxes, least_iou: float) -> RankCorrelation:
    """Spearman's correlation of `box_uncertainty` with IoU, of boxes matched from `least_iou`; None without sigmas."""
    rho = None
    if matched.sigmas is not None:
        rho = spearman(box_uncertainty(matched.boxes, matched.sigmas), matched.ious)
    return RankCorrelation(least_iou, len(matched), rho)


def spearman(x: Floats, y: Floats) -> float | None:
    """Rank correlation of two arrays [N]; ties get their mean rank. None for fewer than 3 values or zero variance."""
    if len(x) < _LEAST_RANKED:
        return None
    first, second = _ranks(x), _ranks(y)
    spread = float(first.std() * second.std())
    return float(((first - first.mean()) * (second - second.mean())).mean()) / spread if spread else None


def _ranks(values: Floats) -> Floats:
    """Ranks [N] from 1; equal values share their mean rank."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


def _ence(errors: Floats, sigmas: Floats) -> float | None:
    bins = min(_ENCE_BINS, len(errors) // _ENCE_LEAST)
    if bins < 2:
        return None
    order = np.argsort(sigmas, kind="stable")
    claimed, real = (
        np.array([np.sqrt((values[rows] ** 2).mean()) for rows in np.array_split(order, bins)])
        for values in (sigmas, errors)
    )
    return float((np.abs(claimed - real) / claimed).mean())
