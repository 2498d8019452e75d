"""The SROS2 policy allows what the nodes do, and no more."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros.harness import Ros
from sensor_msgs.msg import Image

from gaussian_yolo_node.ros import autoware_objects, foxglove_annotations
from gaussian_yolo_node.ros.security_policy import OPERATOR, PUBLISHED, SERVICES, main, policy

DOCS = Path(__file__).resolve().parents[2] / "docs" / "security"
WITH_OTHER_PACKAGES = {form.TOPIC for form in (foxglove_annotations, autoware_objects) if form.message_type() is None}


def allowed(text: str, node: str, namespace: str = "/") -> dict[str, set[str]]:
    """Topics and services of a node's profile, by what it may do."""
    root = ElementTree.fromstring(text)
    assert (root.tag, root.get("version")) == ("policy", "0.2.0")
    profile = root.find(f".//profile[@node='{node}'][@ns='{namespace}']")
    assert profile is not None
    actions: dict[str, set[str]] = {}
    for group in profile:
        [(action, word)] = group.attrib.items()
        assert word == "ALLOW"
        actions.setdefault(action, set()).update(str(item.text) for item in group)
    return actions


def names(pairs: list[tuple[str, list[str]]]) -> set[str]:
    return {name for name, _ in pairs}


def test_it_names_what_a_running_node_offers(ros: Ros, tiny_model: Path, folder: Path) -> None:
    node = ros.active(tiny_model, source=str(folder))
    published = names(node.get_publisher_names_and_types_by_node("perception", "/"))
    replied = names(node.get_service_names_and_types_by_node("perception", "/"))
    rules = allowed(policy({"": ""}), "perception")
    others = {name.replace("~", "/perception") for name in ("~/camera_info", *WITH_OTHER_PACKAGES)}
    assert published <= rules["publish"]
    assert rules["publish"] - published == others  # those with a condition
    assert replied <= rules["reply"]
    assert rules["reply"] - replied <= {"/perception/get_type_description"}  # not in Humble


def test_it_names_what_a_running_node_hears(ros: Ros, tiny_model: Path) -> None:
    publisher = ros.observer.create_publisher(Image, "/front/image_raw", 1)
    node = ros.active(
        tiny_model,
        image_topic="/front/image_raw",
        position=True,
        base_frame="base_link",
        depth_topic="/front/depth/image_raw",
        use_sim_time=True,
    )
    ros.until_subscribed(publisher)
    heard = names(node.get_subscriber_names_and_types_by_node("perception", "/"))
    assert {"/front/image_raw", "/front/camera_info", "/front/depth/image_raw", "/clock", "/tf", "/tf_static"} <= heard
    assert heard <= allowed(policy({"": "/front/image_raw"}), "perception")["subscribe"]


def test_an_operator_sees_everything_and_publishes_nothing_of_the_nodes() -> None:
    rules = allowed(policy({"/front": "/a", "/rear": "/b"}), OPERATOR)
    assert rules["publish"] == {"/rosout", "/parameter_events"}
    for camera in ("front", "rear"):
        assert {name.replace("~", f"/{camera}/perception") for name in PUBLISHED} <= rules["subscribe"]
        assert {name.replace("~", f"/{camera}/perception") for name in SERVICES} <= rules["request"]


@pytest.mark.parametrize(
    ("arguments", "profiles"),
    [
        ([], {("/", "")}),
        (["/camera/image_raw"], {("/", "/camera/image_raw")}),
        (["front=/front/image_raw", "/car/rear="], {("/front", "/front/image_raw"), ("/car/rear", "")}),
        (["a&b=/<x>"], {("/a&b", "/<x>")}),  # not names of ROS, but the XML stays whole
    ],
)
def test_arguments_are_cameras(
    capsys: pytest.CaptureFixture[str], arguments: list[str], profiles: set[tuple[str, str]]
) -> None:
    main(arguments)
    text = capsys.readouterr().out
    for namespace, topic in profiles:
        rules = allowed(text, "perception", namespace)
        assert f"{namespace.rstrip('/')}/perception/detections" in rules["publish"]
        assert not topic or topic in rules["subscribe"]


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("perception.policy.xml", ["/camera/image_raw"]),
        ("cameras.policy.xml", ["front=/front/image_raw", "rear=/rear/image_raw"]),
    ],
)
def test_the_shipped_files_are_what_it_writes(
    capsys: pytest.CaptureFixture[str], file: str, arguments: list[str]
) -> None:
    main(arguments)
    assert capsys.readouterr().out == (DOCS / file).read_text()
