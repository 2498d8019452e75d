"""`make demo`: the installed node on real footage, and what it did as a video, a ROS 2 bag and figures."""

from gaussian_yolo_node.errors import GaussianYoloError


class DemoError(GaussianYoloError):
    """The demo cannot go on; says which part and why."""
