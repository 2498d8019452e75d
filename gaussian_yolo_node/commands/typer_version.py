"""Whether the typer that is installed can run the commands. Imports no typer."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

# Options in Annotated, as the commands have them, came with this version.
LEAST_TYPER = (0, 9)
INSTALL_TYPER = "python3 -m pip install 'typer>=0.12.5'"


def typer_fault() -> str:
    """Why no command but doctor can run, in one sentence; empty if all can."""
    try:
        installed = version("typer")
    except PackageNotFoundError:
        return f"gaussian-yolo needs typer, which is not installed: {INSTALL_TYPER}"
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) < LEAST_TYPER:
        least = ".".join(map(str, LEAST_TYPER))
        return f"gaussian-yolo needs typer {least} or newer, but typer {installed} is installed: {INSTALL_TYPER}"
    return ""
