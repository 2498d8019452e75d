"""Detection with localization uncertainty, from frame to detections; needs numpy and OpenCV only."""

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.prepared import StageTimes

__all__ = ["Detections", "Detector", "StageTimes"]
