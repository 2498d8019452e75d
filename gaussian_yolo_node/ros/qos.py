"""Quality of service: the profiles of the node's topics, and parameters `qos_overrides.TOPIC.publisher.depth` etc."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rclpy.exceptions import InvalidParameterTypeException
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSPolicyKind, QoSProfile, QoSReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription

from gaussian_yolo_node.ros.parameter_table import QOS_PREFIX, ParameterError

Created = TypeVar("Created")

_KINDS = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)


def create_publisher(
    create: Callable[..., Created], kind: type, topic: str, depth: int, *, latched: bool = False
) -> Created:
    """A reliable publisher, so that reliable and best-effort subscribers match, unless parameters say otherwise.

    Args:
        create: `create_publisher` or `create_lifecycle_publisher` of a node.
        kind: type of the messages.
        topic: its name.
        depth: messages that are kept for a slow subscriber.
        latched: whether subscribers that come later get the last messages, too.

    Raises:
        ParameterError: a parameter has an unusable value.
    """
    durability = QoSDurabilityPolicy.TRANSIENT_LOCAL if latched else QoSDurabilityPolicy.VOLATILE
    # A new profile each time, because rclpy writes the overrides into it.
    qos = QoSProfile(depth=depth, reliability=QoSReliabilityPolicy.RELIABLE, durability=durability)
    with _refusals(topic):
        return create(kind, topic, qos, qos_overriding_options=QoSOverridingOptions(_KINDS))


def create_subscription(
    node: Node, kind: type, topic: str, callback: Callable[..., None], reliability: QoSReliabilityPolicy
) -> Subscription:
    """A subscription that keeps the newest message alone, unless parameters say otherwise.

    Raises:
        ParameterError: a parameter has an unusable value.
    """
    qos = QoSProfile(depth=1, reliability=reliability)
    with _refusals(topic):
        return node.create_subscription(kind, topic, callback, qos, qos_overriding_options=QoSOverridingOptions(_KINDS))


@contextmanager
def _refusals(topic: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, InvalidParameterTypeException) as error:
        raise ParameterError(f"topic {topic} cannot be opened with the parameters {QOS_PREFIX}*: {error}") from error
