"""How models hold under corruptions, perturbations and attacks."""

from gaussian_yolo_node.errors import GaussianYoloError


class RobustnessError(GaussianYoloError):
    """A robustness test cannot be made as asked; the message says what to change."""
