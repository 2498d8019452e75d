"""Boxes for Autoware's fusion, as tier4_perception_msgs/DetectedObjectsWithFeature, where that package is installed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from std_msgs.msg import Header

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.ros.messages import rows_by_box

TOPIC = "~/objects"

# Labels of autoware_perception_msgs/ObjectClassification for the classes of driving data sets; others are UNKNOWN.
_LABELS = {
    "CAR": ("car", "van"),
    "TRUCK": ("truck",),
    "BUS": ("bus",),
    "TRAILER": ("trailer", "caravan"),
    "MOTORCYCLE": ("motorcycle", "motorbike", "motor"),
    "BICYCLE": ("bicycle", "bike", "cyclist"),
    "PEDESTRIAN": ("pedestrian", "person"),
    "ANIMAL": ("animal", "bird", "cat", "dog", "horse", "sheep", "cow"),
}
_LABEL_OF = {name: label for label, names in _LABELS.items() for name in names}


def message_type() -> Any:
    """The class of the message; None where the packages are not installed."""
    try:
        import_module("autoware_perception_msgs.msg")
        return import_module("tier4_perception_msgs.msg").DetectedObjectsWithFeature
    except ImportError:
        return None


def to_message(detections: Detections, header: Header, classes: Sequence[str]) -> Any:
    """One object per box, its classes best first; `feature.roi` is the box in whole px, `object` has no pose."""
    messages = import_module("tier4_perception_msgs.msg")
    classification = import_module("autoware_perception_msgs.msg").ObjectClassification
    objects = messages.DetectedObjectsWithFeature(header=header)
    scores, class_ids = detections.scores.tolist(), detections.class_ids.tolist()
    for rows in rows_by_box(detections):
        entry = messages.DetectedObjectWithFeature()
        entry.object.existence_probability = scores[rows[0]]
        for row in rows:
            label = getattr(classification, _LABEL_OF.get(classes[class_ids[row]].lower(), "UNKNOWN"))
            entry.object.classification.append(classification(label=label, probability=scores[row]))
        # Boxes are clipped to the frame, so nothing is negative.
        x1, y1, x2, y2 = detections.boxes[rows[0]].tolist()
        roi = entry.feature.roi
        roi.x_offset, roi.y_offset = math.floor(x1), math.floor(y1)
        roi.width, roi.height = math.ceil(x2) - roi.x_offset, math.ceil(y2) - roi.y_offset
        objects.feature_objects.append(entry)
    return objects
