"""On a full disk every command that writes ends with exit code 2 and one line, and leaves nothing under its names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

from command_cases import CASES, CommandCase, make_inputs
from full_disk import FullDisk

REPOSITORY = Path(__file__).resolve().parents[2]
SOME = 8192  # bytes: a disk that becomes full amid a file


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def full_disk() -> Iterator[FullDisk]:
    with FullDisk() as disk:
        yield disk


@pytest.mark.parametrize(
    ("case", "free"), [(case, free) for case in CASES for free in (0, SOME) if case.large or not free], ids=str
)
def test_a_full_disk_is_one_line_and_leaves_nothing(
    inputs: Path, full_disk: FullDisk, tmp_path: Path, case: CommandCase, free: int
) -> None:
    case.skip_without_its_packages()
    code, printed, files = full_disk.run(case.words(inputs, tmp_path), tmp_path, free)
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert code == 2, printed
    assert len(errors) == 1 and str(tmp_path) in errors[0] and "cannot be written" in errors[0], printed
    assert "Traceback" not in printed
    assert [file for file in files if not any(fnmatch(Path(file).name, pattern) for pattern in case.kept)] == []


def test_a_full_standard_output_is_one_line(inputs: Path) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gaussian_yolo_node.commands", "bag", "info", inputs / "run/answers.mcap"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        )
    assert done.returncode == 2
    assert done.stderr.strip() == "error: standard output cannot be written: No space left on device"
