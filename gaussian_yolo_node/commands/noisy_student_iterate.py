"""The command `noisy-student iterate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands.train import log_to


def iterate(
    config: Annotated[Path, typer.Argument(help="YAML file of the chain: teacher, unlabelled images, students.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of all results, with a manifest.")],
) -> None:
    """Run a chain of teachers and students; repeat the command to resume.

    A config for one student of a shipped detector:

        kind: detection
        teacher: csp_nano_driving
        data: data
        unlabelled:
          - drives/monday
        rounds:
          - name: lite0
            recipe: student.yaml
            select: {positive: 0.5, max_sigma: 0.25}

    Example: gaussian-yolo noisy-student iterate chain.yaml -o out/chain
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.noisy_student.iterate import iterate as run_chain

    console = Console(stderr=True)
    log_to(console)
    logging.getLogger("gaussian_yolo").setLevel(logging.INFO)
    for student in run_chain(config, output, console=console):
        print(f"{student.name}: {student.model}")
