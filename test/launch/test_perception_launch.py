"""launch/perception.launch.py: its arguments, and the node it starts for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gaussian_yolo_node.ros import fastdds_profile
from gaussian_yolo_node.ros.parameter_table import PARAMETERS

LAUNCH = Path(__file__).resolve().parents[2] / "launch"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


@pytest.fixture
def perception(evaluate: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **arguments: evaluate("perception.launch.py", arguments)


def test_every_argument_is_described_and_optional(perception: Callable[..., Any]) -> None:
    for argument in perception().declared.values():
        assert argument.default_value is not None, argument.name
        assert argument.description, argument.name


def test_without_arguments_the_parameter_file_decides(perception: Callable[..., Any]) -> None:
    (node,) = perception().nodes
    assert (node.package, node.executable) == ("gaussian_yolo", "perception_node")
    assert (node.name, node.namespace) == ("perception", "")
    assert node.parameters[0] == str(LAUNCH / "config" / "perception.yaml")
    assert node.parameter_overrides() == {}
    assert node.arguments == ["--ros-args", "--log-level", "info"]


@pytest.mark.parametrize(
    ("arguments", "overrides"),
    [
        pytest.param({"source": "0"}, {"source": "0", "image_topic": ""}, id="camera index stays text"),
        pytest.param({"source": "1e3"}, {"source": "1e3", "image_topic": ""}, id="number-like text stays text"),
        pytest.param(
            {"image_topic": "/cam/image_raw", "image_transport": "compressed"},
            {"source": "", "image_topic": "/cam/image_raw", "image_transport": "compressed"},
            id="topic clears the file's source",
        ),
        pytest.param({"score_threshold": "1"}, {"score_threshold": 1.0}, id="whole number for a float"),
        pytest.param({"score_threshold": ""}, {}, id="empty does not override"),
        pytest.param({"threads": "2", "loop": "True"}, {"threads": 2, "loop": True}, id="int and bool"),
        pytest.param({"variance_vote": "false"}, {"variance_vote": False}, id="false is a value"),
        pytest.param({"variance_vote": "card"}, {"variance_vote": "card"}, id="text or bool"),
        pytest.param({"criterion": "confidence"}, {"criterion": "confidence"}, id="criterion"),
        pytest.param({"use_sim_time": "true"}, {"use_sim_time": True}, id="sim time"),
    ],
)
def test_arguments_become_typed_parameters(
    perception: Callable[..., Any], arguments: dict[str, str], overrides: dict[str, Any]
) -> None:
    (node,) = perception(**arguments).nodes
    assert node.parameter_overrides() == overrides
    assert [type(node.parameter_overrides()[name]) for name in overrides] == [type(v) for v in overrides.values()]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"score_threshold": "high"}, "score_threshold:=high is not a number", id="not a number"),
        pytest.param({"threads": "1.5"}, "threads:=1.5 is not a whole number", id="not whole"),
        pytest.param({"loop": "yes"}, "loop:=yes is not true or false", id="not a bool"),
        pytest.param({"variance_vote": "1"}, "variance_vote:=1 is not true or false", id="neither text nor bool"),
        pytest.param({"respawn": "always"}, "respawn:=always is not true or false", id="neither true nor false"),
        pytest.param({"source": "0", "image_topic": "/a"}, "source and image_topic are both given", id="two inputs"),
        pytest.param({"params_file": "/none.yaml"}, "there is no file /none.yaml", id="no parameter file"),
    ],
)
def test_bad_arguments_are_named(perception: Callable[..., Any], arguments: dict[str, str], message: str) -> None:
    with pytest.raises(RuntimeError, match=message):
        perception(**arguments)


def test_own_parameter_file_namespace_name_and_log_level(perception: Callable[..., Any], tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("/**: {ros__parameters: {source: '0'}}\n")
    (node,) = perception(params_file=str(mine), namespace="front", name="eye", log_level="debug").nodes
    assert node.parameters[0] == str(mine)
    assert (node.namespace, node.name) == ("front", "eye")
    assert node.arguments == ["--ros-args", "--log-level", "debug"]


@pytest.mark.parametrize(
    ("arguments", "respawn"),
    [
        ({}, True),
        ({"on_end": "keep"}, True),
        ({"on_end": "shutdown"}, False),
        ({"on_end": "shutdown", "respawn": "true"}, True),
        ({"respawn": "false"}, False),
    ],
)
def test_a_node_that_ended_is_started_again(
    perception: Callable[..., Any], arguments: dict[str, str], respawn: bool
) -> None:
    (node,) = perception(**arguments).nodes
    assert node.respawn is respawn
    assert node.respawn_delay > 0


@pytest.mark.parametrize(
    ("size", "profile"), [(1 << 30, "fastdds_shm.xml"), (64 << 20, "fastdds_shm_small.xml")], ids=["1 GiB", "64 MiB"]
)
def test_fastdds_gets_the_profile_that_fits_into_shared_memory(
    perception: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, size: int, profile: str
) -> None:
    for name in PROFILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fastdds_profile, "shared_memory_bytes", lambda: size)
    (node,) = perception().nodes
    assert node.additional_env == dict.fromkeys(PROFILE_VARIABLES, str(LAUNCH / profile))
    assert (LAUNCH / profile).is_file()


@pytest.mark.parametrize("name", PROFILE_VARIABLES)
def test_a_profile_of_the_user_stays(
    perception: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, "/home/me/profile.xml")
    (node,) = perception().nodes
    assert node.additional_env == {}
    assert os.environ[name] == "/home/me/profile.xml"


def test_arguments_and_parameter_file_match_the_node(perception: Callable[..., Any]) -> None:
    shipped = yaml.safe_load((LAUNCH / "config" / "perception.yaml").read_text())["/**"]["ros__parameters"]
    assert shipped == {name: parameter.default for name, parameter in PARAMETERS.items()}

    of_launch = {"params_file", "namespace", "name", "log_level", "use_sim_time", "respawn"}
    assert set(perception().declared) - of_launch == set(shipped)
