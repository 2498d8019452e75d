"""A minimal comparison of losses: synthetic frames, one epoch, meaningless figures."""

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

for package in ("torch", "tensorboard", "matplotlib", "onnx", "openvino"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train', 'cpu' and 'bench')")

from factories import Planted, make_card, make_model  # noqa: E402

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.evaluation.paired import pair  # noqa: E402
from gaussian_yolo_node.lab.operating_points import load_sets  # noqa: E402
from gaussian_yolo_node.lab.training.config import TrainConfig  # noqa: E402
from gaussian_yolo_node.labels.predictions import FramePredictions  # noqa: E402
from gaussian_yolo_node.labels.truths import read_kitti_labels  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("gaussian_vs_plain")


def write_recipe(root: Path) -> Path:
    """Four frames with one bright car each, and a van to ignore in the first."""
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
    data = {"root": str(root), "train": [source], "validation": [{"name": "street", **source}]}
    recipe.write_text(yaml.safe_dump({"name": "tiny", "model": model, "data": data, "schedule": schedule}))
    return recipe


@pytest.mark.slow
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
    assert "## street" in table and "| | AP50 car | AP car | mAP50 |" in table
    assert "--data DATA --seeds 3,4 --epochs 1 --batch 2 --size 64x96 --crop 64x96" in table
    assert (tmp_path / "docs" / "gaussian_vs_plain.png").stat().st_size > 10_000
    learnt = yaml.safe_load((output / "yolov3_seed4" / "recipe.yaml").read_text())
    assert learnt["model"]["anchors"][0][0] == [45.0, 30.0] and learnt["loss"] == {"kind": "yolov3"}
    assert learnt["schedule"] | {"seed": 4, "epochs": 1, "mosaic_off_epochs": 1} == learnt["schedule"]
    figures = json.loads((output / "gaussian_seed3.json").read_text())["variants"]
    assert list(figures) == ["gaussian loss", "gaussian loss and criterion"]
    assert all(list(of_sets) == ["street"] for of_sets in figures.values())

    (output / "gaussian_seed3.json").unlink()
    again = compare()
    assert again.count("== ") == 1 and "== gaussian, seed 3" in again
    assert json.loads((output / "gaussian_seed3.json").read_text())["variants"] == figures

    with pytest.raises(SystemExit, match=r"yolov3_seed3\.json is of another recipe"):
        compare(epochs=2)
    with pytest.raises(SystemExit, match="multiples of 32"):
        compare(size="65x96", output=tmp_path / "other")


def test_each_loss_is_learnt_from_the_same_start(benchmark: ModuleType) -> None:
    path = REPOSITORY / "engines" / "csp_nano_driving.yaml"
    own, changes = TrainConfig.load(path), benchmark.Changes(None, (192, 640), (160, 448), None)
    plain, gaussian = (
        TrainConfig.from_dict(benchmark.derive(yaml.safe_load(path.read_text()), loss, 1, changes), loss).placed(
            path.parent
        )
        for loss in benchmark.VARIANTS
    )
    assert (plain.loss.kind, gaussian.loss.kind) == ("yolov3", "gaussian")
    assert plain.model == gaussian.model and plain.model.init == own.model.init != ""
    assert (plain.data, plain.augment, plain.schedule) == (gaussian.data, gaussian.augment, gaussian.schedule)
    assert (plain.data.train, plain.schedule.epochs) == (own.data.train, own.schedule.epochs)


def test_without_the_criterion_a_box_scores_objectness_times_class(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    car = Planted((20.0, 20.0, 70.0, 50.0), score=0.45, sigma=0.2)
    config = TrainConfig.load(write_recipe(tmp_path))
    sets = load_sets(config.data.validation, tmp_path, config.model.classes)

    def export(checkpoint: Path, output: Path) -> ModelCard:
        make_model(output, planted=[car])
        return make_card()

    monkeypatch.setattr(benchmark, "export_checkpoint", export)
    scored = {loss: benchmark.score(tmp_path / "last.pt", loss, sets, 1) for loss in benchmark.VARIANTS}
    right = {variant: of["street"]["right50"] for scores in scored.values() for variant, of in scores.items()}
    # The score is below 0.5 only with the sigma of 0.2.
    assert right == {"plain": 4, "gaussian loss": 4, "gaussian loss and criterion": 0}
    assert all(of["street"]["AP50 car"] == 1 for scores in scored.values() for of in scores.values())
    with Detector.open(tmp_path / "model.onnx", score_threshold=0.1) as detector:
        for criterion, expected in (("confidence", 0.45 / (1 - 0.2)), ("gaussian", 0.45)):
            detector.criterion = criterion
            for record in benchmark.predictions(detector, sets[0]):
                assert record.detections.scores == pytest.approx([expected], abs=0.01)
                assert record.class_names == ["car"]


def test_false_positives_are_compared_at_equal_recall(benchmark: ModuleType, tmp_path: Path) -> None:
    def of_set(right: int, before: list[int]) -> dict[str, Any]:
        counts = {"right75": 1, "wrong75": 2, "right50": right, "wrong50": 4}
        return {"AP50 car": 0.5, "frames": 9, "truths": 8, **counts, "wrong_before": before}

    # The plain network has 2 true positives above 0.5; the Gaussian one detects the second after 3 false positives.
    road, town = of_set(2, [0, 4, 4]), of_set(2, [1, 1])
    gaussian = {"road": of_set(1, [0, 3, 9]), "town": of_set(1, [0])}
    model = {"classes": ["car"], "input_size": [64, 96], "init": {"file": "weights/start.onnx"}}
    recipe = {"model": model, "schedule": {"epochs": 3}, "loss": {"kind": "yolov3", "iou_weight": 0.5}}
    common = {"seed": 0, "torch": "2.0", "recipe": recipe}
    both = {"gaussian loss": gaussian, "gaussian loss and criterion": gaussian}
    results = [{**common, "variants": {"plain": {"road": road, "town": town}}}, {**common, "variants": both}]
    report = importlib.import_module("gaussian_vs_plain_report")
    report.write_table(results, "the command", tmp_path / "table.md")
    sections = (tmp_path / "table.md").read_text().split("## ")
    assert "from start.onnx" in sections[0] and "iou_weight 0.5" in sections[0]
    assert sections[1].startswith("road\n\n9 frames with 8 objects.") and sections[2].startswith("town")
    assert "| YOLOv3's loss | 1 | 2 | 2 | 4 | 4 |" in sections[1]
    assert "| Gaussian loss and criterion | 1 | 2 | 1 | 4 | 3 |" in sections[1]
    assert "| Gaussian loss and criterion | +0.0 % | +0.0 % | -50.0 % | +0.0 % | -25.0 % |" in sections[1]
    assert "| Gaussian loss and criterion | 1 | 2 | 1 | 4 | - |" in sections[2]  # it never reaches this recall
    report.write_figure(results, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("box", "score", "expected"),
    [
        ([20.0, 20, 70, 50], 0.9, (1, 0)),
        ([20.0, 20, 70, 50], 0.4, (0, 0)),  # below the score threshold
        ([5.0, 5, 15, 15], 0.9, (0, 1)),
        ([81.0, 11, 94, 29], 0.9, (0, 0)),  # the van
    ],
)
def test_detections_are_counted(
    benchmark: ModuleType, tmp_path: Path, box: list[float], score: float, expected: tuple[int, int]
) -> None:
    write_recipe(tmp_path)
    found = FramePredictions.of("000000.png", [box], [score], ["car"])
    figures = benchmark.count(pair(read_kitti_labels(tmp_path / "label"), [found]))
    assert figures["frames"] == figures["truths"] == 1
    assert (figures["right75"], figures["wrong75"]) == expected
