"""The comparison of losses at its smallest: synthetic frames, one epoch; its figures are worth nothing then."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

for package in ("torch", "tensorboard", "matplotlib"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train' and 'bench')")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    return importlib.import_module("gaussian_vs_plain")


def write_recipe(root: Path) -> Path:
    """Four frames of one bright car each, a van to ignore in the first."""
    for name in ("image", "label"):
        (root / name).mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        image = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
        image[20:50, 20:70] = 230
        cv2.imwrite(str(root / "image" / f"{index:06}.png"), image)
        van = "" if index else "Van 0 0 0 80 10 95 30 1 1 1 1 1 1 1\n"
        (root / "label" / f"{index:06}.txt").write_text(f"Car 0 0 0 20 20 70 50 1 1 1 1 1 1 1\n{van}")
    source = {"format": "kitti", "images": "image", "labels": "label"}
    model = {
        "classes": ["car"], "anchors": [[[90, 60]] * 3, [[50, 30]] * 3, [[12, 12]] * 3], "input_size": [128, 192],
        "backbone": "mobilenet_v2", "width": 16, "pretrained": False,
    }  # fmt: skip
    schedule = {"epochs": 9, "mosaic_off_epochs": 9, "workers": 0, "autocast": False, "fast_depthwise": False}
    recipe = root / "recipe.yaml"
    data = {"root": str(root), "train": [source], "validation": [source]}
    recipe.write_text(yaml.safe_dump({"name": "tiny", "model": model, "data": data, "schedule": schedule}))
    return recipe


def test_it_compares_goes_on_and_refuses_other_options(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, output = write_recipe(tmp_path), tmp_path / "out"

    def compare(**options: Any) -> str:
        defaults = {"seeds": "3,4", "epochs": 1, "size": "64x96", "crop": "64x96", "batch": 2}
        others = {"report": tmp_path / "docs", "data": tmp_path, "threads": 1}
        benchmark.main(**({"recipe": recipe, "output": output} | defaults | others | options))
        return capsys.readouterr().out

    table = compare()
    assert (tmp_path / "docs" / "gaussian_vs_plain.md").read_text() in table
    assert "| Gaussian loss and criterion |" in table and "4 frames with 4 objects" in table
    assert "--data DATA --seeds 3,4 --epochs 1 --batch 2 --size 64x96 --crop 64x96" in table
    assert (tmp_path / "docs" / "gaussian_vs_plain.png").stat().st_size > 10_000
    learnt = yaml.safe_load((output / "yolov3_seed4" / "recipe.yaml").read_text())
    assert learnt["model"]["anchors"][0][0] == [45.0, 30.0] and learnt["loss"] == {"kind": "yolov3"}
    assert learnt["schedule"] | {"seed": 4, "epochs": 1, "mosaic_off_epochs": 1} == learnt["schedule"]
    figures = json.loads((output / "gaussian_seed3.json").read_text())["variants"]
    assert list(figures) == ["gaussian loss", "gaussian loss and criterion"]

    (output / "gaussian_seed3.json").unlink()
    again = compare()
    assert again.count("== ") == 1 and "== gaussian, seed 3" in again
    assert json.loads((output / "gaussian_seed3.json").read_text())["variants"] == figures

    with pytest.raises(SystemExit, match=r"yolov3_seed3\.json is of another recipe"):
        compare(epochs=2)
    with pytest.raises(SystemExit, match="multiples of 32"):
        compare(size="65x96", output=tmp_path / "other")


def test_without_sigma_a_box_scores_objectness_times_class(benchmark: ModuleType) -> None:
    import torch

    from gaussian_yolo_node.lab.networks.gaussian_yolo import build_model

    torch.manual_seed(0)
    model = build_model("mobilenet_v2", 2, width=16).eval()
    frame = torch.rand(1, 3, 64, 96) * 255
    with torch.no_grad():
        for before, after in zip(model(frame), benchmark.without_sigma(model)(frame), strict=True):
            expected = before.view(3, 11, *before.shape[2:]).clone()
            expected[:, 1:8:2] = -50
            assert torch.allclose(after.view(expected.shape), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("box", "score", "expected"),
    [
        ([20.0, 20, 70, 50], 0.9, (1, 0)),
        ([20.0, 20, 70, 50], 0.4, (0, 0)),  # below the score that counts
        ([5.0, 5, 15, 15], 0.9, (0, 1)),
        ([81.0, 11, 94, 29], 0.9, (0, 0)),  # the van
    ],
)
def test_detections_are_counted(
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    box: list[float],
    score: float,
    expected: tuple[int, int],
) -> None:
    from factories import make_detections

    from gaussian_yolo_node.lab.training.config import TrainConfig

    config = TrainConfig.load(write_recipe(tmp_path))
    (tmp_path / "label" / "000001.txt").unlink()  # unlabelled from here on: one frame is enough
    for index in (2, 3):
        (tmp_path / "label" / f"{index:06}.txt").unlink()
    monkeypatch.setattr(benchmark, "detect", lambda *_: make_detections([box], [score]))
    figures = benchmark.count(None, config, tmp_path)
    assert figures["frames"] == figures["truths"] == 1
    assert (figures["right75"], figures["wrong75"]) == expected
