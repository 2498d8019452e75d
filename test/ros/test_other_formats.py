"""Foxglove's and Autoware's messages, with stand-ins for their packages, and how the node publishes them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_detections

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from ros.given import answer, on_topic, picture
from ros.harness import Ros
from ros.stand_ins import autoware_perception_msgs, foxglove_msgs, install, tier4_perception_msgs
from std_msgs.msg import Header, String

from gaussian_yolo_node.ros import autoware_objects, foxglove_annotations

CLASSES = ("car", "pedestrian", "cyclist", "hovercraft")
HEADER = Header(stamp=Time(sec=12, nanosec=34), frame_id="front")
# The second and third are one box of two classes.
DETECTIONS = make_detections(
    [[10.25, 20.5, 50.0, 100.75], [0, 3, 8.5, 9], [0, 3, 8.5, 9], [60, 61, 70, 71]],
    [0.5, 0.25, 0.75, 0.375],
    [0, 1, 2, 3],
    [[3, 4, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]],
)


def corners(annotation: Any) -> list[float]:
    """x1 y1 x2 y2 of a rectangle."""
    xs, ys = [point.x for point in annotation.points], [point.y for point in annotation.points]
    assert len(annotation.points) == 4
    return [min(xs), min(ys), max(xs), max(ys)]


class TestFoxglove:
    @pytest.fixture(autouse=True, params=[False, True], ids=["of 2022", "of 2025"])
    def package(self, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
        module = foxglove_msgs(with_timestamp=request.param)
        install(monkeypatch, module)
        return module

    def test_type(self, package: Any) -> None:
        assert foxglove_annotations.message_type() is package.ImageAnnotations

    def test_box_sigma_and_label(self) -> None:
        message = foxglove_annotations.to_message(DETECTIONS[:1], HEADER, CLASSES)
        box, sigma = message.points
        assert box.type == sigma.type == 2  # a closed line
        assert box.timestamp == HEADER.stamp
        assert getattr(message, "timestamp", HEADER.stamp) == HEADER.stamp
        assert corners(box) == [10.25, 20.5, 50.0, 100.75]
        assert corners(sigma) == [7.25, 16.5, 53.0, 104.75]
        assert box.thickness > sigma.thickness and box.outline_color.a == 1 > sigma.outline_color.a
        (text,) = message.texts
        assert text.text == "car 0.50"
        assert (text.position.x, text.position.y) == (10.25, 20.5)

    def test_classes_differ_in_colour(self) -> None:
        message = foxglove_annotations.to_message(DETECTIONS, HEADER, CLASSES)
        assert (len(message.points), len(message.texts), len(message.circles)) == (8, 4, 0)
        colours = {
            (text.background_color.r, text.background_color.g, text.background_color.b) for text in message.texts
        }
        assert len(colours) == 4
        assert (colours := np.array(list(colours))).min() >= 0 and colours.max() <= 1

    def test_no_detections(self) -> None:
        message = foxglove_annotations.to_message(make_detections(), HEADER, CLASSES)
        assert (message.points, message.texts) == ([], [])


class TestAutoware:
    @pytest.fixture(autouse=True)
    def package(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        autoware = autoware_perception_msgs()
        tier4 = tier4_perception_msgs(autoware)
        install(monkeypatch, autoware, tier4)
        return tier4

    def test_type(self, package: Any) -> None:
        assert autoware_objects.message_type() is package.DetectedObjectsWithFeature

    def test_boxes_with_their_classes(self) -> None:
        message = autoware_objects.to_message(DETECTIONS, HEADER, CLASSES)
        assert message.header == HEADER
        found = [
            (
                each.object.existence_probability,
                [(one.label, one.probability) for one in each.object.classification],
                [getattr(each.feature.roi, field) for field in ("x_offset", "y_offset", "width", "height")],
            )
            for each in message.feature_objects
        ]
        bicycle, car, pedestrian, unknown = 6, 1, 7, 0
        assert found == [
            (0.75, [(bicycle, 0.75), (pedestrian, 0.25)], [0, 3, 9, 6]),
            (0.5, [(car, 0.5)], [10, 20, 40, 81]),
            (0.375, [(unknown, 0.375)], [60, 61, 10, 10]),
        ]

    def test_no_detections(self) -> None:
        assert autoware_objects.to_message(make_detections(), HEADER, CLASSES).feature_objects == []


@pytest.mark.parametrize("form", [foxglove_annotations, autoware_objects])
class TestNode:
    def test_has_no_topic_where_the_package_is_not_installed(
        self, ros: Ros, tiny_model: Path, form: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for package in ("foxglove_msgs", "tier4_perception_msgs", "autoware_perception_msgs"):
            monkeypatch.setitem(sys.modules, f"{package}.msg", None)  # an import then fails
            monkeypatch.setitem(sys.modules, package, None)
        assert form.message_type() is None
        node = ros.active(tiny_model, image_topic="/image")
        assert node.count_publishers(form.TOPIC) == 0

    def test_converts_only_for_subscribers(
        self, ros: Ros, tiny_model: Path, form: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a message that this ROS has, in place of the package's."""
        converted: list[int] = []

        def convert(detections: Any, header: Header, classes: Any) -> String:
            converted.append(header.stamp.nanosec)
            return String(data=", ".join(classes[each] for each in detections.class_ids))

        monkeypatch.setattr(form, "message_type", lambda: String)
        monkeypatch.setattr(form, "to_message", convert)
        node, publisher = on_topic(ros, tiny_model)
        publisher.publish(picture(1))
        answer(ros, 1)
        assert not converted
        messages: list[String] = []
        ros.observer.create_subscription(String, form.TOPIC.replace("~", "/perception"), messages.append, 10)
        ros.until(lambda: node.count_subscribers(form.TOPIC), "the subscription")
        publisher.publish(picture(2))
        ros.until(lambda: messages, "a message")
        assert (messages[0].data, converted) == ("car, pedestrian", [2])
