"""Fine-tuning at the larger size: shallow layers stay bit-identical, the rest learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")

import torch
from classifier_runs import CLASSES, make_config, make_document
from training_runs import make_document as make_detector_document

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.classification.checkpoint import load_classifier, read_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.train import train_classifier
from gaussian_yolo_node.lab.fixres import RECIPE, REPORT, FixRes, classifier_recipe, detector_recipe, fixres, shallow
from gaussian_yolo_node.lab.networks.backbones import create_backbone
from gaussian_yolo_node.lab.training.checkpoint import Trained, load_trained, read_checkpoint
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.train import run


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A classifier's checkpoint and its data folder."""
    root = tmp_path_factory.mktemp("classifier")
    return train_classifier(make_config(root, schedule={"epochs": 0.5}), root / "out"), root


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A detector's checkpoint and its data folder."""
    root = tmp_path_factory.mktemp("detector")
    recipe = root / "recipe.yaml"
    document = make_detector_document(root, images=2, epochs=1)
    document["data"]["validation"] = [{"format": "kitti", "images": "image", "labels": "label"}]
    recipe.write_text(yaml.safe_dump(document))
    return run(recipe, root / "out"), root


@pytest.fixture(scope="module")
def trained(detector: tuple[Path, Path]) -> Trained:
    return load_trained(detector[0])


def moved(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {name for name, value in before.items() if not torch.equal(value, after[name])}


@pytest.mark.parametrize(
    ("last_stages", "learning"),
    [
        (0, ("classifier.", "bn2.")),
        pytest.param(2, ("classifier.", "bn2.", "conv_head.", "blocks.5.", "blocks.6."), marks=pytest.mark.slow),
    ],
)
def test_a_classifiers_shallow_layers_do_not_move_a_bit(
    classifier: tuple[Path, Path], tmp_path: Path, last_stages: int, learning: tuple[str, ...]
) -> None:
    checkpoint, root = classifier
    options = FixRes((64, 64), last_stages=last_stages, learning_rate=0.01)
    outcome = fixres(checkpoint, root / "train", options, tmp_path / "out")
    before, document = read_classifier(checkpoint)["ema"], read_classifier(outcome.checkpoint)
    for kind in ("model", "ema"):
        changed = moved(before, document[kind])
        assert changed == {name for name in before if name.startswith(learning)}
    assert document["step"] == 5  # 1.5 epochs of 3 steps, rounded up
    tuned = load_classifier(outcome.checkpoint)
    assert tuned.image_size == 64 and tuned.classes == CLASSES and tuned.model.dropout == 0
    for figures in (outcome.before, outcome.larger, outcome.after):
        assert figures["images"] == 12  # without validation data, the images it was tuned on


def test_a_classifiers_recipe_is_unaugmented_and_its_figures_are_reported(
    classifier: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint, root = classifier
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(make_document(root, data={"validation": "train"})))
    outcome = fixres(checkpoint, path, FixRes((48, 48), epochs=0.1), tmp_path / "out")
    config = ClassifierConfig.load(tmp_path / "out" / RECIPE)
    assert (config.noise.ops, config.noise.least_crop, config.noise.flip) == (0, 1.0, 0.0)
    assert config.noise.network() == {"dropout": 0.0, "stochastic_depth": 0.0}
    assert config.schedule.learning_rate == pytest.approx(1e-4) and config.schedule.warmup_steps == 0
    report = json.loads((tmp_path / "out" / REPORT).read_text())
    assert report == {
        "size": [48, 48], "before": outcome.before, "larger": outcome.larger, "after": outcome.after
    }  # fmt: skip
    assert outcome.before.keys() == outcome.larger.keys() == outcome.after.keys() == {"top1", "top5", "images"}
    again = fixres(checkpoint, path, FixRes((48, 48), epochs=0.1), tmp_path / "out", resume=True)
    assert again == outcome


@pytest.mark.parametrize(
    ("backbone", "options", "learning", "first"),
    [
        ("mobilenet_v2", {"width": 0.1}, ["classifier.", "bn2."], ["conv_stem.", "bn1.", "blocks.", "conv_head."]),
        (
            "mobilenet_v1",
            {"width": 0.1},
            ["classifier.", "blocks.4.1.bn2."],
            ["conv_stem.", "bn1.", "blocks.0.", "blocks.1.", "blocks.2.", "blocks.3.", "blocks.4.0.",
             "blocks.4.1.conv_dw.", "blocks.4.1.bn1.", "blocks.4.1.conv_pw."],
        ),
    ],
)  # fmt: skip
def test_prefixes_of_what_is_shallow(backbone: str, options: Any, learning: list[str], first: list[str]) -> None:
    model = create_backbone(backbone, 2, **options)
    assert list(shallow(model, learning)) == first
    rest = [name for name, _ in model.named_parameters() if not name.startswith(tuple(first))]
    assert rest and all(name.startswith(tuple(learning)) for name in rest)


@pytest.mark.parametrize("last_stages", [pytest.param(0, marks=pytest.mark.slow), 3])
def test_a_detectors_shallow_layers_do_not_move_a_bit(
    detector: tuple[Path, Path], tmp_path: Path, last_stages: int
) -> None:
    checkpoint, root = detector
    options = FixRes((96, 160), epochs=1, last_stages=last_stages, learning_rate=0.01)
    outcome = fixres(checkpoint, root, options, tmp_path / "out")
    before, after = read_checkpoint(checkpoint)["ema"], read_checkpoint(outcome.checkpoint)["ema"]
    stages = tuple(f"backbone.blocks.{stage}." for stage in range(7 - last_stages, 7))
    changed = moved(before, after)
    assert changed == {name for name in before if not name.startswith("backbone.") or name.startswith(stages)}
    for figures in (outcome.before, outcome.larger, outcome.after):
        assert "AP50 car" in figures
    assert json.loads((tmp_path / "out" / REPORT).read_text())["size"] == [96, 160]


def test_a_detectors_recipe_grows_its_anchors_and_augments_nothing(
    detector: tuple[Path, Path], trained: Trained
) -> None:
    checkpoint, root = detector
    recipe = detector_recipe(trained, checkpoint, root, FixRes((128, 96)))
    assert recipe.model.input_size == recipe.schedule.crop_size == (128, 96)
    # From 64x96: double height, same width.
    assert recipe.model.anchors[0][0] == (90, 120) and recipe.model.anchors[2][0] == (30, 50)
    augment, schedule = recipe.augment, recipe.schedule
    assert augment.scale == (1.0, 1.0) and augment.rand_augment_ops == 0
    assert (augment.aspect, augment.jitter, augment.flip, augment.hue, augment.mosaic) == (0, 0, 0, 0, 0)
    assert (augment.saturation, augment.exposure, augment.object_crop) == (1, 1, 0)
    assert (schedule.epochs, schedule.frozen, schedule.multi_scale) == (2, ("backbone.",), (1.0, 1.0))
    assert schedule.learning_rate == pytest.approx(trained.config.schedule.learning_rate / 10)
    assert recipe.model.init == str(checkpoint.resolve()) and not recipe.model.pretrained
    assert TrainConfig.from_dict(recipe.to_dict(), "again") == recipe


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((32, 32), {}, "size 32 is not larger than the 32 px"),
        ((64, 48), {}, "a classifier sees a square"),
        ((64, 64), {"last_stages": 7}, "leaves nothing shallow: the backbone has 7 stages"),
        ((64, 64), {"last_stages": -1}, "--last-stages must be a whole number at least 0, not -1"),
        ((64, 64), {"epochs": 0}, "schedule.epochs must be a number above 0, not 0"),
    ],
)
def test_what_cannot_be_of_a_classifier(
    classifier: tuple[Path, Path], size: tuple[int, int], options: dict[str, Any], message: str
) -> None:
    checkpoint, root = classifier
    with pytest.raises(GaussianYoloError, match=message):
        classifier_recipe(load_classifier(checkpoint), checkpoint, root / "train", FixRes(size, **options))


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        ((64, 96), {}, "is not larger than the 64x96"),
        ((32, 960), {}, "is not larger than the 64x96"),
        ((100, 160), {}, "multiples of 32"),
        ((96, 160), {"epochs": 1.5}, "a detector's epochs are whole"),
        ((96, 160), {"epochs": 0}, "schedule.epochs must be a whole number at least 1, not 0"),
        ((96, 160), {"last_stages": 9}, "leaves nothing shallow"),
    ],
)
def test_what_cannot_be_of_a_detector(
    detector: tuple[Path, Path], trained: Trained, size: tuple[int, int], options: dict[str, Any], message: str
) -> None:
    checkpoint, root = detector
    with pytest.raises(GaussianYoloError, match=message):
        detector_recipe(trained, checkpoint, root, FixRes(size, **options))


def test_files_that_are_not_there(classifier: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, root = classifier
    with pytest.raises(GaussianYoloError, match="there is no recipe or data"):
        fixres(checkpoint, tmp_path / "no", FixRes((64, 64)), tmp_path / "out")
    with pytest.raises(GaussianYoloError, match=r"no\.pt does not exist"):
        fixres(tmp_path / "no.pt", root, FixRes((64, 64)), tmp_path / "out")
    assert classifier_recipe(load_classifier(checkpoint), checkpoint, root, FixRes((64, 64))).data.pseudo == ""
