"""What the live view shows of one frame, and its form on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import edge_sigmas
from gaussian_yolo_node.position.locate import Places

# Pictures are sent at most this wide, px; bilinear, because averaging over areas takes four times as long.
PICTURE_WIDTH = 960
JPEG_QUALITY = 70


@dataclass(frozen=True, eq=False)
class ViewedFrame:
    """One frame of a camera, and what is known about the N objects in it.

    Attributes:
        image: uint8 [H, W, 3], BGR; it is kept, not copied, so nothing may write to it any more.
        stamp_s: capture time, s.
        name: a frame_id or a file's name.
        detections: N, in px of the image.
        classes: names, by class id; an id without a name is shown as a number.
        ids: int [N], the track of each detection, below 0 for one without; None without a tracker.
        places: N centres on the ground, ahead and to the left of the camera; None if no position is computed.
        velocities: float [N, 2] over ground, likewise, m/s, NaN where unknown; None if none is computed.

    Raises:
        ValueError: ids, places or velocities are not N.
    """

    image: NDArray[np.uint8]
    stamp_s: float
    name: str
    detections: Detections
    classes: Sequence[str]
    ids: NDArray[np.integer[Any]] | None = None
    places: Places | None = None
    velocities: NDArray[np.floating[Any]] | None = None

    def __post_init__(self) -> None:
        places = None if self.places is None else self.places.xy
        for field, values in (("ids", self.ids), ("places", places), ("velocities", self.velocities)):
            if values is not None and len(values) != len(self.detections):
                raise ValueError(f"{field} has {len(values)} rows for {len(self.detections)} detections")

    def describe(self) -> dict[str, Any]:
        """The frame as JSON, without the picture: px, m and m/s; what is unknown about an object is left out."""
        height, width = self.image.shape[:2]
        detections = self.detections
        objects: list[dict[str, Any]] = [
            {"box": box, "sigma": sigma, "score": score, "class": class_id, "label": self._label(class_id)}
            for box, sigma, score, class_id in zip(
                detections.boxes.astype(float).round(1).tolist(),
                edge_sigmas(detections).astype(float).round(2).tolist(),
                detections.scores.astype(float).round(3).tolist(),
                detections.class_ids.tolist(),
                strict=True,
            )
        ]
        for row, entry in enumerate(objects):
            if self.ids is not None and self.ids[row] >= 0:
                entry["id"] = int(self.ids[row])
            if self.places is not None:
                entry |= self._whereabouts(self.places, row)
        return {
            "frame": self.name,
            "stamp": self.stamp_s,
            "size": [width, height],
            "on_road": self.places is not None,
            "objects": objects,
        }

    def _label(self, class_id: int) -> str:
        return self.classes[class_id] if class_id < len(self.classes) else str(class_id)

    def _whereabouts(self, places: Places, row: int) -> dict[str, list[float]]:
        place, covariance = places.xy[row], places.covariance[row]
        if not (np.isfinite(place).all() and np.isfinite(covariance).all()):
            return {}
        known = {"place": place.round(3).tolist(), "covariance": covariance[[0, 0, 1], [0, 1, 1]].tolist()}
        if self.velocities is not None and np.isfinite(self.velocities[row]).all():
            known["velocity"] = self.velocities[row].round(2).tolist()
        return known

    def jpeg(self) -> bytes:
        """The picture, at most `PICTURE_WIDTH` wide."""
        image = self.image
        height, width = image.shape[:2]
        if width > PICTURE_WIDTH:
            size = (PICTURE_WIDTH, max(1, round(height * PICTURE_WIDTH / width)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
        return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
