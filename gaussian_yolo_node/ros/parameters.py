"""Declares and reads the perception node's parameters; `parameter_table.py` lists them."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from gaussian_yolo_node.ros.parameter_table import PARAMETERS, Parameter, PerceptionParameters, shown


def declare(node: Node) -> dict[str, str]:
    """Declare all parameters.

    Returns:
        Name and reason of each refused start value; the default replaces it.
    """
    refused: dict[str, str] = {}
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
    return PerceptionParameters(**{name: node.get_parameter(name).value for name in PARAMETERS})


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
