"""The camera: its matrix, where it is above the ground, and how well that is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError

Floats = NDArray[np.float64]

# Columns: the axes of a level optical frame (x right, y down, z forward) in a base frame (x forward, y left, z up),
# both as in REP 103.
_LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_LEAST_FORWARD = 1e-3  # of the optical axis, horizontally; less looks straight down or up


class PositionError(GaussianYoloError):
    """Positions cannot be computed with this camera, pose, depth image or these stamps; the message says why."""


@dataclass(frozen=True, eq=False)
class CameraPose:
    """Where the camera is in the base frame, whose plane z = 0 is the ground.

    The spreads also stand for what the plane leaves out: slopes of the road and movements of the springs. The defaults
    are those of KITTI's drives without drive 0011 (`benchmarks/positions.py`), whose camera is taken to be level.

    Attributes:
        rotation: float64 [3, 3], from the optical frame (x right, y down, z forward) to the base frame.
        translation: float64 [3], the camera in the base frame, m; the third number is its height above the ground.
        height_sigma: standard deviation of the height, m.
        pitch_sigma, roll_sigma: standard deviations of the rotations about the camera's horizontal left and forward
            axes, rad.

    Raises:
        PositionError: the rotation is none, the camera is not above the ground or looks straight down, or a spread is
            negative.
    """

    rotation: Floats
    translation: Floats
    height_sigma: float = 0.06
    pitch_sigma: float = 0.009
    roll_sigma: float = 0.025

    def __post_init__(self) -> None:
        rotation = np.asarray(self.rotation, np.float64)
        translation = np.asarray(self.translation, np.float64)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation", translation)
        # The comparisons are negated so that NaN fails them.
        if rotation.shape != (3, 3) or not np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3:
            raise PositionError("the camera's rotation is no rotation: give a 3x3 matrix from optical to base frame")
        if translation.shape != (3,) or not np.isfinite(translation).all() or not translation[2] > 0:
            raise PositionError(
                f"the camera is at {translation.tolist()} m in the base frame: give three numbers, the third being its "
                "height above the ground, which must be above 0"
            )
        if not math.hypot(rotation[0, 2], rotation[1, 2]) > _LEAST_FORWARD:
            raise PositionError("the camera looks straight up or down: positions need a camera that looks forward")
        spreads = (self.height_sigma, self.pitch_sigma, self.roll_sigma)
        if not all(0 <= sigma < math.inf for sigma in spreads):
            raise PositionError(f"the spreads of the camera's pose are {spreads}; each must be a number from 0")

    @cached_property
    def axes(self) -> Floats:
        """[2, 2], columns: the directions ahead of the camera and to its left on the ground, in the base frame."""
        ahead = self.rotation[:2, 2] / np.hypot(*self.rotation[:2, 2])
        return np.array([[ahead[0], -ahead[1]], [ahead[1], ahead[0]]])

    @classmethod
    def level(
        cls,
        height: float,
        pitch: float = 0.0,
        roll: float = 0.0,
        *,
        height_sigma: float = 0.06,
        pitch_sigma: float = 0.009,
        roll_sigma: float = 0.025,
    ) -> CameraPose:
        """A camera that looks along the base frame's x axis, with the point of the ground below it as origin.

        Args:
            height: above the ground, m.
            pitch: positive if the camera looks down, rad.
            roll: positive if its right side is lower, rad.
            height_sigma, pitch_sigma, roll_sigma: their standard deviations, m and rad.
        """
        if not math.isfinite(pitch) or not math.isfinite(roll):
            raise PositionError(f"the camera's pitch and roll are {pitch} and {roll} rad; they must be finite")
        rotation = rotation_about_y(pitch) @ rotation_about_x(roll) @ _LEVEL
        return cls(rotation, np.array([0.0, 0.0, height]), height_sigma, pitch_sigma, roll_sigma)


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera at its place.

    Attributes:
        matrix: float64 [3, 3], K, px.
        size: (height, width) of its image in px.
        pose: where it is.
        distortion: coefficients k1 k2 p1 p2 k3 .. of OpenCV's model; None for a rectified image.

    Raises:
        PositionError: the matrix cannot be inverted.
    """

    matrix: Floats
    size: tuple[int, int]
    pose: CameraPose
    distortion: Floats | None = None

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix, np.float64)
        object.__setattr__(self, "matrix", matrix)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or not matrix[0, 0] * matrix[1, 1] > 0:
            raise PositionError("the camera matrix must be 3x3 with focal lengths above 0, in px: is it calibrated?")

    @cached_property
    def to_ray(self) -> Floats:
        """[3, 3], from a pixel (u, v, 1) to its ray: ahead, left, up. Its length is 1 along the optical axis."""
        turn = np.eye(3)
        turn[:2, :2] = self.pose.axes.T
        rays: Floats = turn @ self.pose.rotation @ np.linalg.inv(self.matrix)
        return rays

    def undistort(self, boxes: Floats) -> Floats:
        """Boxes [N, 4] x1 y1 x2 y2 through the undistorted middles of their edges; sigmas are taken as they are."""
        if self.distortion is None or not len(boxes):
            return boxes
        x1, y1, x2, y2 = boxes.T
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        middles = np.stack([np.stack([x1, y], -1), np.stack([x, y1], -1), np.stack([x2, y], -1), np.stack([x, y2], -1)])
        flat = cv2.undistortPoints(middles.reshape(-1, 1, 2), self.matrix, self.distortion, P=self.matrix)
        left, top, right, bottom = np.asarray(flat, np.float64).reshape(4, -1, 2)
        return np.stack([left[:, 0], top[:, 1], right[:, 0], bottom[:, 1]], -1)


def rotation_about_x(angle: float) -> Floats:
    """[3, 3], by an angle in rad."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def rotation_about_y(angle: float) -> Floats:
    """[3, 3], by an angle in rad."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
