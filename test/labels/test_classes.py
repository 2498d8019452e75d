"""The mapping of categories to a network with other classes."""

from __future__ import annotations

import pytest

from gaussian_yolo_node.labels import IGNORE, DatasetError
from gaussian_yolo_node.labels.classes import (
    BACKGROUND,
    BDD_CATEGORIES,
    BDD_CLASSES,
    KITTI_TYPES,
    UNKNOWN,
    ClassMap,
    common_names,
)

KITTI = ("car", "pedestrian", "cyclist")


@pytest.mark.parametrize(
    ("classes", "known", "category", "expected"),
    [
        (KITTI, KITTI_TYPES, "Car", 0),
        (KITTI, KITTI_TYPES, "Person_sitting", IGNORE),
        (KITTI, KITTI_TYPES, "Tram", IGNORE),
        (KITTI, KITTI_TYPES, "DontCare", IGNORE),
        (("car",), KITTI_TYPES, "Pedestrian", BACKGROUND),  # not similar to a car
        (("car",), KITTI_TYPES, "Van", IGNORE),
        (("pedestrian",), KITTI_TYPES, "Misc", IGNORE),  # may be any object
        (KITTI, KITTI_TYPES, "Spaceship", UNKNOWN),
        # BDD100K data for a KITTI network.
        (KITTI, BDD_CATEGORIES, "person", 1),
        (KITTI, BDD_CATEGORIES, "pedestrian", 1),
        (KITTI, BDD_CATEGORIES, "rider", IGNORE),
        (KITTI, BDD_CATEGORIES, "motor", IGNORE),
        (KITTI, BDD_CATEGORIES, "truck", IGNORE),
        (KITTI, BDD_CATEGORIES, "trailer", IGNORE),
        (KITTI, BDD_CATEGORIES, "traffic sign", BACKGROUND),
        # KITTI data for a BDD100K network.
        (BDD_CLASSES, KITTI_TYPES, "Tram", BDD_CLASSES.index("train")),
        (BDD_CLASSES, KITTI_TYPES, "Pedestrian", BDD_CLASSES.index("person")),
        (BDD_CLASSES, KITTI_TYPES, "Cyclist", IGNORE),  # a rider's box excludes the bicycle
        (BDD_CLASSES, BDD_CATEGORIES, "bicycle", BDD_CLASSES.index("bike")),
        (BDD_CLASSES, BDD_CATEGORIES, "motorcycle", BDD_CLASSES.index("motor")),
        (BDD_CLASSES, BDD_CATEGORIES, "traffic light", BDD_CLASSES.index("traffic light")),
        (BDD_CLASSES, BDD_CATEGORIES, "other vehicle", IGNORE),
        (BDD_CLASSES, None, "stop sign", IGNORE),
        (BDD_CLASSES, None, "zebra", BACKGROUND),
        (("traffic-light",), None, "Traffic_Light", 0),
        (("person", "pedestrian"), None, "pedestrian", 1),  # an exact name precedes a synonym
    ],
)
def test_defaults(classes: tuple[str, ...], known: tuple[str, ...] | None, category: str, expected: int) -> None:
    class_map = ClassMap(classes, known)
    assert class_map(category) == expected
    assert class_map(category) == expected  # from the cache


def test_rules_come_before_defaults() -> None:
    class_map = ClassMap(KITTI, KITTI_TYPES, {"Van": "car", "person_sitting": "background", "UFO": "ignore"})
    assert [class_map(name) for name in ("Van", "Person_sitting", "ufo", "Truck")] == [0, BACKGROUND, IGNORE, IGNORE]


def test_a_rule_that_leads_nowhere() -> None:
    with pytest.raises(DatasetError, match=r"'pedestrain', which is no class .* car, pedestrian, cyclist"):
        ClassMap(KITTI, None, {"person": "pedestrain"})


@pytest.mark.parametrize(
    ("truths", "predicted", "common"),
    [
        (["car", "person"], ["car", "person"], {"car": "car", "person": "person"}),
        (["person", "bike"], ["pedestrian", "bicycle"], {"pedestrian": "person", "bicycle": "bike"}),
        (["train", "motor"], ["tram", "motorbike"], {"tram": "train", "motorbike": "motor"}),
        (["pedestrian"], ["person"], {"person": "pedestrian"}),
        (["Car", "Traffic_Light"], ["car", "traffic light"], {"car": "Car", "traffic light": "Traffic_Light"}),
        (["person", "pedestrian"], ["person"], {"pedestrian": "person", "person": "person"}),
        (["person", "pedestrian"], ["person", "pedestrian"], {}),  # the detector tells them apart
        (["Person"], ["person", "pedestrian"], {"Person": "person"}),
        (["car"], ["zebra"], {}),
        (["car"], [], {}),
        ([], ["person"], {}),
    ],
)
def test_classes_of_two_names_have_one_in_evaluation(
    truths: list[str], predicted: list[str], common: dict[str, str]
) -> None:
    found = common_names(truths, predicted)
    assert common.items() <= found.items()
    assert all(found[name] == name for name in found.keys() - common.keys())
