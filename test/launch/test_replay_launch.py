"""launch/replay.launch.py: the two nodes it starts, and what it gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.replay import DECLARATIONS

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
BAG = {"bag": "drive.mcap", "output": "out/run"}


@pytest.fixture
def replay(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **arguments: evaluate("replay.launch.py", {**BAG, **arguments})


def test_bag_and_output_are_required_and_all_else_is_not(evaluate: Callable[..., Any]) -> None:
    with pytest.raises(AssertionError, match="bag is required"):
        evaluate("replay.launch.py", {})
    declared = evaluate("replay.launch.py", BAG).declared
    assert {name for name, argument in declared.items() if argument.default_value is None} == {"bag", "output"}
    assert all(argument.description for argument in declared.values())


def test_the_perception_node_waits_to_be_driven_on_the_bag_s_time(replay: Callable[..., Any]) -> None:
    perception, _ = replay(model="efficientnet", threads="2", source="0").nodes
    assert not perception.respawn
    assert (perception.executable, perception.name, perception.namespace) == ("perception_node", "perception", "")
    assert perception.parameters[0] == str(LAUNCH / "config" / "perception.yaml")
    assert perception.parameter_overrides() == {
        "model": "efficientnet",
        "threads": 2,
        "autostart": False,
        "use_sim_time": True,
    }


def test_the_replay_ends_the_launch(replay: Callable[..., Any]) -> None:
    _, node = replay().nodes
    assert (node.package, node.executable, node.name) == ("gaussian_yolo", "replay_node", "replay")
    assert node.on_exit.reason == "the replay is over"
    assert node.parameter_overrides() == {"bag": "drive.mcap", "output": "out/run", "node": "perception"}
    assert node.arguments == ["--ros-args", "--log-level", "info"]
    assert set(node.additional_env) <= {"FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"}


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        pytest.param({"bag": "1e3"}, {"bag": "1e3"}, id="number-like text stays text"),
        pytest.param(
            {"mode": "realtime", "rate": "2"}, {"mode": "realtime", "rate": 2.0}, id="whole number for a float"
        ),
        pytest.param({"hz": "30", "timeout": "2.5"}, {"hz": 30.0, "timeout": 2.5}, id="floats"),
        pytest.param({"overwrite": "true", "report": "false"}, {"overwrite": True, "report": False}, id="bools"),
        pytest.param({"image_topic": "/rear"}, {"image_topic": "/rear"}, id="topic"),
        pytest.param({"score_threshold": "0.1"}, {"score_threshold": 0.1}, id="threshold for both"),
        pytest.param({"baseline": "out/before"}, {"baseline": "out/before"}, id="baseline"),
    ],
)
def test_arguments_become_typed_parameters(
    replay: Callable[..., Any], arguments: dict[str, str], overrides: dict[str, Any]
) -> None:
    _, node = replay(**arguments).nodes
    expected = {**BAG, "node": "perception", **overrides}
    assert node.parameter_overrides() == expected
    assert [type(node.parameter_overrides()[name]) for name in expected] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"rate": "fast"}, "rate:=fast is not a number", id="not a number"),
        pytest.param({"overwrite": "yes"}, "overwrite:=yes is not true or false", id="not a bool"),
        pytest.param({"threads": "x"}, "threads:=x is not a whole number", id="of the perception node"),
    ],
)
def test_bad_arguments_are_named(replay: Callable[..., Any], arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        replay(**arguments)


def test_both_nodes_share_namespace_and_log_level(replay: Callable[..., Any]) -> None:
    perception, node = replay(namespace="front", name="eye", log_level="debug").nodes
    assert (perception.namespace, perception.name) == ("front", "eye")
    assert node.namespace == "front"
    assert node.parameter_overrides()["node"] == "eye"
    assert perception.arguments == node.arguments == ["--ros-args", "--log-level", "debug"]


def test_arguments_match_the_replay_node(replay: Callable[..., Any]) -> None:
    _, node = replay(
        **dict.fromkeys(("rate", "hz", "timeout", "score_threshold"), "1"),
        **dict.fromkeys(("overwrite", "report"), "true"),
        **dict.fromkeys(("mode", "image_topic", "baseline"), "text"),
    ).nodes
    assert set(node.parameter_overrides()) == set(DECLARATIONS)
    for name, value in node.parameter_overrides().items():
        assert type(value) is type(DECLARATIONS[name][0]), name
