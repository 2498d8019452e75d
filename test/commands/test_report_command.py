from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands.conftest import Run
from report_factory import make_run

from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE


def test_report_of_a_run(run: Run, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", frames=8)
    done = run("report", folder, "--thumbnails", 0, "--protocol", "bdd")

    assert done.code == 0, done.err
    assert "report.html and report.json" in done.out
    assert json.loads((folder / "report.json").read_text())["protocol"] == "bdd"
    assert "--protocol bdd" in (folder / "report.html").read_text()


def test_report_of_files(run: Run, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", frames=8)
    files = ["--ground-truth", str(folder / ANSWERS_FILE), "--predictions", str(folder / DETECTIONS_FILE)]
    done = run("report", *files, "-o", tmp_path / "out.html")

    assert done.code == 0, done.err
    assert (tmp_path / "out.html").exists() and (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give the folder of a run"),
        (["--ground-truth", "a"], "both --ground-truth and --predictions"),
        (["RUN", "--predictions", "b"], "not both"),
        (["--ground-truth", "a", "--predictions", "b"], "say where the report goes"),
        (["--ground-truth", "a", "--predictions", "b", "-o", "c.html", "--baseline", "RUN"], "compares runs"),
        (["--ground-truth", "nowhere", "--predictions", "b", "-o", "c.html"], "does not exist"),
        (["nowhere"], "is not the folder of a replay"),
        (["RUN", "--baseline", "nowhere"], "is not the folder of a replay"),
        (["RUN", "-o", "report.txt"], "ends in .html"),
    ],
)
def test_mistakes_are_one_line(run: Run, tmp_path: Path, arguments: list[str], complaint: str) -> None:
    folder = make_run(tmp_path / "run", frames=2, truth=False)
    done = run("report", *(folder if each == "RUN" else each for each in arguments))

    assert done.code == 2
    assert complaint in done.err
    assert done.err.count("\n") == 1
