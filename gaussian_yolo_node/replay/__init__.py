"""Plays a bag's images through a running perception node and records its answers."""

from gaussian_yolo_node.errors import GaussianYoloError


class ReplayError(GaussianYoloError):
    """A replay cannot start or continue; the message says why."""
