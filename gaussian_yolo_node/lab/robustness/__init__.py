"""The parts of `offline.robustness`: corruptions, perturbations, attacks, and what a model makes of them."""

from gaussian_yolo_node.errors import GaussianYoloError


class RobustnessError(GaussianYoloError):
    """A robustness test cannot be made as asked; the message says what to change."""
