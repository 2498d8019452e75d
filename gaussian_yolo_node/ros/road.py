"""From the detections of a frame to tracks, and to places on the ground, as the parameters ask."""

from __future__ import annotations

from collections.abc import Sequence
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

if TYPE_CHECKING:
    from gaussian_yolo_node.tracking import Tracker, Tracks  # need scipy


@dataclass(frozen=True, eq=False)
class _Ground:
    """What places are computed with, and the camera that it is for."""

    camera: tuple[Calibration, tuple[int, int], CameraPose]
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
        self._numbers: dict[str, float] = {}
        self._pose: CameraPose | None = None
        self._ground: _Ground | None = None
        self._trouble = ""
        self.base_frame = ""

    def apply(self, values: PerceptionParameters) -> None:
        """Take over the parameters.

        Raises:
            ParameterError: tracking has no scipy, the camera's height is not given, or a topic cannot have its name.
            PositionError: the camera cannot stand so.
        """
        for parameter in ("camera_info_topic", "depth_topic"):
            if name := getattr(values, parameter):
                check_topic_name(parameter, name)
        numbers = values.camera_pose if values.position else {}
        if values.position and not numbers["height"]:
            raise ParameterError("positions need the height of the camera above the ground: set camera_height, m")
        pose = CameraPose.level(**numbers) if values.position else None
        if values.tracking and self._tracker is None:
            self._tracker = _tracker(self._classes)
        self._tracking = values.tracking
        self.base_frame = values.base_frame
        if numbers != self._numbers:
            self._numbers, self._pose = numbers, pose
        if not self._open:
            return
        if values.position:
            self._topics.follow(values)
        else:
            self._topics.close()

    def open(self, values: PerceptionParameters) -> None:
        """Subscribe to what positions need."""
        self._open = True
        self.apply(values)

    def close(self) -> None:
        """End the subscriptions."""
        self._open = False
        self._topics.close()

    @property
    def notice(self) -> str:
        """Why places are missing or worse than they could be; empty if nothing is wrong."""
        if not self._open or self._pose is None:
            return ""
        return self._topics.notice or self._trouble

    def follow(self, detections: Detections, header: Header, frame_size: tuple[int, int]) -> Tracks | None:
        """The confirmed tracks after one more frame, of (height, width) in px; None if tracking is off."""
        if not self._tracking or self._tracker is None:
            return None
        return self._tracker.update(detections, stamp_seconds(header), frame_size)

    def place(
        self, detections: Detections, tracks: Tracks | None, header: Header, frame_size: tuple[int, int]
    ) -> PlacedObjects | None:
        """The tracks on the ground, or without tracking the detections; those without a place are left out.

        Returns:
            None as long as positions are off or the camera's matrix is unknown, and if `notice` has a reason.
        """
        try:
            placed = self._place(detections, tracks, header, frame_size)
        except PositionError as error:
            self._trouble = f"no positions: {error}"
            return None
        self._trouble = ""
        return placed

    def _place(
        self, detections: Detections, tracks: Tracks | None, header: Header, frame_size: tuple[int, int]
    ) -> PlacedObjects | None:
        pose, calibration = self._pose, self._topics.calibration
        if pose is None or calibration is None:
            return None
        camera, ground = (calibration, frame_size, pose), self._ground
        if ground is None or ground.camera != camera:
            locator = Locator(calibration.camera(frame_size, pose), self._classes)
            ground = self._ground = _Ground(camera, locator, GroundTracks())
        stamp_s = stamp_seconds(header)
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
