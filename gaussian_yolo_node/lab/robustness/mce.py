"""Mean corruption error (Hendrycks & Dietterich, ICLR 2019, section 4.3; docs/paper_facts.md, section 4)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.corruptions import CORRUPTIONS, SEVERITIES

# Published mean top-1 errors over the five severities (docs/paper_facts.md, section 4).
ALEXNET_ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.92264,
    "defocus_blur": 0.81988,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.79836,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.71784,
    "jpeg_compression": 0.6065,
}


def corruption_errors(errors: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """CE of each corruption, in percent: `100 * sum_s E_s / sum_s E_s(AlexNet)`.

    Args:
        errors: corruption -> top-1 errors 0..1 at severities 1 to 5.

    Raises:
        RobustnessError: a corruption does not have five errors, an error is out of range, or AlexNet has none.
    """
    return {name: 100 * _mean(name, values) / ALEXNET_ERRORS[name] for name, values in errors.items()}


def mean_corruption_error(errors: Mapping[str, Sequence[float]]) -> float:
    """mCE in percent, the mean of all 15 CEs. RobustnessError as in `corruption_errors`, or if one is missing."""
    missing = [name for name in CORRUPTIONS if name not in errors]
    if missing:
        raise RobustnessError(f"mCE is the mean of all 15 corruptions, and {', '.join(missing)} have not been measured")
    return math.fsum(corruption_errors(errors).values()) / len(errors)


def _mean(name: str, values: Sequence[float]) -> float:
    if name not in ALEXNET_ERRORS:
        raise RobustnessError(f"the baseline has no error for {name}")
    if len(values) != len(SEVERITIES):
        raise RobustnessError(f"{name} has {len(values)} errors; CE is over all {len(SEVERITIES)} severities")
    if not all(0 <= value <= 1 for value in values):
        raise RobustnessError(f"{name} has an error outside 0..1: {list(values)}")
    return math.fsum(values) / len(values)
