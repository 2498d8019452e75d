"""A perception node driven from outside, as the demo and the replay do: started, configured, watched, stopped."""

from gaussian_yolo_node.errors import GaussianYoloError


class DrivingError(GaussianYoloError):
    """The perception node cannot be started, or is gone; in its own words where it has some."""
