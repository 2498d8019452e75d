"""Which topic the images are on, and of which type: as `image_transport` says, or by what is published."""

from __future__ import annotations

from dataclasses import dataclass

from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.validate_topic_name import validate_topic_name
from sensor_msgs.msg import CompressedImage, Image

from gaussian_yolo_node.ros.parameter_table import COMPRESSED_SUFFIX, ParameterError, PerceptionParameters

_TYPES = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}


@dataclass(frozen=True)
class ImageTopic:
    """A topic of images; `kind` is Image or CompressedImage."""

    name: str
    kind: type[Image] | type[CompressedImage]


def image_topic(node: Node, parameters: PerceptionParameters) -> ImageTopic | None:
    """The topic to subscribe to; None if image_transport is auto and no images are published.

    auto looks at image_topic and at its name with the suffix /compressed, and takes raw images before compressed ones.

    Raises:
        ParameterError: image_topic cannot be the name of a topic.
    """
    check_topic_name("image_topic", parameters.image_topic)
    if parameters.image_transport != "auto":
        return ImageTopic(
            parameters.subscribed_topic, CompressedImage if parameters.image_transport == "compressed" else Image
        )
    published = {
        ImageTopic(name, _TYPES[publisher.topic_type])
        for name in (parameters.image_topic, f"{parameters.image_topic}{COMPRESSED_SUFFIX}")
        for publisher in node.get_publishers_info_by_topic(name)
        if publisher.topic_type in _TYPES
    }
    return min(published, key=lambda topic: (topic.kind is CompressedImage, topic.name), default=None)


def check_topic_name(parameter: str, name: str) -> None:
    """Check the name of a topic.

    Args:
        parameter: that has it.

    Raises:
        ParameterError: it cannot be one.
    """
    try:
        validate_topic_name(name)
    except InvalidTopicNameException as error:
        raise ParameterError(f"parameter '{parameter}' is '{name}': {str(error).splitlines()[0]}") from error
