from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from std_msgs.msg import Header

from gaussian_yolo_node.position import PositionError
from gaussian_yolo_node.ros.transforms import GAP_S, HISTORY_S, TransformTree

LEVEL = (0.0, 0.0, 0.0, 1.0)
LEFT = (0.0, 0.0, math.sqrt(0.5), math.sqrt(0.5))  # a quarter turn from x to y
Link = tuple[str, str, tuple[float, float, float], tuple[float, float, float, float]]
# Child, parent, translation, quaternion.
BASE: Link = ("base", "map", (10.0, 0.0, 0.0), LEFT)
MAST: Link = ("mast", "base", (1.0, 0.0, 2.0), LEVEL)
CAMERA: Link = ("camera", "mast", (0.0, 0.5, 0.0), LEFT)


def transform(link: Link, stamp_s: float = 0.0) -> TransformStamped:
    child, parent, (x, y, z), (qx, qy, qz, qw) = link
    message = TransformStamped(header=Header(frame_id=parent), child_frame_id=child)
    message.header.stamp.sec = math.floor(stamp_s)
    message.header.stamp.nanosec = round((stamp_s - math.floor(stamp_s)) * 1e9)
    message.transform = Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw))
    return message


def static_tree(links: Sequence[Link]) -> TransformTree:
    tree = TransformTree()
    for link in links:
        tree.add(transform(link), static=True)
    return tree


def moving_tree(*samples: tuple[float, float], turn: Sequence[float] = LEVEL) -> TransformTree:
    """The camera in base, at (stamp in s, x in m) each."""
    tree = TransformTree()
    for stamp_s, x in samples:
        tree.add(transform(("camera", "base", (x, 0.0, 1.0), tuple(turn)), stamp_s), static=False)  # type: ignore[arg-type]
    return tree


@pytest.mark.parametrize(
    ("links", "target", "source", "point", "expected"),
    [
        pytest.param([], "camera", "camera", (1, 2, 3), (1, 2, 3), id="a frame in itself, unknown as it is"),
        pytest.param([MAST], "base", "mast", (1, 0, 0), (2, 0, 2), id="one link"),
        pytest.param([CAMERA], "mast", "camera", (1, 0, 0), (0, 1.5, 0), id="a turn"),
        pytest.param([BASE, MAST, CAMERA], "map", "camera", (1, 0, 0), (8.5, 1, 2), id="chain of three"),
        pytest.param([CAMERA, BASE, MAST], "map", "camera", (1, 0, 0), (8.5, 1, 2), id="in any order"),
        pytest.param([BASE, MAST, CAMERA], "camera", "map", (8.5, 1, 2), (1, 0, 0), id="from the root to the leaf"),
        pytest.param(
            [MAST, ("wheel", "base", (0.0, -1.0, 0.0), LEVEL)], "wheel", "mast", (0, 0, 0), (1, 1, 2), id="branches"
        ),
        pytest.param([("/mast", "/base", (1.0, 0.0, 2.0), LEVEL)], "base", "/mast", (0, 0, 0), (1, 0, 2), id="slashes"),
        pytest.param([MAST, (*MAST[:2], (5.0, 0.0, 0.0), LEVEL)], "base", "mast", (0, 0, 0), (5, 0, 0), id="latest"),
        pytest.param([MAST, ("mast", "roof", *MAST[2:])], "roof", "mast", (0, 0, 0), (1, 0, 2), id="another parent"),
        pytest.param(
            [MAST, ("a", "b", *MAST[2:]), ("b", "a", *MAST[2:])], "base", "mast", (0, 0, 0), (1, 0, 2), id="loop beside"
        ),
        pytest.param(
            [("mast", "base", (0.0, 0.0, 0.0), (0.0, 0.0, 0.7, 0.712))],
            "base",
            "mast",
            (1, 0, 0),
            (math.cos(2 * math.atan2(0.7, 0.712)), math.sin(2 * math.atan2(0.7, 0.712)), 0),
            id="a rounded quaternion",
        ),
    ],
)
def test_lookup_chains_static_transforms(
    links: Sequence[Link], target: str, source: str, point: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    matrix = static_tree(links).lookup(target, source, 1e9)
    np.testing.assert_allclose(matrix @ (*point, 1.0), (*expected, 1.0), atol=1e-12)
    np.testing.assert_allclose(matrix[:3, :3] @ matrix[:3, :3].T, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("links", "target", "source", "reason"),
    [
        (
            [],
            "base",
            "camera",
            "TF does not connect 'camera' with 'base': 'camera' has no parent, 'base' has no parent",
        ),
        ([CAMERA], "base", "camera", "the parents of 'camera' end at 'mast', 'base' has no parent; publish"),
        ([CAMERA, BASE], "base", "camera", "the parents of 'camera' end at 'mast', the parents of 'base' end at 'map'"),
        ([MAST, ("base", "mast", *MAST[2:])], "map", "mast", "TF has a loop, 'mast' in 'base' in 'mast'"),
        ([("base", "base", *MAST[2:])], "map", "base", "TF has a loop, 'base' in 'base'"),
        ([("mast", "base", (0, 0, 0), (0.0, 0.0, 0.0, 0.0))], "base", "mast", "'mast' in 'base' is none: its transl"),
        ([("mast", "base", (math.nan, 0, 0), LEVEL)], "base", "mast", "'mast' in 'base' is none"),
        ([("mast", "base", (0, 0, 0), (math.inf, 0.0, 0.0, 0.0))], "base", "mast", "must be finite and of length 1"),
    ],
)
def test_what_tf_does_not_say_is_named(links: Sequence[Link], target: str, source: str, reason: str) -> None:
    links = [(child, parent, tuple(map(float, place)), turn) for child, parent, place, turn in links]  # type: ignore[misc]
    with pytest.raises(PositionError) as caught:
        static_tree(links).lookup(target, source, 0.0)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("samples", "stamp_s", "x"),
    [
        ([(100.0, 1.0)], 100.0, 1.0),
        ([(100.0, 1.0), (100.5, 2.0)], 100.0, 1.0),
        ([(100.0, 1.0), (100.5, 2.0)], 100.5, 2.0),
        ([(100.0, 1.0), (100.5, 2.0)], 100.125, 1.25),
        ([(100.5, 2.0), (100.0, 1.0)], 100.125, 1.25),  # late, but of the same clock
        ([(100.0, 9.0), (100.5, 2.0), (100.0, 1.0)], 100.125, 1.25),  # the later one of the same stamp
        ([(100.0, 1.0), (100.5, 2.0)], 100.5 + 0.9 * GAP_S, 2.0),  # not yet there
        ([(100.0, 1.0), (100.5, 2.0)], 100.0 - 0.9 * GAP_S, 1.0),
        ([(100.0, 1.0), (100.5, 2.0)], None, 2.0),
        ([(100.0, 1.0), (50.0, 5.0)], 50.0, 5.0),  # the clock was set back
    ],
)
def test_moving_transforms_are_those_of_the_stamp(
    samples: list[tuple[float, float]], stamp_s: float | None, x: float
) -> None:
    assert moving_tree(*samples).lookup("base", "camera", stamp_s)[0, 3] == pytest.approx(x)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_turns_are_interpolated_whatever_the_sign_of_the_quaternion(sign: float) -> None:
    tree = moving_tree((1.0, 0.0))
    tree.add(transform(("camera", "base", (0.0, 0.0, 1.0), tuple(sign * np.array(LEFT))), 2.0), static=False)
    half = math.sqrt(0.5)
    turn = tree.lookup("base", "camera", 1.5)[:3, :3]
    np.testing.assert_allclose(turn, [[half, -half, 0], [half, half, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize(
    ("stamp_s", "reason"),
    [
        (101.0, "the frame is 0.5 s newer than every transform of 'camera' in 'base': is its publisher running"),
        (99.0, "the frame is 1.0 s older than every transform of 'camera' in 'base'"),
        (0.0, r"has it the camera's clock \(use_sim_time\)\?"),
    ],
)
def test_a_stamp_out_of_the_history_is_refused(stamp_s: float, reason: str) -> None:
    tree = moving_tree((100.0, 1.0), (100.5, 2.0))
    with pytest.raises(PositionError, match=reason):
        tree.lookup("base", "camera", stamp_s)


def test_the_history_is_short() -> None:
    tree = moving_tree(*((100 + number / 10, float(number)) for number in range(3 * int(10 * HISTORY_S))))
    newest = 100 + 3 * HISTORY_S - 0.1
    assert tree.lookup("base", "camera", newest - HISTORY_S + 0.01)[0, 3] == pytest.approx(199.1)
    with pytest.raises(PositionError, match="older"):
        tree.lookup("base", "camera", newest - HISTORY_S - 2 * GAP_S)


def test_a_chain_may_have_both_kinds() -> None:
    tree = moving_tree((100.0, 1.0), (101.0, 2.0), turn=LEFT)
    tree.add(transform(("lens", "camera", (1.0, 0.0, 0.0), LEVEL)), static=True)
    np.testing.assert_allclose(tree.lookup("base", "lens", 100.5)[:3, 3], [1.5, 1.0, 1.0])
    tree.add(transform(("camera", "base", (7.0, 0.0, 0.0), LEVEL)), static=True)  # no longer moves
    np.testing.assert_allclose(tree.lookup("base", "lens", 500.0)[:3, 3], [8.0, 0.0, 0.0])
