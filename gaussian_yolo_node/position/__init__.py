"""From boxes to places on the ground, and from places to velocities, each with its covariance."""

from gaussian_yolo_node.position.camera import Camera, CameraPose, PositionError
from gaussian_yolo_node.position.class_sizes import CLASS_SIZES, ClassSize
from gaussian_yolo_node.position.locate import Locator, Places, Positions, State
from gaussian_yolo_node.position.motion import GroundMotion, GroundTracks

__all__ = [
    "CLASS_SIZES",
    "Camera",
    "CameraPose",
    "ClassSize",
    "GroundMotion",
    "GroundTracks",
    "Locator",
    "Places",
    "PositionError",
    "Positions",
    "State",
]
