"""TF: the tree of coordinate frames on /tf and /tf_static, and the pose of one frame in another.

tf2's Python client has no wheel; its topics are plain ones. A transform is the pose of `child_frame_id` in
`header.frame_id`, axes are as in REP 103, and each frame has one parent (REP 105).
"""

from __future__ import annotations

import math
from bisect import bisect, bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile, QoSReliabilityPolicy
from rclpy.subscription import Subscription
from tf2_msgs.msg import TFMessage

from gaussian_yolo_node.position import PositionError
from gaussian_yolo_node.ros.messages import stamp_seconds

Floats = NDArray[np.float64]

HISTORY_S = 10.0  # of moving transforms, as tf2 keeps
# A moving transform may be this much older or newer than the frame: it is often published after the image.
GAP_S = 0.2
_DEPTH = 100  # of the subscriptions, as tf2's
_UNIT_TOLERANCE = 0.01  # of a quaternion's length, as tf2's


@dataclass
class _Link:
    """The pose of a frame in its parent: the latest if it is static, else a history by rising stamps in s."""

    parent: str
    static: bool
    stamps: list[float] = field(default_factory=list)
    poses: list[Any] = field(default_factory=list)  # geometry_msgs/Transform


class TransformTree:
    """The latest transforms by child frame; one thread may add while others look up."""

    def __init__(self) -> None:
        self._links: dict[str, _Link] = {}
        self._lock = Lock()

    def add(self, message: TransformStamped, static: bool) -> None:
        """Take one transform; a stamp far before the others means that the clock was set back."""
        child, parent = _name(message.child_frame_id), _name(message.header.frame_id)
        stamp_s = 0.0 if static else stamp_seconds(message.header)
        with self._lock:
            link = self._links.get(child)
            other = link is None or (link.parent, link.static) != (parent, static)
            if link is None or other or static or stamp_s < link.stamps[-1] - HISTORY_S:
                self._links[child] = _Link(parent, static, [stamp_s], [message.transform])
                return
            at = bisect_left(link.stamps, stamp_s)
            same = at < len(link.stamps) and link.stamps[at] == stamp_s
            link.stamps[at : at + same], link.poses[at : at + same] = [stamp_s], [message.transform]
            old = bisect_left(link.stamps, link.stamps[-1] - HISTORY_S)
            del link.stamps[:old], link.poses[:old]

    def lookup(self, target: str, source: str, stamp_s: float | None = None) -> Floats:
        """The pose of `source` in `target`: float64 [4, 4], from coordinates in `source` to those in `target`, m.

        Args:
            target, source: names of frames.
            stamp_s: time for the moving transforms, between two of which it interpolates; None for the latest ones.

        Raises:
            PositionError: TF does not connect the frames, has a loop, has nothing for this time, or a transform is no
                rotation and translation.
        """
        target, source = _name(target), _name(source)
        with self._lock:
            up, down = self._chain(source), self._chain(target)
            shared = next((frame for frame in up if frame in down), None)
            if shared is None:
                raise PositionError(
                    f"TF does not connect '{source}' with '{target}': {_end(up)}, {_end(down)}; publish the transform "
                    "that is missing, as static_transform_publisher does"
                )
            from_source = self._product(up[: up.index(shared)], stamp_s)
            from_target = self._product(down[: down.index(shared)], stamp_s)
        result: Floats = np.linalg.inv(from_target) @ from_source
        return result

    def _chain(self, frame: str) -> list[str]:
        """The frame, its parent, and so on to the root."""
        chain = [frame]
        while (link := self._links.get(chain[-1])) is not None:
            if link.parent in chain:
                loop = [*chain[chain.index(link.parent) :], link.parent]
                raise PositionError(f"TF has a loop, {' in '.join(map(repr, loop))}: end the publisher of one of them")
            chain.append(link.parent)
        return chain

    def _product(self, frames: Sequence[str], stamp_s: float | None) -> Floats:
        """[4, 4], from the first frame to the parent of the last."""
        product = np.eye(4)
        for frame in frames:
            product = self._pose(frame, stamp_s) @ product
        return product

    def _pose(self, frame: str, stamp_s: float | None) -> Floats:
        """[4, 4], of a frame in its parent."""
        link = self._links[frame]
        name = f"transform of '{frame}' in '{link.parent}'"
        if link.static or stamp_s is None:
            return pose_matrix(*_parts(link.poses[-1], name))
        oldest, newest = link.stamps[0], link.stamps[-1]
        if not oldest - GAP_S <= stamp_s <= newest + GAP_S:
            difference, word = (stamp_s - newest, "newer") if stamp_s > newest else (oldest - stamp_s, "older")
            raise PositionError(
                f"the frame is {difference:.1f} s {word} than every {name}: is its publisher running, and has it the "
                "camera's clock (use_sim_time)?"
            )
        after = bisect(link.stamps, stamp_s)
        if after in (0, len(link.stamps)):
            return pose_matrix(*_parts(link.poses[max(after - 1, 0)], name))
        earlier, later = link.stamps[after - 1 : after + 1]
        share = (stamp_s - earlier) / (later - earlier)
        (place, turn), (next_place, next_turn) = (_parts(pose, name) for pose in link.poses[after - 1 : after + 1])
        # A weighted mean of quaternions is near enough to the arc between two that are so near to each other.
        next_turn = next_turn if turn @ next_turn >= 0 else -next_turn
        return pose_matrix(place + share * (next_place - place), turn + share * (next_turn - turn))


class TransformTopics:
    """Subscriptions to /tf and /tf_static.

    Attributes:
        tree: of what was heard since they were opened.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._subscriptions: list[Subscription] = []
        self.tree = TransformTree()

    def open(self) -> None:
        """Subscribe; once is enough."""
        if self._subscriptions:
            return
        self.tree = TransformTree()
        for topic, static in (("/tf", False), ("/tf_static", True)):
            durability = QoSDurabilityPolicy.TRANSIENT_LOCAL if static else QoSDurabilityPolicy.VOLATILE
            qos = QoSProfile(depth=_DEPTH, reliability=QoSReliabilityPolicy.RELIABLE, durability=durability)
            receive = partial(self._receive, static)
            self._subscriptions.append(self._node.create_subscription(TFMessage, topic, receive, qos))

    def close(self) -> None:
        """End the subscriptions."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _receive(self, static: bool, message: TFMessage) -> None:
        for transform in message.transforms:
            self.tree.add(transform, static)


def _name(frame: str) -> str:
    """Names of ROS 1 began with a slash."""
    return frame.removeprefix("/")


def _end(chain: Sequence[str]) -> str:
    if len(chain) == 1:
        return f"'{chain[0]}' has no parent"
    return f"the parents of '{chain[0]}' end at '{chain[-1]}'"


def _parts(transform: Any, name: str) -> tuple[Floats, Floats]:
    """Translation x y z in m, and quaternion x y z w."""
    t, q = transform.translation, transform.rotation
    place, turn = np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])
    if not (np.isfinite(place).all() and abs(math.hypot(*turn) - 1) < _UNIT_TOLERANCE):
        raise PositionError(
            f"the {name} is none: its translation is {place.tolist()} and its quaternion {turn.tolist()}, which must "
            "be finite and of length 1"
        )
    return place, turn


def pose_matrix(place: Floats, turn: Floats) -> Floats:
    """[4, 4] from a translation [3], m, and a quaternion x y z w of any length."""
    x, y, z, w = turn / np.linalg.norm(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = place
    return matrix
