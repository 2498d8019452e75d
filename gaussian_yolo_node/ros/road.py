"""From the detections of a frame to tracks, and to places on the ground, as the parameters ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.position import CLASS_SIZES, CameraPose, GroundTracks, Locator, PositionError
from gaussian_yolo_node.ros.camera_topics import Calibration, CameraTopics
from gaussian_yolo_node.ros.image_transport import check_topic_name
from gaussian_yolo_node.ros.messages import stamp_seconds
from gaussian_yolo_node.ros.parameter_table import ParameterError, PerceptionParameters
from gaussian_yolo_node.ros.places import PlacedObjects
from gaussian_yolo_node.ros.transforms import TransformTopics

if TYPE_CHECKING:
    from gaussian_yolo_node.tracking import Tracker, Tracks  # need scipy

# The camera's pose by the frame_id and the stamp in s of its image; with None, the latest one.
_PoseOf = Callable[[str, float | None], CameraPose]
_Asked = tuple[str, dict[str, float]]  # the frame for TF, and the numbers
# Sine of the angle by which a camera may look up. The z axis of a frame that is not optical points up.
_STEEPEST = 0.87


@dataclass(frozen=True, eq=False)
class _Ground:
    """What places are computed with, and the camera that it is for; the locator changes with a pose that moves."""

    camera: tuple[Calibration, tuple[int, int], _PoseOf]
    locator: Locator
    tracks: GroundTracks


class Road:
    """Follows objects, and places them on the ground. It works for one camera, frame after frame.

    The worker calls `follow` and `place`, the executor everything else. Ids go on while tracking is off and while the
    node is inactive, so none is given twice until the node is cleaned up.

    Attributes:
        base_frame: of the places; empty for the camera's.
    """

    def __init__(self, node: Node, classes: Sequence[str]) -> None:
        self._classes = tuple(classes)
        self._topics = CameraTopics(node)
        self._open = False
        self._tracker: Tracker | None = None
        self._tracking = False
        self._transforms = TransformTopics(node)
        self._asked: _Asked | None = None
        self._pose_of: _PoseOf | None = None
        self._frame_id: str | None = None  # of the latest frame
        self._ground: _Ground | None = None
        self._trouble = ""
        self.base_frame = ""

    def apply(self, values: PerceptionParameters) -> None:
        """Take over the parameters.

        Raises:
            ParameterError: tracking has no scipy, neither the camera's height nor the frame for its pose is given, or a
                topic cannot have its name.
            PositionError: the camera cannot stand so.
        """
        for parameter in ("camera_info_topic", "depth_topic"):
            if name := getattr(values, parameter):
                check_topic_name(parameter, name)
        asked, pose_of = self._asked_pose(values) if values.position else (None, None)
        if values.tracking and self._tracker is None:
            self._tracker = _tracker(self._classes)
        self._tracking = values.tracking
        self.base_frame = values.base_frame
        self._asked, self._pose_of = asked, pose_of
        if not self._open:
            return
        if values.position:
            self._topics.follow(values)
        else:
            self._topics.close()
        if values.position and values.pose_is_from_tf:
            self._transforms.open()
        else:
            self._transforms.close()

    def open(self, values: PerceptionParameters) -> None:
        """Subscribe to what positions need."""
        self._open = True
        self.apply(values)

    def close(self) -> None:
        """End the subscriptions."""
        self._open = False
        self._topics.close()
        self._transforms.close()

    @property
    def notice(self) -> str:
        """Why places are missing or worse than they could be; empty if nothing is wrong."""
        pose_of, frame_id = self._pose_of, self._frame_id
        if not self._open or pose_of is None:
            return ""
        if frame_id is not None:
            try:
                pose_of(frame_id, None)
            except PositionError as error:
                return f"no positions: {error}"
        return self._topics.notice or self._trouble

    def follow(self, detections: Detections, header: Header, frame_size: tuple[int, int]) -> Tracks | None:
        """The confirmed tracks after one more frame, of (height, width) in px; None if tracking is off."""
        self._frame_id = header.frame_id
        if not self._tracking or self._tracker is None:
            return None
        return self._tracker.update(detections, stamp_seconds(header), frame_size)

    def place(
        self, detections: Detections, tracks: Tracks | None, header: Header, frame_size: tuple[int, int]
    ) -> PlacedObjects | None:
        """The tracks on the ground, or without tracking the detections; those without a place are left out.

        Returns:
            None as long as positions are off or the camera's matrix or pose is unknown, and if `notice` has a reason.
        """
        try:
            placed = self._place(detections, tracks, header, frame_size)
        except PositionError as error:
            self._trouble = f"no positions: {error}"
            return None
        self._trouble = ""
        return placed

    def _asked_pose(self, values: PerceptionParameters) -> tuple[_Asked, _PoseOf]:
        """What the parameters say of the pose, and what tells it: the same object as long as they say the same."""
        by_tf = values.pose_is_from_tf
        if by_tf and not values.base_frame:
            raise ParameterError("the camera's pose from TF needs a frame that it is in: set base_frame")
        if not by_tf and not values.camera_height:
            raise ParameterError(
                "positions need the height of the camera above the ground: set camera_height, m, or base_frame, a "
                "frame on the ground in which TF has the camera's pose"
            )
        asked = (values.base_frame, values.pose_sigmas) if by_tf else ("", values.pose_numbers)
        if self._pose_of is not None and asked == self._asked:
            return asked, self._pose_of
        if by_tf:
            return asked, _PoseByTf(self._transforms, *asked)
        pose = CameraPose.level(**values.pose_numbers)
        return asked, lambda frame_id, stamp_s: pose

    def _place(
        self, detections: Detections, tracks: Tracks | None, header: Header, frame_size: tuple[int, int]
    ) -> PlacedObjects | None:
        pose_of, calibration = self._pose_of, self._topics.calibration
        if pose_of is None or calibration is None:
            return None
        stamp_s = stamp_seconds(header)
        pose = pose_of(header.frame_id, stamp_s)
        camera, ground = (calibration, frame_size, pose_of), self._ground
        if ground is None or ground.camera != camera or ground.locator.camera.pose is not pose:
            locator = Locator(calibration.camera(frame_size, pose), self._classes)
            followed = ground.tracks if ground is not None and ground.camera == camera else GroundTracks()
            ground = self._ground = _Ground(camera, locator, followed)
        depth = self._topics.depth_at(stamp_s)
        if tracks is None:
            boxes, ids = detections, [""] * len(detections)
            positions, rows = ground.locator(boxes, depth), np.arange(len(detections))
            xy, covariances, velocities = positions.xy, positions.covariance, np.full((len(detections), 2), np.nan)
        else:
            boxes, ids = _seen_boxes(detections, tracks), [str(track) for track in tracks.ids.tolist()]
            positions, rows = ground.locator(boxes, depth), tracks.rows
            positions.xy[tracks.coasting] = np.nan  # a prediction is no measurement
            motion = ground.tracks.update(stamp_s, tracks.ids, positions)
            xy, covariances, velocities = motion.xy, motion.covariance[:, :2, :2], motion.velocity
        known = np.flatnonzero(np.isfinite(xy[:, 0]))
        return PlacedObjects(
            [ids[row] for row in known],
            boxes.class_ids[known],
            boxes.scores[known].astype(np.float64),
            [CLASS_SIZES[self._classes[class_id].lower()] for class_id in boxes.class_ids[known]],
            xy[known],
            covariances[known],
            velocities[known],
            rows[known],
            pose,
        )


class _PoseByTf:
    """The camera's pose by TF; it stays the same object while nothing moves."""

    def __init__(self, transforms: TransformTopics, base_frame: str, sigmas: dict[str, float]) -> None:
        self._transforms = transforms
        self._base_frame = base_frame
        self._sigmas = sigmas
        self._latest: CameraPose | None = None

    def __call__(self, frame_id: str, stamp_s: float | None) -> CameraPose:
        matrix = self._transforms.tree.lookup(self._base_frame, frame_id, stamp_s)
        rotation, translation = matrix[:3, :3], matrix[:3, 3]
        latest = self._latest
        if latest and np.array_equal(latest.rotation, rotation) and np.array_equal(latest.translation, translation):
            return latest
        if rotation[2, 2] > _STEEPEST:
            raise PositionError(
                f"by TF the camera looks straight up: '{frame_id}' must be an optical frame, with x right, y down and "
                "z forward (REP 103); publish that frame, and let the images name it"
            )
        pose = self._latest = CameraPose(rotation, translation, **self._sigmas)
        return pose


def _seen_boxes(detections: Detections, tracks: Tracks) -> Detections:
    """The tracks' detections of this frame; of coasting tracks, their predictions.

    `GroundTracks` filters places itself. Of filtered boxes it would be too sure, because their errors last.
    """
    boxes = tracks.detections
    seen, rows = ~tracks.coasting, tracks.rows[~tracks.coasting]
    boxes.boxes[seen], boxes.sigmas[seen] = detections.boxes[rows], detections.sigmas[rows]
    return boxes


def _tracker(classes: Sequence[str]) -> Tracker:
    try:
        from gaussian_yolo_node.tracking import Tracker
    except ImportError as error:
        raise ParameterError(
            f"tracking needs scipy ({error}): install python3-scipy, or by pip the extra 'track'"
        ) from error
    return Tracker(classes)
