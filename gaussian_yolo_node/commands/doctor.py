"""The command `doctor`: check this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False) -> None:
    """Report which of CUDA, TensorRT, ROS 2 and the CPU runtimes this machine has, and what to install.

    Always exits with 0.

    Example: gaussian-yolo doctor --json
    """
    from gaussian_yolo_node.commands.doctor_run import run

    run(as_json)
