"""Objects on the ground as messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from geometry_msgs.msg import Quaternion
from numpy.typing import NDArray
from std_msgs.msg import Header
from vision_msgs.msg import Detection3D, Detection3DArray, ObjectHypothesisWithPose

from gaussian_yolo_node.position import CameraPose, ClassSize, Places

Floats = NDArray[np.float64]

# Of an angle of which nothing is known, rad^2.
_ANY_ANGLE = math.pi**2 / 3


@dataclass(frozen=True, eq=False)
class PlacedObjects:
    """N objects at their places on the ground.

    Attributes:
        ids: [N], track ids; empty for objects that are not followed.
        class_ids: int32 [N].
        scores: [N].
        sizes: [N], of their classes.
        xy: float64 [N, 2], centres of the footprints in the base frame, m.
        covariances: float64 [N, 2, 2], m^2.
        velocities: float64 [N, 2], over ground in the base frame, m/s; NaN where unknown.
        rows: intp [N], the detection of each object; -1 for a track that coasts.
        pose: of the camera in the base frame.
    """

    ids: Sequence[str]
    class_ids: NDArray[np.int32]
    scores: NDArray[np.float64]
    sizes: Sequence[ClassSize]
    xy: Floats
    covariances: Floats
    velocities: Floats
    rows: NDArray[np.intp]
    pose: CameraPose

    def of_detections(self, count: int) -> tuple[Places, Floats]:
        """Places, and velocities [count, 2], of the frame's detections; NaN for those that are not placed.

        Both are ahead and to the left of the point below the camera, whatever the base frame is.
        """
        xy, covariances = np.full((count, 2), np.nan), np.full((count, 2, 2), np.nan)
        velocities = np.full((count, 2), np.nan)
        seen = self.rows >= 0
        rows = self.rows[seen]
        axes, origin = self.pose.axes, self.pose.translation[:2]
        xy[rows], velocities[rows] = (self.xy[seen] - origin) @ axes, self.velocities[seen] @ axes
        covariances[rows] = axes.T @ self.covariances[seen] @ axes
        return Places(xy, covariances), velocities

    @property
    def centres(self) -> Floats:
        """[N, 3], of the upright boxes that stand on the ground, in the base frame, m."""
        heights = np.array([size.height for size in self.sizes]).reshape(-1, 1)
        return np.concatenate([self.xy, heights / 2], axis=1)

    @property
    def pose_covariances(self) -> Floats:
        """[N, 6, 6], of x, y, z and the rotations about these axes, in m and rad.

        The height is that of the class, on a ground that may rise or fall as the spreads of the camera's pose say;
        x and y are taken as independent of it. One frame does not tell which way an object points.
        """
        pose, axes = self.pose, self.pose.axes
        covariances = np.zeros((len(self.ids), 6, 6))
        covariances[:, :2, :2] = self.covariances
        half = np.array([size.height_sigma / 2 for size in self.sizes])
        slopes = ((self.xy - pose.translation[:2]) @ axes * (pose.pitch_sigma, pose.roll_sigma)) ** 2
        covariances[:, 2, 2] = half**2 + pose.height_sigma**2 + slopes.sum(axis=1)
        covariances[:, 3:5, 3:5] = axes @ np.diag([pose.roll_sigma**2, pose.pitch_sigma**2]) @ axes.T
        covariances[:, 5, 5] = _ANY_ANGLE
        return covariances


def places_to_message(
    objects: PlacedObjects, header: Header, classes: Sequence[str], base_frame: str
) -> Detection3DArray:
    """The message with the objects of one frame: upright boxes with the lengths of their classes along x.

    Args:
        header: of the image.
        classes: `class_id` of each class in the message.
        base_frame: name of the base frame; if it is empty, places are in the camera's.
    """
    if base_frame:
        header = Header(stamp=header.stamp, frame_id=base_frame)
        turn, origin = np.eye(3), np.zeros(3)
    else:
        turn, origin = objects.pose.rotation.T, objects.pose.translation
    both = np.kron(np.eye(2), turn)
    centres = ((objects.centres - origin) @ turn.T).tolist()
    covariances = both @ objects.pose_covariances @ both.T
    orientation = _quaternion(turn)

    message = Detection3DArray(header=header)
    for number, size in enumerate(objects.sizes):
        detection = Detection3D(header=header, id=objects.ids[number])
        pose = detection.bbox.center
        pose.position.x, pose.position.y, pose.position.z = centres[number]
        pose.orientation = orientation
        detection.bbox.size.x, detection.bbox.size.y = float(size.length), float(size.width)
        detection.bbox.size.z = float(size.height)
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id = str(classes[int(objects.class_ids[number])])
        result.hypothesis.score = float(objects.scores[number])
        result.pose.pose = pose
        result.pose.covariance = covariances[number].ravel()
        detection.results.append(result)
        message.detections.append(detection)
    return message


def _quaternion(rotation: Floats) -> Quaternion:
    vector = cv2.Rodrigues(rotation)[0].ravel()
    angle = float(np.linalg.norm(vector))
    x, y, z = (vector * (math.sin(angle / 2) / angle if angle else 0.5)).tolist()
    return Quaternion(x=x, y=y, z=z, w=math.cos(angle / 2))
