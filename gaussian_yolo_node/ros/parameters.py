"""Declares and reads the perception node's parameters; `parameter_table.py` lists them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter as Setting

from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.ros.parameter_table import PARAMETERS, Parameter, PerceptionParameters, shown

# The parameter that may hold secrets. What can be read back from a node is masked; this is what it stands for.
_SECRET = "source"
_sources: WeakKeyDictionary[Node, tuple[str, str]] = WeakKeyDictionary()


def declare(node: Node) -> dict[str, str]:
    """Declare all parameters.

    Any node may read the parameters of another, and hear of each change, so a source with a password is masked there.
    ROS 2 Humble can mask only what is given at the start.

    Returns:
        Name and reason of each refused start value; the default replaces it.
    """
    refused: dict[str, str] = {}
    overrides = node._parameter_overrides  # not yet declared, and so not yet published
    if _SECRET in overrides and isinstance(overrides[_SECRET].value, str):
        overrides[_SECRET] = Setting(_SECRET, value=_masked(node, overrides[_SECRET].value))
    if hasattr(node, "add_pre_set_parameters_callback"):
        node.add_pre_set_parameters_callback(lambda settings: _mask(node, settings))
    for name, parameter in PARAMETERS.items():
        default = parameter.default
        try:
            value = node.declare_parameter(name, default, _descriptor(parameter)).value
        except InvalidParameterTypeException:
            refused[name] = f"parameter '{name}' must be of type {_type_name(default)}, {_hint(name, default)}"
        except InvalidParameterValueException:
            assert parameter.limits is not None
            low, high = parameter.limits
            refused[name] = f"parameter '{name}' lies outside {low:g}..{high:g}"
        else:
            reason = refusal(name, value)
            if reason:
                refused[name] = reason
                node.undeclare_parameter(name)
        if name in refused:
            node.declare_parameter(name, default, _descriptor(parameter), ignore_override=True)
    return refused


def read(node: Node) -> PerceptionParameters:
    """The current values."""
    values = {name: node.get_parameter(name).value for name in PARAMETERS}
    masked, source = _sources.get(node, ("", ""))
    if source and values[_SECRET] == masked:
        values[_SECRET] = source
    return PerceptionParameters(**values)


def _mask(node: Node, settings: Sequence[Setting]) -> list[Setting]:
    return [
        Setting(_SECRET, value=_masked(node, setting.value))
        if setting.name == _SECRET and isinstance(setting.value, str)
        else setting
        for setting in settings
    ]


def _masked(node: Node, source: str) -> str:
    """The source without its secrets, which `read` puts back; a masked one that is set again stays what it was."""
    masked = without_secrets(source)
    if masked != source:
        _sources[node] = masked, source
    return masked


def refusal(name: str, value: Any) -> str:
    """Why a value of the right type is refused; empty if it is accepted. The descriptors check the limits."""
    choices = PARAMETERS[name].choices if name in PARAMETERS else ()
    if choices and not any(value == choice and type(value) is type(choice) for choice in choices):
        return f"parameter '{name}' is {value!r}, but must be one of: {', '.join(map(shown, choices))}"
    return ""


def _descriptor(parameter: Parameter) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=f"{parameter.description} Changes: {parameter.changes}.",
        additional_constraints=f"one of: {', '.join(map(shown, parameter.choices))}" if parameter.choices else "",
        read_only=parameter.changes == "never",
        dynamic_typing=len({type(choice) for choice in parameter.choices}) > 1,
    )
    if parameter.limits:
        low, high = parameter.limits
        if isinstance(parameter.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high))]
    return descriptor


def _hint(name: str, default: Any) -> str:
    # ROS parses an unquoted 0 on the command line as an integer, but a camera index is a string parameter.
    return f"quoted twice on a command line: -p {name}:='\"0\"'" if isinstance(default, str) else f"like {default!r}"


def _type_name(default: Any) -> str:
    return {bool: "bool", int: "integer", float: "double", str: "string"}[type(default)]
