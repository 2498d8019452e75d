"""The executable `cameras_node`: several cameras in one process, one perception node for each, one model for all.

Parameter `cameras` lists their names. Each has the parameters of `perception_node`: those under the camera's name
first, then those that stand beside `cameras`.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gaussian_yolo_node.ros.parameter_table import PARAMETERS, QOS_PREFIX, ParameterError
from gaussian_yolo_node.ros.perception_node import run

if TYPE_CHECKING:
    from gaussian_yolo_node.ros.node import PerceptionNode

_FOR_ALL = {*PARAMETERS, "use_sim_time"}


def main(args: list[str] | None = None) -> None:
    """Run the nodes until a signal, or until ROS is shut down."""
    run(open_cameras, args)


def open_cameras(stopping: threading.Event, **node_arguments: Any) -> list[PerceptionNode]:
    """A perception node for each camera of the parameters; one that cannot start says so on /diagnostics.

    Args:
        stopping: set by a signal handler.
        node_arguments: passed to rclpy's nodes, such as `context` or `parameter_overrides`.

    Raises:
        ParameterError: no camera is listed, or one is listed twice or has a wrong name.
    """
    from rclpy.node import Node
    from rclpy.parameter import Parameter

    from gaussian_yolo_node.ros.node import PerceptionNode

    reader = Node("perception", start_parameter_services=False, **node_arguments)
    try:
        # Not declared, because that would tell them to all nodes, with the passwords of sources.
        given = {name: parameter.value for name, parameter in reader._parameter_overrides.items()}
        namespace = reader.get_namespace().rstrip("/")
    finally:
        reader.destroy_node()
    settings = camera_settings(given)
    shares = machine_shares({name: values.get("target_rate") for name, values in settings.items()})
    nodes: list[PerceptionNode] = []
    for name, values in settings.items():
        unknown = ", ".join(sorted(key for key in values if not _is_for_nodes(key)))
        own: dict[str, Any] = {
            "namespace": f"{namespace}/{name}",
            "use_global_arguments": False,
            "parameter_overrides": [Parameter(key, value=value) for key, value in values.items() if _is_for_nodes(key)],
        }
        refusal = f"camera {name} has unknown parameters: {unknown}" if unknown else ""
        nodes.append(PerceptionNode(stopping, shares[name], refusal, **{**node_arguments, **own}))
    return nodes


def camera_settings(given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters of each camera, from those of the process: {"cameras": ["front"], "front.source": "0", ..}.

    Raises:
        ParameterError: no camera is listed, or one is listed twice or has a wrong name.
    """
    names = given.get("cameras")
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ParameterError("parameter 'cameras' must list the names of the cameras, such as [front, rear]")
    for name in names:
        if not name.isidentifier() or not name.isascii():
            raise ParameterError(f"camera {name!r}: a name has letters, digits and _ only, because topics contain it")
        if names.count(name) > 1:
            raise ParameterError(f"camera {name} is listed twice in parameter 'cameras'")
    common = {name: value for name, value in given.items() if _is_for_nodes(name)}
    return {
        camera: {
            **{"frame_id": camera, **common},
            **{name.partition(".")[2]: value for name, value in given.items() if name.startswith(f"{camera}.")},
        }
        for camera in names
    }


def _is_for_nodes(name: str) -> bool:
    return name in _FOR_ALL or name.startswith(QOS_PREFIX)


def machine_shares(rates: Mapping[str, Any]) -> dict[str, float]:
    """Part of the machine for each camera, by its target rate in Hz, so that each frame may take equally long."""
    default = PARAMETERS["target_rate"].default
    hertz = {name: rate if isinstance(rate, int | float) and rate > 0 else default for name, rate in rates.items()}
    whole = sum(float(rate) for rate in hertz.values())
    return {name: float(rate) / whole for name, rate in hertz.items()}


if __name__ == "__main__":
    main()
