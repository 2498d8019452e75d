"""What listeners expect beside detections: labels, class ids as numbers, and the quality of service they ask for."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
from factories import make_image

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from ros.harness import Ros
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

from gaussian_yolo_node.ros.messages import image_to_message

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def active(ros: Ros, model: Path, **parameters: Any) -> Any:
    node = ros.node(model=str(model), **parameters)
    assert node.trigger_configure() == SUCCESS
    assert node.trigger_activate() == SUCCESS
    return node


def picture(number: int) -> Image:
    """A picture of now; the nanoseconds number it."""
    return image_to_message(make_image(), Header(stamp=Time(sec=int(time.time()), nanosec=number)))


def labels_of(ros: Ros) -> list[LabelInfo]:
    labels: list[LabelInfo] = []
    ros.observer.create_subscription(LabelInfo, "/perception/label_info", labels.append, LATCHED)
    return labels


class TestLabelInfo:
    def test_arrives_at_a_late_subscriber(self, ros: Ros, tiny_model: Path) -> None:
        active(ros, tiny_model, image_topic="/image")
        for _ in range(5):
            ros.until_status(DiagnosticStatus.OK, "topic")
        labels = labels_of(ros)
        ros.until(lambda: labels, "labels")
        assert [(each.class_id, each.class_name) for each in labels[0].class_map] == [
            (0, "car"),
            (1, "pedestrian"),
            (2, "cyclist"),
        ]
        assert labels[0].threshold == pytest.approx(0.3)  # the card's

    def test_is_published_again_when_the_threshold_changes(self, ros: Ros, tiny_model: Path) -> None:
        node = active(ros, tiny_model, image_topic="/image")
        labels = labels_of(ros)
        ros.until(lambda: labels, "labels")
        node.set_parameters([Parameter("iou_threshold", value=0.6)])
        node.set_parameters([Parameter("score_threshold", value=0.7)])
        ros.until(lambda: len(labels) == 2, "labels with the new threshold")
        assert labels[-1].threshold == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("class_id_format", "read"),
    [("name", lambda class_id, names: class_id), ("index", lambda class_id, names: names[int(class_id)])],
)
def test_class_ids_are_read_as_names_or_numbers(ros: Ros, tiny_model: Path, class_id_format: str, read: Any) -> None:
    publisher = ros.observer.create_publisher(Image, "/image", 10)
    active(ros, tiny_model, image_topic="/image", class_id_format=class_id_format)
    labels = labels_of(ros)
    ros.until_subscribed(publisher)
    ros.until(lambda: labels, "labels")
    names = [each.class_name for each in labels[0].class_map]
    publisher.publish(picture(1))
    ros.until(lambda: ros.detections, "detections")
    found = [read(each.results[0].hypothesis.class_id, names) for each in ros.detections[0].detections]
    assert found == ["car", "pedestrian"]


class TestClasses:
    def test_are_chosen_while_the_node_runs(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", 10)
        node = active(ros, tiny_model, image_topic="/image", classes="car")
        labels = labels_of(ros)
        ros.until_subscribed(publisher)

        def found(number: int) -> list[str]:
            publisher.publish(picture(number))
            message = ros.until(
                lambda: next((each for each in ros.detections if each.header.stamp.nanosec == number), None),
                f"detections of frame {number}",
            )
            return [each.results[0].hypothesis.class_id for each in message.detections]

        assert found(1) == ["car"]
        for number, name, value, expected in (
            (2, "classes", "", ["car", "pedestrian"]),
            (3, "class_thresholds", "car:0.85", ["pedestrian"]),
            (4, "score_threshold", 0.7, []),
            (5, "class_thresholds", "pedestrian:0.1", ["car", "pedestrian"]),
        ):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert result.successful, result.reason
            assert found(number) == expected, (name, value)
        ros.until(lambda: labels and labels[-1].threshold == pytest.approx(0.1), "labels with the least threshold")

    @pytest.mark.parametrize("name", ["classes", "class_thresholds"])
    def test_that_the_model_lacks_are_refused_with_those_it_has(self, ros: Ros, tiny_model: Path, name: str) -> None:
        value = "tram" if name == "classes" else "tram:0.2"
        node = active(ros, tiny_model, image_topic="/image")
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert result.reason == f"{name} has 'tram', but the model's classes are car, pedestrian, cyclist"
        assert node.get_parameter(name).value == ""

    def test_that_the_model_lacks_fail_configure(self, ros: Ros, tiny_model: Path) -> None:
        node = ros.node(model=str(tiny_model), image_topic="/image", classes="tram")
        assert node.trigger_configure() == FAILURE
        ros.until_status(DiagnosticStatus.ERROR, "the model's classes are car, pedestrian, cyclist")


class TestEnable:
    """Service ~/enable."""

    def call(self, ros: Ros, data: bool) -> None:
        client = ros.observer.create_client(SetBool, "/perception/enable")
        ros.until(client.service_is_ready, "the service")
        future = client.call_async(SetBool.Request(data=data))
        ros.until(future.done, "its answer")
        assert future.result().success

    def test_of_a_topic(self, ros: Ros, tiny_model: Path) -> None:
        publisher = ros.observer.create_publisher(Image, "/image", 10)
        active(ros, tiny_model, image_topic="/image")
        ros.until_subscribed(publisher)
        self.call(ros, False)
        for number in range(1, 6):
            publisher.publish(picture(number))
            values = ros.until_status(DiagnosticStatus.OK, "disabled: call ~/enable with data: true")
        assert (values["frames_received"], values["frames_processed"], values["frames_dropped"]) == ("0", "0", "0")
        assert not ros.detections
        self.call(ros, True)
        ros.until_status(DiagnosticStatus.OK, "topic")  # at once, without a warning of silence
        publisher.publish(picture(7))
        ros.until(lambda: ros.detections, "detections")
        assert ros.detections[0].header.stamp.nanosec == 7

    def test_of_a_folder_that_loses_no_frame(self, ros: Ros, tiny_model: Path, tmp_path: Path) -> None:
        for index in range(6):
            cv2.imwrite(str(tmp_path / f"{index}.png"), make_image(seed=index))
        node = ros.node(model=str(tiny_model), source=str(tmp_path), playback="fastest")
        assert node.trigger_configure() == SUCCESS
        self.call(ros, False)
        assert node.trigger_activate() == SUCCESS
        for _ in range(5):
            ros.until_status(DiagnosticStatus.OK, "disabled")
        assert not ros.detections
        self.call(ros, True)
        assert ros.until_status(DiagnosticStatus.OK, "finished")["frames_processed"] == "6"

    def test_of_a_folder_played_at_its_rate(self, ros: Ros, tiny_model: Path, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "0.png"), make_image())
        active(ros, tiny_model, source=str(tmp_path), loop=True, playback_fps=50.0)
        ros.until(lambda: ros.detections, "detections")
        self.call(ros, False)
        processed = [ros.until_status(DiagnosticStatus.OK, "disabled")["frames_processed"] for _ in range(6)]
        assert processed[-1] == processed[1]  # one frame may have been on its way
        self.call(ros, True)
        ros.detections.clear()
        ros.until(lambda: ros.detections, "detections")

    def test_a_disabled_node_is_closed_all_the_same(self, ros: Ros, tiny_model: Path, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "0.png"), make_image())
        node = ros.node(model=str(tiny_model), source=str(tmp_path), playback="fastest", loop=True)
        assert node.trigger_configure() == SUCCESS
        self.call(ros, False)
        assert node.trigger_activate() == SUCCESS
        thread = next(each for each in threading.enumerate() if each.name.startswith("source "))
        assert node.trigger_deactivate() == SUCCESS
        assert not thread.is_alive()


class TestQosOverrides:
    @pytest.mark.parametrize(
        "topic",
        ["/perception/detections", "/perception/image_annotated", "/perception/label_info", "/diagnostics"],
    )
    def test_of_a_publisher_are_seen_by_others(self, ros: Ros, tiny_model: Path, topic: str) -> None:
        active(
            ros,
            tiny_model,
            image_topic="/image",
            **{f"qos_overrides.{topic}.publisher.reliability": "best_effort"},
        )

        def reliability() -> Any:
            found = ros.observer.get_publishers_info_by_topic(topic)
            return [publisher.qos_profile.reliability for publisher in found]

        assert ros.until(reliability, f"a publisher of {topic}") == [QoSReliabilityPolicy.BEST_EFFORT]

    def test_stay_with_the_node_they_were_given_to(self, ros: Ros, tiny_model: Path) -> None:
        key = "qos_overrides./perception/detections.publisher.reliability"
        first = active(ros, tiny_model, image_topic="/image", **{key: "best_effort"})
        first.release()
        ros.executor.remove_node(first)
        first.destroy_node()
        ros._nodes.remove(first)
        active(ros, tiny_model, image_topic="/image")

        def reliability() -> Any:
            found = ros.observer.get_publishers_info_by_topic("/perception/detections")
            return [publisher.qos_profile.reliability for publisher in found]

        ros.until(lambda: reliability() == [QoSReliabilityPolicy.RELIABLE], "a reliable publisher alone")

    def test_of_the_image_subscription(self, ros: Ros, tiny_model: Path) -> None:
        key = "qos_overrides./image.subscription.reliability"
        active(ros, tiny_model, image_topic="/image", image_transport="raw", **{key: "reliable"})

        def reliability() -> Any:
            found = ros.observer.get_subscriptions_info_by_topic("/image")
            return [subscription.qos_profile.reliability for subscription in found]

        assert ros.until(reliability, "a subscription to /image") == [QoSReliabilityPolicy.RELIABLE]

    @pytest.mark.parametrize("value", ["sometimes", 7])
    def test_with_an_unusable_value_fail_configure(self, ros: Ros, tiny_model: Path, value: object) -> None:
        key = "qos_overrides./perception/detections.publisher.reliability"
        node = ros.node(model=str(tiny_model), image_topic="/image", **{key: value})
        assert node.trigger_configure() == FAILURE
        ros.until_status(DiagnosticStatus.ERROR, "topic ~/detections cannot be opened")

    def test_with_an_unusable_value_are_an_error_when_images_come_later(self, ros: Ros, tiny_model: Path) -> None:
        active(ros, tiny_model, image_topic="/image", **{"qos_overrides./image.subscription.reliability": "sometimes"})
        ros.observer.create_publisher(Image, "/image", 10)
        ros.until_status(DiagnosticStatus.ERROR, "topic /image cannot be opened")
