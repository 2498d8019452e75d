from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from factories import Planted, make_image, make_model

from gaussian_yolo_node.detector.class_selection import ClassSelection
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import SettingError

NAMES = ("car", "pedestrian", "cyclist")
# Two above the threshold of the card, 0.3, and one below.
BOXES = (
    Planted((10.0, 12.0, 34.0, 27.0), 0, score=0.8),
    Planted((50.5, 20.0, 58.5, 44.0), 1, score=0.6),
    Planted((70.0, 30.0, 90.0, 50.0), 2, score=0.2),
)


@pytest.mark.parametrize(
    ("classes", "thresholds", "by_class", "lowest"),
    [
        ("", "", 0.5, 0.5),
        ("  ", " ", 0.5, 0.5),
        ("car", "", [0.5, 1, 1], 0.5),
        ("cyclist, car", "", [0.5, 1, 0.5], 0.5),
        ("", "pedestrian:0.2,cyclist:0.75", [0.5, 0.2, 0.75], 0.2),
        ("", " pedestrian : 0 ", [0.5, 0, 0.5], 0),
        ("car,cyclist", "pedestrian:0.2, cyclist:0.75", [0.5, 1, 0.75], 0.5),
        ("cyclist", "cyclist:0.75", [1, 1, 0.75], 0.75),
    ],
)
def test_thresholds_of_the_classes(classes: str, thresholds: str, by_class: object, lowest: float) -> None:
    selection = ClassSelection.parse(classes, thresholds, NAMES)
    np.testing.assert_array_equal(selection.by_class(0.5, NAMES), np.array(by_class, np.float32))
    assert selection.lowest(0.5, NAMES) == lowest


@pytest.mark.parametrize(
    ("classes", "thresholds", "reason"),
    [
        ("tram", "", "classes has 'tram', but the model's classes are car, pedestrian, cyclist"),
        ("car,", "", "classes has '', but the model's classes are"),
        ("Car", "", "classes has 'Car'"),
        ("car,car", "", "classes has 'car' twice"),
        ("", "tram:0.2", "class_thresholds has 'tram', but the model's classes are car, pedestrian, cyclist"),
        ("", "car", "class_thresholds has '', but"),
        ("", "car:0.2,car:0.3", "class_thresholds has 'car' twice"),
        ("", "car:much", "class_thresholds has 'car:much'; give scores of at least 0 and below 1, such as car:0.2"),
        ("", "car:1", "class_thresholds has 'car:1'"),
        ("", "car:-0.1", "class_thresholds has 'car:-0.1'"),
        ("", "car:nan", "class_thresholds has 'car:nan'"),
        ("", "car:", "class_thresholds has 'car:'"),
    ],
)
def test_what_is_refused(classes: str, thresholds: str, reason: str) -> None:
    with pytest.raises(SettingError) as refusal:
        ClassSelection.parse(classes, thresholds, NAMES)
    assert str(refusal.value).startswith(reason)


@pytest.mark.parametrize(
    ("classes", "thresholds", "found"),
    [
        ("", "", [0, 1]),
        ("pedestrian,cyclist", "", [1]),
        ("cyclist", "", []),
        ("", "cyclist:0.1", [0, 1, 2]),
        ("", "car:0.85", [1]),
        ("cyclist", "cyclist:0.1", [2]),
    ],
)
def test_the_detector_finds_what_is_selected(tmp_path: Path, classes: str, thresholds: str, found: list[int]) -> None:
    model = make_model(tmp_path / "three.onnx", planted=BOXES)
    with Detector.open(model, "onnxruntime") as detector:
        detector.class_selection = ClassSelection.parse(classes, thresholds, detector.card.classes)
        detections = detector(make_image())
        assert detections.class_ids.tolist() == found
        detector.class_selection = ClassSelection()
        assert detector(make_image()).class_ids.tolist() == [0, 1]
