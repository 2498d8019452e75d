"""The topics and diagnostics that the layouts for rviz and Foxglove show are those that the node publishes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from ros.given import OK, picture
from ros.harness import REPOSITORY, Ros
from sensor_msgs.msg import Image

CAMERA = "/camera/image_raw"


def test_everything_shown_is_published(ros: Ros, tiny_model: Path) -> None:
    layout = (REPOSITORY / "launch/perception_foxglove.json").read_text()
    config = yaml.safe_load((REPOSITORY / "launch/perception.rviz").read_text())
    panels = json.loads(layout)["configById"]
    shown = {each["Topic"]["Value"] for each in config["Visualization Manager"]["Displays"]}
    shown |= {panel["imageMode"]["imageTopic"] for name, panel in panels.items() if name.startswith("Image")}
    shown |= {panel["topicToRender"] for panel in panels.values() if "topicToRender" in panel}
    shown |= {panel["topicPath"].partition(".")[0] for panel in panels.values() if "topicPath" in panel}

    camera = ros.observer.create_publisher(Image, CAMERA, 10)
    ros.active(tiny_model, image_topic=CAMERA)
    ros.until_subscribed(camera)
    camera.publish(picture())
    ros.until_status(OK, "topic")

    assert shown == {topic for topic in shown if ros.observer.count_publishers(topic)}
    published = {value.key for status in ros.statuses for value in status.values}
    plotted = set(re.findall(r'key==\\"(\w+)\\"', layout))
    assert plotted and plotted <= published
