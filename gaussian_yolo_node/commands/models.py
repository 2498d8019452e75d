"""The command `models`: list the models."""

from __future__ import annotations

from typing import Annotated

import typer

from gaussian_yolo_node.errors import SettingError


def models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Built-in or shipped models.", show_default="all")
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time one image in each installed runtime; takes minutes for all models.")
    ] = False,
    of_classes: Annotated[
        bool, typer.Option("--classifiers", help="List the backbones as classifiers of 1,000 classes instead.")
    ] = False,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads to measure with; 0 uses all cores.")] = 0,
) -> None:
    """List shipped models and built-in detectors, with size and cost (needs the extra `train`).

    Example: gaussian-yolo models csp_nano_driving --measure
    """
    from rich.console import Console

    from gaussian_yolo_node.lab.catalogue import catalogue, classifiers, print_catalogue
    from gaussian_yolo_node.runtime import RuntimeOptions

    if of_classes and (names or measure):
        raise SettingError("--classifiers lists all, and measures none")
    print_catalogue(
        classifiers() if of_classes else catalogue(names), Console(), RuntimeOptions(threads) if measure else None
    )
