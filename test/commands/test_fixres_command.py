"""The command `gaussian-yolo fixres`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")

from classifier_runs import make_config, make_document

from gaussian_yolo_node.commands.fixres import parse_sides
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.classification.train import train_classifier

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(("text", "sides"), [("288", (288, 288)), ("352x1120", (352, 1120))])
def test_sizes(text: str, sides: tuple[int, int]) -> None:
    assert parse_sides(text) == sides


@pytest.mark.parametrize("text", ["", "0", "-3", "12x", "x12", "1x2x3", "large", "100000"])
def test_texts_that_are_no_size(text: str) -> None:
    with pytest.raises(SettingError, match="neither a side such as 288 nor"):
        parse_sides(text)


def test_a_classifier_is_fine_tuned_and_its_figures_are_told(tmp_path: Path, run: Run) -> None:
    checkpoint = train_classifier(make_config(tmp_path, schedule={"epochs": 0.1}), tmp_path / "out")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(make_document(tmp_path, data={"validation": "train"})))
    code, out, _ = run("fixres", checkpoint, recipe, "--size", "64", "--epochs", "0.1", "-o", tmp_path / "large")
    assert code == 0
    lines = out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["before", "before, at 64", "after", "trained"]
    assert lines[0].startswith("before: top1 ") and str(tmp_path / "large" / "last.pt") in lines[-1]
    code, out, _ = run(
        "fixres", checkpoint, tmp_path / "train", "--size", "64", "--epochs", "0.1", "-o", tmp_path / "b"
    )
    assert code == 0  # without validation data, the figures are of the images it was tuned on
    assert [line.split(":")[0] for line in out.splitlines()] == ["before", "before, at 64", "after", "trained"]
    code, _, errors = run("fixres", checkpoint, recipe, "--size", "32", "-o", tmp_path / "small")
    assert code == 2 and errors.count("\n") == 1 and "is not larger than the 32 px" in errors


def test_bad_input_is_one_line(tmp_path: Path, run: Run) -> None:
    code, _, errors = run("fixres", tmp_path / "no.pt", tmp_path, "--size", "64", "-o", tmp_path / "out")
    assert (code, errors) == (2, f"error: checkpoint {tmp_path / 'no.pt'} does not exist\n")


def test_help_has_an_example(run: Run) -> None:
    code, out, _ = run("fixres", "--help")
    assert code == 0 and "Example: gaussian-yolo fixres out/student/last.pt" in " ".join(out.split())
