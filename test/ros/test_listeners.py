"""What listeners expect beside detections: labels, class ids as numbers, and the quality of service they ask for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from rclpy.parameter import Parameter
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from ros.given import ERROR, OK, SUCCESS, answer, labels, on_topic, picture
from ros.harness import FRAMES, Ros
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from vision_msgs.msg import LabelInfo

LATCHED = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def labels_of(ros: Ros) -> list[LabelInfo]:
    infos: list[LabelInfo] = []
    ros.observer.create_subscription(LabelInfo, "/perception/label_info", infos.append, LATCHED)
    return infos


class TestLabelInfo:
    def test_arrives_at_a_late_subscriber(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, image_topic="/image")
        for _ in range(5):
            ros.until_status(OK, "topic")
        infos = labels_of(ros)
        ros.until(lambda: infos, "labels")
        names = [(each.class_id, each.class_name) for each in infos[0].class_map]
        assert names == [(0, "car"), (1, "pedestrian"), (2, "cyclist")]
        assert infos[0].threshold == pytest.approx(0.3)  # the card's

    def test_is_published_again_when_the_threshold_changes(self, ros: Ros, tiny_model: Path) -> None:
        node = ros.active(tiny_model, image_topic="/image")
        infos = labels_of(ros)
        ros.until(lambda: infos, "labels")
        node.set_parameters([Parameter("iou_threshold", value=0.6)])
        node.set_parameters([Parameter("score_threshold", value=0.7)])
        ros.until(lambda: len(infos) == 2, "labels with the new threshold")
        assert infos[-1].threshold == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("class_id_format", "read"),
    [("name", lambda class_id, names: class_id), ("index", lambda class_id, names: names[int(class_id)])],
)
def test_class_ids_are_read_as_names_or_numbers(ros: Ros, tiny_model: Path, class_id_format: str, read: Any) -> None:
    _, publisher = on_topic(ros, tiny_model, class_id_format=class_id_format)
    infos = labels_of(ros)
    ros.until(lambda: infos, "labels")
    names = [each.class_name for each in infos[0].class_map]
    publisher.publish(picture(1))
    assert [read(label, names) for label in labels(answer(ros, 1))] == ["car", "pedestrian"]


class TestClasses:
    def test_are_chosen_while_the_node_runs(self, ros: Ros, tiny_model: Path) -> None:
        node, publisher = on_topic(ros, tiny_model, classes="car")
        infos = labels_of(ros)

        def detected(number: int) -> list[str]:
            publisher.publish(picture(number))
            return labels(answer(ros, number))

        assert detected(1) == ["car"]
        for number, name, value, expected in (
            (2, "classes", "", ["car", "pedestrian"]),
            (3, "class_thresholds", "car:0.85", ["pedestrian"]),
            (4, "score_threshold", 0.7, []),
            (5, "class_thresholds", "pedestrian:0.1", ["car", "pedestrian"]),
        ):
            (result,) = node.set_parameters([Parameter(name, value=value)])
            assert result.successful, result.reason
            assert detected(number) == expected, (name, value)
        ros.until(lambda: infos and infos[-1].threshold == pytest.approx(0.1), "labels with the least threshold")

    @pytest.mark.parametrize("name", ["classes", "class_thresholds"])
    def test_that_the_model_lacks_are_refused_with_those_it_has(self, ros: Ros, tiny_model: Path, name: str) -> None:
        value = "tram" if name == "classes" else "tram:0.2"
        node = ros.active(tiny_model, image_topic="/image")
        (result,) = node.set_parameters([Parameter(name, value=value)])
        assert not result.successful
        assert result.reason == f"{name} has 'tram', but the model's classes are car, pedestrian, cyclist"
        assert node.get_parameter(name).value == ""

    def test_that_the_model_lacks_fail_configure(self, ros: Ros, tiny_model: Path) -> None:
        ros.refused(
            "the model's classes are car, pedestrian, cyclist", tiny_model, image_topic="/image", classes="tram"
        )


class TestEnable:
    """Service ~/enable."""

    def call(self, ros: Ros, data: bool) -> None:
        client = ros.observer.create_client(SetBool, "/perception/enable")
        ros.until(client.service_is_ready, "the service")
        future = client.call_async(SetBool.Request(data=data))
        ros.until(future.done, "its answer")
        assert future.result().success

    def test_of_a_topic(self, ros: Ros, tiny_model: Path) -> None:
        _, publisher = on_topic(ros, tiny_model)
        self.call(ros, False)
        for number in range(1, 6):
            publisher.publish(picture(number))
            values = ros.until_status(OK, "disabled: call ~/enable with data: true")
        assert (values["frames_received"], values["frames_processed"], values["frames_dropped"]) == ("0", "0", "0")
        assert not ros.detections
        self.call(ros, True)
        ros.until_status(OK, "topic")  # at once, without a warning of silence
        publisher.publish(picture(7))
        assert answer(ros, 7) is ros.detections[0]

    def test_of_a_folder_that_loses_no_frame(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.node(model=str(tiny_model), source=str(folder), playback="fastest")
        assert node.trigger_configure() == SUCCESS
        self.call(ros, False)
        assert node.trigger_activate() == SUCCESS
        for _ in range(5):
            ros.until_status(OK, "disabled")
        assert not ros.detections
        self.call(ros, True)
        assert ros.until_status(OK, "finished")["frames_processed"] == str(FRAMES)

    def test_of_a_folder_played_at_its_rate(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        ros.active(tiny_model, source=str(folder), loop=True, playback_fps=50.0)
        ros.until(lambda: ros.detections, "detections")
        self.call(ros, False)
        processed = [ros.until_status(OK, "disabled")["frames_processed"] for _ in range(6)]
        assert processed[-1] == processed[1]  # one frame may have been on its way
        self.call(ros, True)
        ros.detections.clear()
        ros.until(lambda: ros.detections, "detections")

    def test_a_disabled_node_is_closed_all_the_same(self, ros: Ros, tiny_model: Path, folder: Path) -> None:
        node = ros.node(model=str(tiny_model), source=str(folder), playback="fastest", loop=True)
        assert node.trigger_configure() == SUCCESS
        self.call(ros, False)
        assert node.trigger_activate() == SUCCESS
        thread = next(each for each in threading.enumerate() if each.name.startswith("source "))
        assert node.trigger_deactivate() == SUCCESS
        assert not thread.is_alive()


def reliabilities(ros: Ros, topic: str) -> list[QoSReliabilityPolicy]:
    """Of the publishers of a topic."""
    return [each.qos_profile.reliability for each in ros.observer.get_publishers_info_by_topic(topic)]


class TestQosOverrides:
    def test_of_a_publisher_are_seen_by_others(self, ros: Ros, tiny_model: Path) -> None:
        topics = [*(f"/perception/{name}" for name in ("detections", "image_annotated", "label_info")), "/diagnostics"]
        overrides = {f"qos_overrides.{topic}.publisher.reliability": "best_effort" for topic in topics}
        ros.active(tiny_model, image_topic="/image", **overrides)
        for topic in topics:
            policies = ros.until(lambda topic=topic: reliabilities(ros, topic), f"a publisher of {topic}")
            assert policies == [QoSReliabilityPolicy.BEST_EFFORT]

    def test_stay_with_the_node_they_were_given_to(self, ros: Ros, tiny_model: Path) -> None:
        key = "qos_overrides./perception/detections.publisher.reliability"
        first = ros.active(tiny_model, image_topic="/image", **{key: "best_effort"})
        ros.executor.remove_node(first)
        first.destroy_node()
        ros.nodes.remove(first)
        ros.active(tiny_model, image_topic="/image")
        ros.until(
            lambda: reliabilities(ros, "/perception/detections") == [QoSReliabilityPolicy.RELIABLE],
            "a reliable publisher alone",
        )

    def test_of_the_image_subscription(self, ros: Ros, tiny_model: Path) -> None:
        key = "qos_overrides./image.subscription.reliability"
        ros.active(tiny_model, image_topic="/image", image_transport="raw", **{key: "reliable"})
        subscriptions = ros.until(lambda: ros.observer.get_subscriptions_info_by_topic("/image"), "a subscription")
        assert [each.qos_profile.reliability for each in subscriptions] == [QoSReliabilityPolicy.RELIABLE]

    @pytest.mark.parametrize("value", ["sometimes", 7])
    def test_with_an_unusable_value_fail_configure(self, ros: Ros, tiny_model: Path, value: object) -> None:
        key = "qos_overrides./perception/detections.publisher.reliability"
        ros.refused("topic ~/detections cannot be opened", tiny_model, image_topic="/image", **{key: value})

    def test_with_an_unusable_value_are_an_error_when_images_come_later(self, ros: Ros, tiny_model: Path) -> None:
        ros.active(tiny_model, image_topic="/image", **{"qos_overrides./image.subscription.reliability": "sometimes"})
        ros.observer.create_publisher(Image, "/image", 10)
        ros.until_status(ERROR, "topic /image cannot be opened")
