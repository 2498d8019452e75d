"""Why no image arrives on a topic, and the parameter that changes it."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSReliabilityPolicy

from gaussian_yolo_node.ros.parameter_table import PerceptionParameters

_IMAGE, _COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
_MOST_TOPICS = 5  # in one message


def why_silent(node: Node, topic: str, kind: str, parameters: PerceptionParameters) -> str:
    """A sentence on the publishers of a topic of images from which nothing arrives.

    Args:
        node: the subscriber.
        topic: full name of the topic.
        kind: type of the subscription, such as "sensor_msgs/msg/Image"; empty if there is none yet.
        parameters: of the node.
    """
    publishers = node.get_publishers_info_by_topic(topic)
    wanted = {kind} if kind else {_IMAGE, _COMPRESSED}
    images = [publisher for publisher in publishers if publisher.topic_type in wanted]
    if not publishers:
        others = _image_topics(node)
        hint = f"images are on {', '.join(others)}" if others else "there are no topics of images"
        return f"nothing publishes it; {hint}: set image_topic, or start the camera"
    if not images:
        types = ", ".join(sorted({publisher.topic_type for publisher in publishers}))
        if {_IMAGE, _COMPRESSED} & {publisher.topic_type for publisher in publishers}:
            return f"its publisher sends {types}: set image_transport to auto"
        return f"its publisher sends {types}, not images: set image_topic"
    if parameters.reliability == "reliable" and all(
        publisher.qos_profile.reliability == QoSReliabilityPolicy.BEST_EFFORT for publisher in images
    ):
        return "its publisher is best effort, the subscription is reliable: set reliability to best_effort"
    names = ", ".join(sorted(f"{p.node_namespace.rstrip('/')}/{p.node_name}" for p in images))
    qos = ", ".join(sorted({_reliability(publisher.qos_profile.reliability) for publisher in images}))
    count = f"{len(images)} publisher{'s' if len(images) > 1 else ''}"
    return f"{count} ({names}; {qos}) sends nothing: check the camera, and the network's limit for large messages"


def _image_topics(node: Node) -> list[str]:
    topics = sorted(
        name
        for name, types in node.get_topic_names_and_types()
        if {_IMAGE, _COMPRESSED} & set(types)
        and any(publisher.node_name != node.get_name() for publisher in node.get_publishers_info_by_topic(name))
    )
    return [*topics[:_MOST_TOPICS], *(["..."] if len(topics) > _MOST_TOPICS else [])]


def _reliability(policy: QoSReliabilityPolicy) -> str:
    return "best effort" if policy == QoSReliabilityPolicy.BEST_EFFORT else "reliable"
