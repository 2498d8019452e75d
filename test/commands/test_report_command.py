from __future__ import annotations

import json
from pathlib import Path

import pytest
from report_factory import make_run
from typer.testing import CliRunner

from gaussian_yolo_node.commands.gaussian_yolo import app
from gaussian_yolo_node.replay.run_folder import ANSWERS_FILE, DETECTIONS_FILE


def test_report_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", frames=8)
    done = CliRunner().invoke(app, ["report", str(run), "--thumbnails", "0", "--protocol", "bdd"])

    assert done.exit_code == 0, done.output
    assert "report.html and report.json" in done.output
    assert json.loads((run / "report.json").read_text())["protocol"] == "bdd"
    assert "--protocol bdd" in (run / "report.html").read_text()


def test_report_of_files(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", frames=8)
    files = ["--ground-truth", str(run / ANSWERS_FILE), "--predictions", str(run / DETECTIONS_FILE)]
    done = CliRunner().invoke(app, ["report", *files, "-o", str(tmp_path / "out.html")])

    assert done.exit_code == 0, done.output
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
def test_mistakes_are_one_line(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    run = make_run(tmp_path / "run", frames=2, truth=False)
    done = CliRunner().invoke(app, ["report", *(str(run) if each == "RUN" else each for each in arguments)])

    assert done.exit_code == 2
    assert complaint in done.output
    assert done.output.count("\n") == 1
