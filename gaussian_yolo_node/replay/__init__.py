"""A bag's images played through a running perception node, and its answers recorded."""

from gaussian_yolo_node.errors import GaussianYoloError


class ReplayError(GaussianYoloError):
    """A replay cannot start, or cannot go on; says why."""
