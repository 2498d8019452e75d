"""Boxes over the image in Foxglove, as foxglove_msgs/ImageAnnotations, where that package is installed."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from std_msgs.msg import Header

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.drawing import class_colour, edge_sigmas

TOPIC = "~/annotations"

_BOX_THICKNESS, _SIGMA_THICKNESS = 2.0, 1.0  # px
_SIGMA_OPACITY = 0.5
_FONT_SIZE = 12.0  # px


def message_type() -> Any:
    """The class of the message; None where the package is not installed."""
    try:
        return import_module("foxglove_msgs.msg").ImageAnnotations
    except ImportError:
        return None


def to_message(detections: Detections, header: Header, classes: Sequence[str]) -> Any:
    """Each box in its class's colour, a thin one around it at one sigma of its edges, and class and score above it."""
    messages = import_module("foxglove_msgs.msg")
    annotations = messages.ImageAnnotations()
    if hasattr(annotations, "timestamp"):  # since 2025; it stands for those of the parts
        annotations.timestamp = header.stamp
    reach = np.concatenate([-edge_sigmas(detections), edge_sigmas(detections)], axis=1)
    for box, outer, class_id, score in zip(
        detections.boxes.tolist(),
        (detections.boxes + reach).tolist(),
        detections.class_ids.tolist(),
        detections.scores.tolist(),
        strict=True,
    ):
        blue, green, red = (value / 255 for value in class_colour(class_id))

        def colour(opacity: float, parts: tuple[float, float, float] = (red, green, blue)) -> Any:
            return messages.Color(r=parts[0], g=parts[1], b=parts[2], a=opacity)

        for (x1, y1, x2, y2), opacity, thickness in (
            (box, 1.0, _BOX_THICKNESS),
            (outer, _SIGMA_OPACITY, _SIGMA_THICKNESS),
        ):
            annotations.points.append(
                messages.PointsAnnotation(
                    timestamp=header.stamp,
                    type=messages.PointsAnnotation.LINE_LOOP,
                    points=[messages.Point2(x=x, y=y) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))],
                    outline_color=colour(opacity),
                    thickness=thickness,
                )
            )
        annotations.texts.append(
            messages.TextAnnotation(
                timestamp=header.stamp,
                position=messages.Point2(x=box[0], y=box[1]),
                text=f"{classes[class_id]} {score:.2f}",
                font_size=_FONT_SIZE,
                text_color=messages.Color(r=0.0, g=0.0, b=0.0, a=1.0),
                background_color=colour(1.0),
            )
        )
    return annotations
