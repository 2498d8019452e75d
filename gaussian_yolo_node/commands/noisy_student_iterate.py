"""The command `noisy-student iterate`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands.train import training_console
from gaussian_yolo_node.errors import SettingError


def iterate(
    config: Annotated[
        str, typer.Argument(help="YAML file of the chain (teacher, unlabelled images, students), or the name of one.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of all results, with a manifest.", show_default="none")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the data.", show_default="the chain's")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Run nothing; print what each step would take.")] = False,
    labelled: Annotated[
        int | None, typer.Option(min=1, help="Of a dry run: labelled images.", show_default="those of the data")
    ] = None,
    unlabelled: Annotated[
        int | None, typer.Option(min=1, help="Of a dry run: unlabelled images.", show_default="those of the sources")
    ] = None,
    tflops: Annotated[
        float, typer.Option(min=0.001, help="Of a dry run: rate that a GPU keeps up, 10^12 operations a second.")
    ] = 100.0,
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
    from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig
    from gaussian_yolo_node.lab.noisy_student.dry_run import costs, lines
    from gaussian_yolo_node.lab.noisy_student.iterate import iterate as run_chain
    from gaussian_yolo_node.lab.training.recipes import find_recipe

    path = find_recipe(config)
    if dry_run:
        print(*lines(costs(ChainConfig.load(path, data), labelled, unlabelled), tflops), sep="\n")
        return
    if output is None:
        raise SettingError("say where the results go: --output FOLDER")
    console = training_console()
    logging.getLogger("gaussian_yolo").setLevel(logging.INFO)
    for student in run_chain(path, output, data=data, console=console):
        print(f"{student.name}: {student.model}")
