"""A minimal run of the experiment on digits: one split, a few steps, meaningless figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

for package in ("torch", "tensorboard", "matplotlib", "sklearn", "pyarrow"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train', 'scale' and 'bench')")

from sklearn import datasets  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("noisy_student_digits")


def test_splits_are_disjoint_and_hide_the_truth(tmp_path: Path, benchmark: ModuleType) -> None:
    counts = benchmark.write_digits(tmp_path / "0", 0, benchmark.Settings(image_size=8))
    assert counts == {"test": 449, "labelled": 135, "unlabelled": 1213}
    names = {part: {path.name for path in (tmp_path / "0" / part).rglob("*.png")} for part in counts}
    assert {part: len(found) for part, found in names.items()} == counts
    assert len(set.union(*names.values())) == 1797
    assert all(path.is_file() for path in (tmp_path / "0" / "unlabelled").iterdir())  # no folders per class
    assert benchmark.write_digits(tmp_path / "0", 0, benchmark.Settings(image_size=8)) == counts


def test_a_teacher_and_its_student(tmp_path: Path, benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = datasets.load_digits()
    few = SimpleNamespace(images=digits.images[:120], target=digits.target[:120])
    monkeypatch.setattr(datasets, "load_digits", lambda: few)
    settings = benchmark.Settings(
        image_size=16, width=0.1, steps=2, batch_size=8, unlabelled_ratio=1, threshold=0.0, labelled_share=0.5
    )
    results = {"settings": vars(settings), "machine": "a machine", "runs": {}}
    results["data"] = benchmark.write_digits(tmp_path / "5", 5, settings)
    for step in benchmark.STEPS[:2]:
        found = benchmark.run(step, 5, tmp_path / "5", settings)
        results["runs"][step.name] = {"name": step.name, "seed": 5, **found}
    assert 0 <= results["runs"]["student"]["top1"] <= 1 and 0 <= results["runs"]["student"]["pseudo_top1"] <= 1
    benchmark.write_table(results, tmp_path / "table.md")
    benchmark.write_figure(results, tmp_path / "figure.png")
    text = (tmp_path / "table.md").read_text()
    assert "| student | labels and the teacher's, noise |" in text and "| student without" not in text
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_results_of_other_settings_do_not_mix(tmp_path: Path, benchmark: ModuleType) -> None:
    path = tmp_path / "results.json"
    results = benchmark.read_results(path, benchmark.Settings())
    benchmark.write_results(path, results)
    assert benchmark.read_results(path, benchmark.Settings()) == results
    with pytest.raises(SystemExit, match="other settings"):
        benchmark.read_results(path, benchmark.Settings(steps=7))


def test_enlarged_digits_keep_their_values(benchmark: ModuleType) -> None:
    picture = benchmark.enlarged(np.full((8, 8), 16.0), 32)
    assert picture.shape == (32, 32) and picture.dtype == np.uint8 and (picture == 255).all()


def test_published_results_hold_what_the_table_says() -> None:
    path = REPOSITORY / "docs" / "noisy_student_digits.json"
    if not path.exists():
        pytest.skip("the experiment's results are not in this checkout")
    runs = json.loads(path.read_text())["runs"].values()
    top1 = {name: np.mean([run["top1"] for run in runs if run["name"] == name]) for name in ("teacher", "student")}
    assert top1["student"] > top1["teacher"]
