"""The trial of backbones: its recipes, its plan, and a minimal run with meaningless figures."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

for package in ("torch", "tensorboard", "matplotlib", "onnx", "openvino"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train', 'cpu' and 'bench')")

from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.training.checkpoint import network_of  # noqa: E402
from gaussian_yolo_node.lab.training.config import TrainConfig  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "engines" / "csp_nano_driving.yaml"


@pytest.fixture
def benchmark() -> ModuleType:
    return importlib.import_module("backbone_trial")


def test_contenders_differ_in_their_network_alone(benchmark: ModuleType) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    own = TrainConfig.load(RECIPE)
    configs = {
        name: TrainConfig.from_dict(benchmark.derive(recipe, name, own.schedule.epochs), name).placed(RECIPE.parent)
        for name in benchmark.CONTENDERS
    }
    assert list(configs) == ["nano_hard_swish", "nano_silu", "nano_relu", "lite0"]
    assert configs["nano_hard_swish"].model == own.model
    assert [configs[name].model.activation for name in configs] == ["hard_swish", "silu", "relu", ""]
    lite = configs["lite0"].model
    assert (lite.backbone, lite.neck, lite.width, lite.init) == ("efficientnet_lite0", "light", 128, "")
    assert lite.pretrained  # ImageNet weights, because there is no init
    for config in configs.values():
        assert (config.data, config.augment, config.loss) == (own.data, own.augment, own.loss)
        assert (config.model.anchors, config.model.input_size) == (own.model.anchors, own.model.input_size)
        # fast_depthwise affects only the speed.
        assert replace(config.schedule, fast_depthwise=False) == configs["nano_hard_swish"].schedule
        assert sum(parameter.numel() for parameter in network_of(config.model).parameters()) > 5e5


def test_a_schedule_is_as_long_as_the_epochs(benchmark: ModuleType) -> None:
    recipe = yaml.safe_load(RECIPE.read_text())
    before = json.dumps(recipe)
    schedule = TrainConfig.from_dict(benchmark.derive(recipe, "lite0", 20), "lite0").schedule
    assert (schedule.epochs, schedule.mosaic_off_epochs) == (20, 2)  # of 40 and 4
    assert schedule.validate_every == 20  # only at the end
    assert json.dumps(recipe) == before


@pytest.mark.parametrize(
    ("minutes", "step_s", "steps", "expected"),
    [
        (60, 0.5, 116, 62),
        (60, 3600.0, 1, 1),
        (60, 30.0, 60, 2),
        (1, 0.7, 116, 1),  # not even one
        (0, 0.7, 116, 1),
    ],
)
def test_whole_epochs_fit_into_the_minutes(
    benchmark: ModuleType, minutes: float, step_s: float, steps: int, expected: int
) -> None:
    assert benchmark.epochs_within(minutes, step_s, steps) == expected


def contender(name: str, milliseconds: float, taken: float | None) -> dict[str, Any]:
    """Hand-made results: cyclists in one set only, and a better AP on the larger canvas, which was measured first."""

    def sets(gain: float) -> dict[str, Any]:
        town = {"AP50 car": 0.5 + gain, "AP50 cyclist": 0.1 + gain, "AP car": 0.3 + gain}
        road = {"AP50 car": 0.7 + gain, "AP car": 0.5 + gain}
        return {
            "town": {"average_precision": town, "inference_ms": milliseconds * (1 + gain)},
            "road": {"average_precision": road, "inference_ms": milliseconds * (3 + gain)},
        }

    points = {"64x192": {"gmacs": 2.0, "sets": sets(0.1)}, "32x96": {"gmacs": 0.5, "sets": sets(0.0)}}
    model = {"backbone": "mobilenet_v2", "neck": "light", "width": 16, "activation": "", "classes": ["car", "cyclist"]}
    return {
        "contender": name, "minutes": 60, "machine": "a machine", "torch": "2.0", "step_s": 0.5, "steps": 10,
        "recipe": {"model": model, "schedule": {"epochs": 7}}, "trained_minutes": taken, "points": points,
    }  # fmt: skip


def test_a_report_averages_over_the_sets(
    benchmark: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark.write_report(tmp_path, tmp_path / "docs")
    assert not (tmp_path / "docs").exists()  # no results to report
    for name, milliseconds, taken in (("lite0", 2.0, None), ("nano_relu", 1.0, 58.7)):
        (tmp_path / f"{name}.json").write_text(json.dumps(contender(name, milliseconds, taken)))
    unfinished = contender("nano_silu", 1.0, 60.0) | {"points": {}}
    (tmp_path / "nano_silu.json").write_text(json.dumps(unfinished))
    benchmark.write_report(tmp_path, tmp_path / "docs")
    table = (tmp_path / "docs" / "backbone_trial.md").read_text()
    assert table in capsys.readouterr().out
    assert "60 minutes" in table and "a machine" in table and "the sets town, road" in table
    lines = table.splitlines()
    assert "| nano_relu | mobilenet_v2, light, 16 | 0.50 | 7 | 59 |" in lines
    assert "| lite0 | mobilenet_v2, light, 16 | 0.50 | 7 | not counted |" in lines
    start = lines.index("| contender | canvas | GMACs | network, ms | AP50 car | AP50 cyclist | mAP50 | AP car |")
    assert lines[start + 2 : start + 6] == [
        # mAP50: mean of (50 + 10) / 2 (town) and 70 (road)
        "| nano_relu | 32x96 | 0.50 | 2.0 | 60.0 | 10.0 | 50.0 | 40.0 |",
        "| nano_relu | 64x192 | 2.00 | 2.1 | 70.0 | 20.0 | 60.0 | 50.0 |",
        "| lite0 | 32x96 | 0.50 | 4.0 | 60.0 | 10.0 | 50.0 | 40.0 |",
        "| lite0 | 64x192 | 2.00 | 4.2 | 70.0 | 20.0 | 60.0 | 50.0 |",
    ]
    assert "nano_silu" not in table
    assert (tmp_path / "docs" / "backbone_trial.png").stat().st_size > 10_000


@pytest.mark.slow
def test_it_times_trains_measures_and_goes_on(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "CONTENDERS", {"narrow": {}, "wide": {"model": {"width": 24}}})
    document = make_document(tmp_path)
    document["data"]["validation"] = [{"name": "street", "format": "kitti", "images": "image", "labels": "label"}]
    recipe, output = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(document))

    def compete(**options: Any) -> str:
        defaults = {"recipe": recipe, "data": tmp_path, "minutes": 0.0, "canvas": ["64x96"], "report": None}
        others = {"output": output, "contender": None, "threads": 1}
        benchmark.main(**(others | defaults | options))
        return capsys.readouterr().out

    table = compete()
    assert table.count("| narrow | ") == table.count("| wide | ") == 2
    assert (output / "backbone_trial.md").exists() and (output / "wide" / "wide.onnx").exists()
    found = json.loads((output / "wide.json").read_text())
    assert found["recipe"]["model"]["width"] == 24 and found["recipe"]["schedule"]["epochs"] == 1
    assert found["steps"] == 4 and found["step_s"] > 0 and found["trained_minutes"] > 0
    assert found["points"]["64x96"]["gmacs"] > 0
    assert 0 <= found["points"]["64x96"]["sets"]["street"]["average_precision"]["AP50 car"] <= 1

    # Finished trainings are kept; another canvas is measured as well.
    monkeypatch.setattr(benchmark, "run", lambda *_, **__: pytest.fail("trained again"))
    assert "| wide | 32x64 |" in compete(canvas=["64x96", "32x64"], contender=["wide"])
    again = json.loads((output / "wide.json").read_text())
    assert again["points"]["64x96"] == found["points"]["64x96"] and list(again["points"]) == ["64x96", "32x64"]

    with pytest.raises(SystemExit, match=r"narrow\.json is of another recipe or other --minutes"):
        compete(minutes=1.0)
    with pytest.raises(SystemExit, match="--contender is one of narrow, wide"):
        compete(contender=["broad"])
    with pytest.raises(SystemExit, match="--canvas is '64'"):
        compete(canvas=["64"])
