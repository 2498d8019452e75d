"""Fits the correction of the standard deviations to matched boxes.

The fit maximises the likelihood. Of all `sigma' = a*sigma + b*size` with a > 0 and b >= 0, it takes the one under which
the errors, as Gaussians, are most probable. Scaling a and b together is always allowed, and the likelihood is greatest
where the mean of (error / sigma')^2 is 1, so the standardised errors have exactly unit variance under the fit (about
zero: a bias counts as error). One unknown remains: the offset's share.

Detectors' errors have heavier tails than a Gaussian, so no scale matches all coverages. With unit variance, more than
68 % lie within one sigma and about 95 % within two; for Laplace errors, 75.7 and 94.1 %. Bounding the influence of the
worst errors instead (Student's t, Huber's second proposal) claims less uncertainty than there is, and did not cover
unseen frames better.

Fit on frames that the network was not trained on: on training frames its errors are smaller than in use.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from gaussian_yolo_node.detector.sigma_correction import COORDINATES, SigmaCalibration
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.matching import Floats, MatchedBoxes
from gaussian_yolo_node.evaluation.uncertainty import LEAST_SIGMA

LEAST_BOXES = 30
WITHIN_ONE_SIGMA = math.erf(math.sqrt(0.5))  # of a Gaussian
# Upper limit of the offset's share of the corrected sigma's RMS, so that the network's sigma keeps an influence.
MOST_OFFSET = 0.9
# Of consecutive frames, for cross-validation.
BLOCKS = 2
_GRID = 46  # shares per search step


class CalibrationError(GaussianYoloError):
    """The given boxes do not allow a fit; the message says why."""


def fit_sigma_calibration(matched: MatchedBoxes) -> SigmaCalibration:
    """Maximum-likelihood correction; the standardised errors then have unit variance.

    Args:
        matched: boxes beside their objects, with the network's own sigmas.

    Raises:
        CalibrationError: there are fewer than 30 boxes, sigmas are unknown or zero, or a coordinate has no errors.
    """
    if len(matched) < LEAST_BOXES:
        raise CalibrationError(
            f"{len(matched)} boxes lie on an object, and a fit of the sigmas needs {LEAST_BOXES}; give more labelled "
            "frames, or a lower least score"
        )
    if matched.sigmas is None or not (matched.sigmas > LEAST_SIGMA).all():
        raise CalibrationError("the sigmas are zero or unknown; only a model with Gaussian boxes can be calibrated")
    fits = []
    for axis, name in enumerate(COORDINATES):
        errors = matched.errors[:, axis]
        if not np.abs(errors).max() > LEAST_SIGMA:
            raise CalibrationError(f"not one box is off in {name}; labels that were made from detections say nothing")
        fits.append(_fit(errors, matched.sigmas[:, axis], matched.sizes[:, axis]))
    (a_cx, b_cx), (a_cy, b_cy), (a_w, b_w), (a_h, b_h) = fits
    return SigmaCalibration((a_cx, a_cy, a_w, a_h), (b_cx, b_cy, b_w, b_h))


def scaled_to_coverage(matched: MatchedBoxes, calibration: SigmaCalibration) -> SigmaCalibration:
    """The correction, scaled for each coordinate so that as many errors lie within one sigma as of a Gaussian, 68.3 %.

    A few large errors make the likeliest scale larger: then 75 to 85 % lie within one sigma, about 95 % within two.
    """
    assert matched.sigmas is not None
    z = np.abs(matched.errors) / calibration.apply(matched.sigmas, matched.boxes)
    cx, cy, w, h = np.quantile(z, WITHIN_ONE_SIGMA, axis=0).tolist()
    (a_cx, a_cy, a_w, a_h), (b_cx, b_cy, b_w, b_h) = calibration.scale, calibration.offset
    return SigmaCalibration((a_cx * cx, a_cy * cy, a_w * w, a_h * h), (b_cx * cx, b_cy * cy, b_w * w, b_h * h))


def calibrated(matched: MatchedBoxes, calibration: SigmaCalibration) -> MatchedBoxes:
    """The boxes with corrected sigmas; the boxes must have sigmas."""
    assert matched.sigmas is not None
    return replace(matched, sigmas=calibration.apply(matched.sigmas, matched.boxes))


def cross_validated(matched: MatchedBoxes) -> MatchedBoxes:
    """The boxes with sigmas corrected by fits to other frames, which shows how a fit does on unseen frames.

    Consecutive frames show the same objects, so the recording is cut into blocks of consecutive frames with about
    equally many boxes. Each block gets the fit to all other blocks.

    Raises:
        CalibrationError: as `fit_sigma_calibration`, for the boxes outside a block.
    """
    order = np.argsort(matched.frames, kind="stable")
    matched = matched[order]
    # A frame belongs to the block that contains the middle of its boxes.
    _, first, counts = np.unique(matched.frames, return_index=True, return_counts=True)
    block = np.repeat(((first + counts / 2) * BLOCKS / max(1, len(matched))).astype(int), counts)
    sigmas = np.empty((len(matched), 4))
    for number in range(BLOCKS):
        inside = block == number
        fit = fit_sigma_calibration(matched[~inside])
        sigmas[inside] = calibrated(matched[inside], fit).sigmas
    return replace(matched, sigmas=sigmas)


def _fit(errors: Floats, sigmas: Floats, sizes: Floats) -> tuple[float, float]:
    """Scale and offset of one coordinate; arguments [N], px."""
    share = reach = MOST_OFFSET / 2
    for _ in range(2):  # the whole range, then between the neighbours of the best
        shares = np.clip(np.linspace(share - reach, share + reach, _GRID), 0, MOST_OFFSET)
        nll = np.array([_profile(each, errors, sigmas, sizes)[0] for each in shares])
        # If sigma is a fixed share of the size, all shares are equal up to rounding; the smallest offset wins then.
        share = float(shares[np.flatnonzero(nll <= nll.min() + 1e-9)[0]])
        reach = 2 * reach / (_GRID - 1)
    return _profile(share, errors, sigmas, sizes)[1:]


def _profile(share: float, errors: Floats, sigmas: Floats, sizes: Floats) -> tuple[float, float, float]:
    """Negative log-likelihood (nats per box, up to a constant), scale and offset for one share of the offset."""
    rms_sigma, rms_size = (math.sqrt((values**2).mean()) for values in (sigmas, sizes))
    shape = (1 - share) / rms_sigma * sigmas + share / rms_size * sizes
    scale = math.sqrt(((errors / shape) ** 2).mean())
    return math.log(scale) + float(np.log(shape).mean()), scale * (1 - share) / rms_sigma, scale * share / rms_size
