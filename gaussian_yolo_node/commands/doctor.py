"""The command `doctor`: check this machine."""

from __future__ import annotations

from typing import Annotated

import typer


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Report which of CUDA, TensorRT, ROS 2 and the CPU runtimes this machine has, and what to install.

    Always exits with 0.

    Example: gaussian-yolo doctor --json
    """
    from rich.console import Console

    from gaussian_yolo_node.commands.doctor_run import examine, print_report

    report = examine()
    if as_json:
        print(report.to_json())
    else:
        print_report(report, Console())
