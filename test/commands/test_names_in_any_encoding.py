"""Names of files that are not UTF-8 end no command in a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from data_factory import make_kitti

pytest.importorskip("rosbags", reason="rosbags is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
# A terminal that takes UTF-8 only.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8:strict"}
NAME = "caf\udce9"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gaussian_yolo_node.commands", *map(str, arguments)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_kitti(tmp_path / "data", ["000000", "000001"])
    for path in sorted((tmp_path / "data").rglob("000000.*")):  # OpenCV cannot write such a name
        path.rename(path.with_name(NAME + path.suffix))
    return (tmp_path / "data").rename(tmp_path / NAME)


def test_bags_of_such_names(tmp_path: Path, data: Path) -> None:
    bag = tmp_path / f"{NAME}.mcap"

    made = run("bag", "make", data, "-o", bag, "--image", "compressed")
    listed = run("bag", "info", bag)

    assert (made.returncode, listed.returncode) == (0, 0), made.stderr + listed.stderr
    assert "caf\\udce9.mcap: 2 frames" in made.stdout and "Traceback" not in made.stderr + listed.stderr


def test_evaluation_of_such_names(tmp_path: Path, data: Path) -> None:
    record = {"frame": f"{NAME}.png", "detections": []}
    predictions = tmp_path / f"{NAME}.json"
    predictions.write_text(json.dumps([record]))
    labels = next(path for path in data.iterdir() if path.name.startswith("label"))

    found = run("evaluate", "--ground-truth", labels, "--predictions", predictions, "--json", tmp_path / "out.json")

    assert found.returncode == 0 and "Traceback" not in found.stderr, found.stderr
    assert json.loads((tmp_path / "out.json").read_text())["frames"]["matched"] == [NAME]


@pytest.mark.parametrize(
    "arguments", [("detect", NAME), ("evaluate", "--ground-truth", NAME, "--predictions", NAME), ("bag", "info", NAME)]
)
def test_messages_about_such_names(arguments: tuple[str, ...]) -> None:
    found = run(*arguments)
    assert found.returncode == 2 and "caf\\udce9" in found.stderr and "Traceback" not in found.stderr
