"""Robustness of models to corruptions, perturbations and attacks."""

from gaussian_yolo_node.errors import GaussianYoloError


class RobustnessError(GaussianYoloError):
    """A robustness test cannot be run with the given options; the message says what to change."""
