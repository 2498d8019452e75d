"""Names of files that are not UTF-8 end no command in a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.conftest import Result, run_apart
from data_factory import make_kitti

pytest.importorskip("rosbags", reason="rosbags is not installed")

NAME = "caf\udce9"


def run(*commands: tuple[object, ...]) -> list[Result]:
    """Run commands on a terminal that takes UTF-8 only."""
    return run_apart(*commands, PYTHONIOENCODING="utf-8:strict")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    make_kitti(tmp_path / "data", ["000000", "000001"])
    for path in sorted((tmp_path / "data").rglob("000000.*")):  # OpenCV cannot write such a name
        path.rename(path.with_name(NAME + path.suffix))
    return (tmp_path / "data").rename(tmp_path / NAME)


def test_bags_of_such_names(tmp_path: Path, data: Path) -> None:
    bag = tmp_path / f"{NAME}.mcap"

    made, listed = run(("bag", "make", data, "-o", bag, "--image", "compressed"), ("bag", "info", bag))

    assert (made.code, listed.code) == (0, 0), made.err + listed.err
    assert "caf\\udce9.mcap: 2 frames" in made.out and "Traceback" not in made.err + listed.err


def test_evaluation_of_such_names(tmp_path: Path, data: Path) -> None:
    record = {"frame": f"{NAME}.png", "detections": []}
    predictions = tmp_path / f"{NAME}.json"
    predictions.write_text(json.dumps([record]))
    labels = next(path for path in data.iterdir() if path.name.startswith("label"))

    files = ("--ground-truth", labels, "--predictions", predictions, "--json", tmp_path / "out.json")
    (done,) = run(("evaluate", *files))

    assert done.code == 0 and "Traceback" not in done.err, done.err
    assert json.loads((tmp_path / "out.json").read_text())["frames"]["matched"] == [NAME]


def test_messages_about_such_names() -> None:
    commands = ("detect", NAME), ("evaluate", "--ground-truth", NAME, "--predictions", NAME), ("bag", "info", NAME)
    for done in run(*commands):
        assert done.code == 2 and "caf\\udce9" in done.err and "Traceback" not in done.err
