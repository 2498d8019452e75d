"""Recording stand-ins for `launch` and `launch_ros`, which have no wheels: enough to evaluate our launch files.

They keep to the behaviour of Humble to Kilted that the launch files rely on; the real `ros2 launch` is not part of
this test suite.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class LaunchContext:
    launch_configurations: dict[str, str] = field(default_factory=dict)


@dataclass
class LaunchDescription:
    entities: list[Any]


class DeclareLaunchArgument:
    def __init__(self, name: str, *, default_value: str | None = None, description: str = "") -> None:
        self.name, self.default_value, self.description = name, default_value, description


@dataclass
class LaunchConfiguration:
    name: str

    def perform(self, context: LaunchContext) -> str:
        return context.launch_configurations[self.name]


class OpaqueFunction:
    def __init__(self, *, function: Callable[[LaunchContext], list[Any]]) -> None:
        self.function = function


class ParameterValue:
    def __init__(self, value: Any, *, value_type: type) -> None:
        assert isinstance(value, value_type)
        self.value = value


class Node:
    def __init__(self, **arguments: Any) -> None:
        self.__dict__.update(arguments)

    def parameter_overrides(self) -> dict[str, Any]:
        """The values after params_file, as launch writes them: bare text is read as YAML, a ParameterValue is not."""
        values: dict[str, Any] = {}
        for entry in self.parameters[1:]:
            for name, value in entry.items():
                assert not isinstance(value, str), f"launch would read {name} as YAML"
                values[name] = value.value if isinstance(value, ParameterValue) else value
        return values


@dataclass
class EvaluatedLaunchFile:
    declared: dict[str, DeclareLaunchArgument]
    nodes: list[Node]


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    return module


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, str]], EvaluatedLaunchFile]:
    """A function that evaluates a file of launch/ with the given launch arguments."""
    for module in (
        _module("launch", LaunchContext=LaunchContext, LaunchDescription=LaunchDescription),
        _module("launch.actions", DeclareLaunchArgument=DeclareLaunchArgument, OpaqueFunction=OpaqueFunction),
        _module("launch.substitutions", LaunchConfiguration=LaunchConfiguration),
        _module("launch_ros"),
        _module("launch_ros.actions", Node=Node),
        _module("launch_ros.parameter_descriptions", ParameterValue=ParameterValue),
    ):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def evaluate_file(name: str, arguments: Mapping[str, str]) -> EvaluatedLaunchFile:
        description = runpy.run_path(str(REPOSITORY / "launch" / name))["generate_launch_description"]()
        declared = {item.name: item for item in description.entities if isinstance(item, DeclareLaunchArgument)}
        unknown = set(arguments) - set(declared)
        assert not unknown, f"not declared: {unknown}"
        context = LaunchContext({**{item.name: item.default_value for item in declared.values()}, **arguments})
        nodes = [
            node for item in description.entities if isinstance(item, OpaqueFunction) for node in item.function(context)
        ]
        return EvaluatedLaunchFile(declared, nodes)

    return evaluate_file
