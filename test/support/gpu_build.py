"""Engines built with the user's command, for tests on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def build(model: Path, *options: str) -> Path:
    """Build an engine beside a model with the user's command."""
    engine = model.with_suffix(".engine")
    command = [
        sys.executable,
        "-m",
        "gaussian_yolo_node.commands",
        "build-engine",
        str(model),
        "-o",
        str(engine),
        *options,
    ]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return model
