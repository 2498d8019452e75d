"""Recording stand-ins for `launch` and `launch_ros`, which have no wheels: enough to evaluate our launch files.

They keep to the behaviour of Humble to Lyrical that the launch files rely on; the real `ros2 launch` is not part of
this test suite.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Iterable, Mapping
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


@dataclass
class Shutdown:
    reason: str


@dataclass
class PythonLaunchDescriptionSource:
    path: str


class IncludeLaunchDescription:
    def __init__(
        self, source: PythonLaunchDescriptionSource, *, launch_arguments: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.source, self.launch_arguments = source, dict(launch_arguments)


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
        for entry in self.parameters:
            if isinstance(entry, str):  # params_file
                assert entry == self.parameters[0]
                continue
            for name, value in entry.items():
                assert not isinstance(value, str), f"launch would read {name} as YAML"
                values[name] = value.value if isinstance(value, ParameterValue) else value
        return values


@dataclass
class EvaluatedLaunchFile:
    declared: dict[str, DeclareLaunchArgument]
    nodes: list[Node]


def _visit(path: Path, context: LaunchContext, evaluated: EvaluatedLaunchFile) -> None:
    """Evaluate a file in a context, which those that include it share with it."""
    for item in runpy.run_path(str(path))["generate_launch_description"]().entities:
        if isinstance(item, DeclareLaunchArgument):
            evaluated.declared.setdefault(item.name, item)
            if item.name not in context.launch_configurations:
                assert item.default_value is not None, f"{item.name} is required"
                context.launch_configurations[item.name] = item.default_value
        elif isinstance(item, IncludeLaunchDescription):
            context.launch_configurations.update(item.launch_arguments)
            _visit(Path(item.source.path), context, evaluated)
        elif isinstance(item, OpaqueFunction):
            evaluated.nodes += item.function(context)
        else:
            raise AssertionError(f"the stand-ins know no {item}")


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    return module


@pytest.fixture
def evaluate(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Mapping[str, str]], EvaluatedLaunchFile]:
    """A function that evaluates a file of launch/ with the given launch arguments."""
    for module in (
        _module("launch", LaunchContext=LaunchContext, LaunchDescription=LaunchDescription),
        _module(
            "launch.actions",
            DeclareLaunchArgument=DeclareLaunchArgument,
            IncludeLaunchDescription=IncludeLaunchDescription,
            OpaqueFunction=OpaqueFunction,
            Shutdown=Shutdown,
        ),
        _module("launch.launch_description_sources", PythonLaunchDescriptionSource=PythonLaunchDescriptionSource),
        _module("launch.substitutions", LaunchConfiguration=LaunchConfiguration),
        _module("launch_ros"),
        _module("launch_ros.actions", Node=Node),
        _module("launch_ros.parameter_descriptions", ParameterValue=ParameterValue),
    ):
        monkeypatch.setitem(sys.modules, module.__name__, module)

    def evaluate_file(name: str, arguments: Mapping[str, str]) -> EvaluatedLaunchFile:
        context = LaunchContext(dict(arguments))
        evaluated = EvaluatedLaunchFile({}, [])
        _visit(REPOSITORY / "launch" / name, context, evaluated)
        unknown = set(arguments) - set(evaluated.declared)
        assert not unknown, f"not declared: {unknown}"
        return evaluated

    return evaluate_file
