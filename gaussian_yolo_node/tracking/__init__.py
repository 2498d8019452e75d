"""Detections of consecutive frames -> objects with ids, velocities and covariances; numpy, scipy and OpenCV only."""

from gaussian_yolo_node.tracking.ego_motion import CameraMotion, EgoMotion
from gaussian_yolo_node.tracking.tracker import StampError, Tracker, TrackerSettings
from gaussian_yolo_node.tracking.tracks import Tracks

__all__ = ["CameraMotion", "EgoMotion", "StampError", "Tracker", "TrackerSettings", "Tracks"]
