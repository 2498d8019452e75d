"""How good detections are, measured against labels."""

from gaussian_yolo_node.errors import GaussianYoloError

# Detections below this score are there to draw out the precision-recall curve; nobody looks at their sigmas.
LEAST_SCORE = 0.05


class LabelError(GaussianYoloError):
    """Labels or predictions are missing or malformed; the message names the file and the line or record."""
