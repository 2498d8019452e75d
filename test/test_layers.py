"""The layers of the package: imports point down, as in pyproject.toml's contracts and docs/architecture.md."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter is not installed")

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = "gaussian_yolo_node"


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_point_down() -> None:
    done = lint_imports(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("detector/nms.py", "import gaussian_yolo_node.evaluation.matching", "Imports point down BROKEN"),
        ("bags/info.py", "def lazy():\n    import gaussian_yolo_node.labels.kitti", "Imports point down BROKEN"),
        (
            "lab/networks/neck.py",
            "import gaussian_yolo_node.lab.training.loss",
            "Imports point down in the lab BROKEN",
        ),
        ("detector/detections.py", "import gaussian_yolo_node.detector.nms", "import each other BROKEN"),
        ("labels/kitti.py", "def lazy():\n    import torch", "Only the lab imports torch BROKEN"),
        (
            "report/page.py",
            "import gaussian_yolo_node.ros.messages",
            "Only a replay and commands import the ROS node BROKEN",
        ),
        ("upstairs.py", "", "Imports point down BROKEN"),
    ],
)
def test_an_import_that_points_up_is_refused(tmp_path: Path, module: str, line: str, contract: str) -> None:
    shutil.copytree(REPOSITORY / PACKAGE, tmp_path / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    with (tmp_path / PACKAGE / module).open("a") as file:
        file.write(f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert contract in done.stdout


def test_commands_import_the_lab_only_inside_functions() -> None:
    for path in sorted((REPOSITORY / PACKAGE / "commands").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(f"{name}.".startswith(f"{PACKAGE}.lab.") for name in names), f"{path}, line {node.lineno}"


def test_the_paths_that_answer_a_stranger_exist() -> None:
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = [line for line in text.split("## Where is")[1].split("## Rooms")[0].splitlines() if line.startswith("| ")]
    paths = {path for row in rows for path in re.findall(r"`([a-z_0-9./]+/[a-z_0-9./]*)`", row)}
    assert len(rows) >= 10 and len(paths) >= 15
    assert not {path for path in paths if not ((REPOSITORY / PACKAGE / path).exists() or (REPOSITORY / path).exists())}
