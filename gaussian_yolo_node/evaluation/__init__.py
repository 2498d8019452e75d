"""How good detections are, measured against labels."""

from gaussian_yolo_node.errors import GaussianYoloError


class LabelError(GaussianYoloError):
    """Labels or predictions are missing or malformed; the message names the file and the line or record."""
