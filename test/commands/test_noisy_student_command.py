"""`gaussian-yolo noisy-student`: output and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

from training_runs import make_document

from gaussian_yolo_node.commands.gaussian_yolo import app

COMMANDS = ("label", "select", "train", "iterate")


def run(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["noisy-student", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    code, shown, _ = run(command, "--help")
    assert code == 0 and f"Example: gaussian-yolo noisy-student {command} " in " ".join(shown.split())


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished chain with one student, and its file next to it."""
    folder = tmp_path_factory.mktemp("chain")
    (folder / "student.yaml").write_text(yaml.safe_dump(make_document(folder / "data", epochs=1)))
    select = {"positive": 0.0, "ignore": 0.0}
    document = {
        "kind": "detection",
        "teacher_recipe": "student.yaml",
        "data": str(folder / "data"),
        "unlabelled": ["image"],
        "score_threshold": 0.001,
        "rounds": [{"name": "one", "recipe": "student.yaml", "select": select}],
    }
    (folder / "chain.yaml").write_text(yaml.safe_dump(document))
    code, shown, told = run("iterate", folder / "chain.yaml", "-o", folder / "out")
    assert code == 0, told
    assert shown.splitlines()[-1] == f"1_one: {folder / 'out/1_one/training/model.onnx'}"
    return folder


def test_an_iteration_is_told_as_done_before(chain: Path) -> None:
    code, _, told = run("iterate", chain / "chain.yaml", "-o", chain / "out")
    assert code == 0
    assert "1_one train: epochs 1 (done before)" in told


def test_steps_run_alone(chain: Path, tmp_path: Path) -> None:
    labels, selected = tmp_path / "labels", tmp_path / "selected.json"
    teacher = chain / "out/0_teacher/training/model.onnx"
    code, _, told = run("label", chain / "data/image", "--teacher", teacher, "--score-threshold", 0.001, "-o", labels)
    assert code == 0, told
    code, shown, told = run("select", labels, "--threshold", 0, "--ignore", 0, "--weights", "none", "-o", selected)
    assert code == 0, told
    assert "images: 4" in shown and f"selected: {selected}" in shown
    assert json.loads(selected.read_text())["rules"]["weights"] == "none"
    recipe = yaml.safe_load((chain / "student.yaml").read_text())
    recipe["data"]["train"].append({"format": "pseudo", "labels": str(selected)})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    code, shown, told = run("train", tmp_path / "recipe.yaml", "-o", tmp_path / "student")
    assert code == 0, told
    assert f"trained: {tmp_path / 'student/last.pt'}" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("select", "gone", "-o", "x.json"), "gone"),
        (("train", "gone.yaml", "-o", "x"), "gone.yaml does not exist; by name there are"),
        (("iterate", "gone.yaml", "-o", "x"), "gone.yaml does not exist; by name there are"),
    ],
)
def test_what_is_missing_is_named_in_one_line(
    arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, told = run(*arguments)
    assert code == 2 and told.startswith("error: ") and message in told and len(told.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--threshold", "1.5"), "positive must be a number at least 0 and at most 1, not 1.5"),
        (("--ignore", "0.9"), "ignore, 0.9, is above positive, 0.5"),
        (("--max-sigma", "0"), "max_sigma must be a number above 0, not 0.0"),
        (("--hard",), "the selection: unknown field hard; known: positive, ignore"),
        (("--threshold", "1"), "nothing in"),
    ],
)
def test_a_selection_that_cannot_be(chain: Path, options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, _, told = run("select", chain / "out/1_one/labels", "-o", tmp_path / "x.json", *options)
    assert code == 2 and told.startswith("error: ") and message in told
