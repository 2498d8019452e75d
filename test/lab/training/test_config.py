"""Recipes: errors, canvas sizes, and shipped recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from training_runs import make_document  # noqa: E402

from gaussian_yolo_node.lab.classification.config import ClassifierConfig  # noqa: E402
from gaussian_yolo_node.lab.networks.darknet_files import ConvolutionWeights, Weights, write_weights  # noqa: E402
from gaussian_yolo_node.lab.networks.yolov3 import PRESETS  # noqa: E402
from gaussian_yolo_node.lab.training.augment import Labelled  # noqa: E402
from gaussian_yolo_node.lab.training.config import ConfigError, ScheduleConfig, TrainConfig, training_sizes  # noqa: E402
from gaussian_yolo_node.lab.training.detection import DetectionTask  # noqa: E402
from gaussian_yolo_node.lab.training.loader import collate  # noqa: E402
from gaussian_yolo_node.lab.training.optimizer import rate_factor  # noqa: E402
from gaussian_yolo_node.lab.training.recipes import FOLDER, find_recipe  # noqa: E402
from gaussian_yolo_node.lab.training.trainer import Trainer  # noqa: E402

ENGINES = Path(__file__).resolve().parents[3] / "engines"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("model"), "test.yaml: model is missing; it must be a mapping"),
        (lambda d: d.update(models={}), "unknown field models; did you mean model?"),
        (lambda d: d["schedule"].update(epoch=3), "unknown field schedule.epoch; did you mean epochs\\?"),
        (lambda d: d["schedule"].update(learning_rate="1e-3"), "schedule.learning_rate must be a number, not '1e-3'"),
        (lambda d: d["schedule"].update(batch_size=2.5), "schedule.batch_size must be a whole number"),
        (lambda d: d["schedule"].update(autocast="no"), "schedule.autocast must be true or false"),
        (lambda d: d["schedule"].update(optimizer="adam"), "schedule.optimizer must be one of adamw, sgd, not 'adam'"),
        (lambda d: d["schedule"].update(frozen="backbone."), "schedule.frozen must be a list"),
        (lambda d: d["schedule"].update(frozen=[1]), r"schedule.frozen\[0\] must be a text, not 1"),
        (
            lambda d: d["schedule"].update(crop_size=[64]),
            "schedule.crop_size must be height and width in px, multiples",
        ),
        (lambda d: d["schedule"].update(crop_size=[100, 64]), r"multiples of 32, not \[100, 64\]"),
        (lambda d: d["schedule"].update(epochs=0), "schedule.epochs must be a whole number at least 1, not 0"),
        (lambda d: d["schedule"].update(batch_size=4, accumulate=3), "multiple of schedule.accumulate"),
        (lambda d: d["schedule"].update(multi_scale=[1.5, 0.5]), "least and greatest"),
        (lambda d: d["schedule"].update(multi_scale=[1.1, 1.2]), "with a multiple of 32 between"),
        (lambda d: d["schedule"].update(nesterov=True), "an option of optimizer sgd"),
        (lambda d: d["schedule"].update(rate_schedule="step"), "need each other"),
        (lambda d: d["schedule"].update(rate_steps=[5]), "need each other"),
        (lambda d: d["schedule"].update(best_metric="AP50 tram"), "must be one of AP50 car, AP car, mAP50, mAP"),
        (lambda d: d["schedule"].pop("epochs"), "schedule.epochs is missing; it must be a whole number at least 1"),
        (lambda d: d["model"].update(anchors=[[[1, 2]]]), r"as many anchors for each stride \(32, 16, 8\)"),
        (lambda d: d["model"].update(anchors=[[[1, 2]]] * 4), "as many anchors for each stride"),
        (lambda d: d["model"].update(anchors=[[], [], []]), "as many anchors for each stride"),
        (
            lambda d: d["model"].update(anchors=[[[1, 2]], [[1, 2]], [[1, 2], [3, 4]]]),
            "as many anchors for each stride",
        ),
        (
            lambda d: d["model"].update(anchors=[[[1, 2, 3]]]),
            r"model.anchors\[0\]\[0\] must be a list of 2, not \[1, 2",
        ),
        (lambda d: d["model"].update(classes=[]), r"model.classes must be a list of at least one class, not \[\]"),
        (lambda d: d["data"].update(train=["images"]), r"data.train\[0\] must be a mapping, not \'images\'"),
        (lambda d: d.update(loss={"kind": "focal"}), "test.yaml: loss.kind must be one of gaussian, yolov3"),
        (lambda d: d.update(data=[1]), "data must be a mapping"),
        (lambda d: d["model"].update(init=3), "model.init must be a text, not 3"),
        (lambda d: d["model"].update(init={"file": 3}), "model.init must be a text, not 3"),
        (lambda d: d["model"].update(init={"path": "a.onnx"}), "model.init must be a text, not {'path': 'a.onnx'}"),
        (lambda d: d["model"].update(init={"file": "a", "as": "b"}), "model.init must be a text"),
        (lambda d: d["model"].update(init={}), "model.init must be a text"),
        (lambda d: d["model"].update(activation=["silu"]), "model.activation must be a text"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, change: Any, message: str) -> None:
    document = make_document(tmp_path)
    change(document)
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(document, "test.yaml")


def with_sets(document: dict[str, Any], *sets: dict[str, Any], best_metric: str = "") -> TrainConfig:
    document["data"]["validation"] = [{"format": "kitti", "images": "i", **each} for each in sets]
    document["schedule"]["best_metric"] = best_metric
    return TrainConfig.from_dict(document, "test")


@pytest.mark.parametrize(
    ("sets", "names"),
    [
        ([], []),
        ([{"labels": "a/label_2"}], []),
        ([{"name": "day", "labels": "a/label_2"}], ["day"]),
        ([{"name": "day", "labels": "a"}, {"name": "night", "labels": "b"}], ["day", "night"]),
        ([{"labels": "a/label_2"}, {"labels": "b/label_2"}], ["a/label_2", "b/label_2"]),
        ([{"labels": "a/label_2"}, {"name": "night", "labels": "b"}], ["a/label_2", "night"]),
    ],
)
def test_what_validation_sets_are_called(tmp_path: Path, sets: list[dict[str, Any]], names: list[str]) -> None:
    assert with_sets(make_document(tmp_path), *sets).data.validation_names == names


def test_the_best_metric_may_be_that_of_a_set(tmp_path: Path) -> None:
    sets = [{"name": "day", "labels": "a"}, {"name": "night", "labels": "b"}]
    for metric in ("AP50 car", "mAP", "day/AP50 car", "night/AP car", "night/mAP50"):
        assert with_sets(make_document(tmp_path), *sets, best_metric=metric).best_metric == metric
    listed = "AP50 car, AP car, mAP50, mAP, day/AP50 car, day/AP car, day/mAP50, day/mAP, night/AP50 car, "
    for metric in ("dusk/AP50 car", "day/AP50 tram", "day"):
        with pytest.raises(ConfigError, match=f"schedule.best_metric must be one of {listed}"):
            with_sets(make_document(tmp_path), *sets, best_metric=metric)
    with pytest.raises(ConfigError, match=r"must be one of AP50 car, AP car, mAP50, mAP$"):
        with_sets(make_document(tmp_path), {"labels": "a"}, best_metric="a/AP50 car")


def test_a_file_to_start_from_is_written_either_way(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    configs = []
    for init in ("start.onnx", {"file": "start.onnx"}):
        document["model"]["init"] = init
        configs.append(TrainConfig.from_dict(document, "test"))
        assert document["model"]["init"] == init
    assert configs[0] == configs[1] and configs[0].model.init == "start.onnx"
    assert TrainConfig.from_dict(configs[1].to_dict(), "again") == configs[1]


@pytest.mark.parametrize(
    ("init", "expected"),
    [
        ("", ""),
        ("start.pt", "FOLDER/start.pt"),
        ("../up/start.onnx", "UP/up/start.onnx"),
        ("/abs/start.pt", "/abs/start.pt"),
        ("csp_nano_driving", "csp_nano_driving"),
        ("mine", "FOLDER/mine"),
    ],
)
def test_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, init: str, expected: str) -> None:
    folder = tmp_path / "recipes"
    folder.mkdir()
    document = make_document(tmp_path)
    document["model"]["init"] = init
    document["data"] |= {"root": "frames", "cache": "cache"}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
    for place, path in ((tmp_path, "recipes/recipe.yaml"), (folder, "recipe.yaml")):
        monkeypatch.chdir(place)
        config = TrainConfig.load(Path(path))
        assert config.model.init == expected.replace("FOLDER", str(folder)).replace("UP", str(tmp_path))
        assert (config.data.root, config.data.cache) == (str(folder / "frames"), str(folder / "cache"))
    del document["data"]["root"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
    assert TrainConfig.load(Path("recipe.yaml")).data.root == str(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": None}, r"recipe.yaml: data.train\[0\] \(kitti\): key 'labels' is missing; known: format, images"),
        ({"format": "voc"}, r"recipe.yaml: data.train\[0\]: unknown data format 'voc': use one of kitti"),
        ({"colour": "red"}, r"recipe.yaml: data.train\[0\] \(kitti\): unknown key 'colour'"),
    ],
)
def test_a_sources_missing_key_is_named_by_file_and_field(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    document = make_document(tmp_path)
    source = {**document["data"]["train"][0], **change}
    document["data"]["train"] = [{key: value for key, value in source.items() if value is not None}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(ConfigError, match=message):
        TrainConfig.load(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("anchors", [1, 2, 4])
def test_any_number_of_anchors(tmp_path: Path, anchors: int) -> None:
    document = make_document(tmp_path)
    document["model"]["anchors"] = [[[30, 20]] * anchors] * 3
    config = TrainConfig.from_dict(document, "test")
    assert [len(level) for level in config.model.anchors] == [anchors] * 3


@pytest.mark.parametrize("content", [None, "a: [1", "- 1"])
def test_an_unreadable_config_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        TrainConfig.load(path)


def test_a_config_reads_back_from_what_a_checkpoint_holds(tmp_path: Path) -> None:
    config = TrainConfig.from_dict(make_document(tmp_path, rate_schedule="step", rate_steps=[3, 4]), "test")
    assert TrainConfig.from_dict(config.to_dict(), "again") == config


@pytest.mark.parametrize(
    ("crop_size", "multi_scale", "sizes"),
    [
        ((64, 96), (1.0, 1.0), [(64, 96)]),
        ((512, 512), (0.75, 1.3125), [(side, side) for side in range(384, 673, 32)]),
        ((256, 640), (0.8, 1.2), [(224, 576), (256, 640), (288, 704)]),  # 560 and 720 are rounded
        ((640, 256), (1.0, 1.2), [(640, 256), (704, 288)]),
        ((96, 96), (0.1, 0.7), [(32, 32), (64, 64)]),
    ],
)
def test_training_sizes(
    crop_size: tuple[int, int], multi_scale: tuple[float, float], sizes: list[tuple[int, int]]
) -> None:
    assert training_sizes(ScheduleConfig(epochs=1, crop_size=crop_size, multi_scale=multi_scale)) == sizes


@pytest.mark.parametrize("recipe", sorted(ENGINES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_the_shipped_models_load(recipe: Path) -> None:
    assert TrainConfig.load(recipe).name == recipe.stem


@pytest.mark.parametrize("frames", [3712, 70_000], ids=["kitti", "bdd"])
def test_the_published_setting_counts_iterations_and_reaches_its_rate_steps(frames: int) -> None:
    schedule = TrainConfig.load(find_recipe("gaussian_yolov3_kitti")).schedule
    total = schedule.total_steps(frames // schedule.batch_size)
    assert total == 500_200  # max_batches of the official configuration
    rates = [rate_factor(step, total, schedule) for step in (1000, 399_999, 400_000, 449_999, 450_000, total)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_a_run_has_epochs_or_steps(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    document["schedule"]["steps"] = 5
    with pytest.raises(ConfigError, match="exclude each other"):
        TrainConfig.from_dict(document, "test.yaml")


@pytest.mark.parametrize("name", ["b7", "l0", "l1", "l2"])
def test_the_papers_classifier_training_is_a_recipe(name: str) -> None:
    """docs/paper_facts.md, section 4."""
    config = ClassifierConfig.load(find_recipe(f"noisy_student_{name}"))
    assert (config.model.backbone, config.schedule.epochs) == (f"efficientnet_{name}", 350)
    assert (config.noise.rand_augment_ops, config.noise.rand_augment_magnitude) == (2, 27)
    assert (config.noise.dropout, 1 - config.noise.stochastic_depth) == (0.5, 0.8)
    assert config.schedule.label_smoothing == 0.1


@pytest.mark.parametrize("preset", ["bdd", "kitti"])
def test_the_published_setting_is_a_recipe(preset: str) -> None:
    config = TrainConfig.load(find_recipe(f"gaussian_yolov3_{preset}"))
    assert config.name == f"gaussian_yolov3_{preset}"
    assert config.model.classes == PRESETS[preset].classes
    anchors = tuple((float(w), float(h)) for w, h in PRESETS[preset].anchors)
    assert config.model.anchors == (anchors[6:], anchors[3:6], anchors[:3])
    # The official values, see docs/paper_facts.md, section 1; the loss's defaults are official.
    schedule, augment = config.schedule, config.augment
    assert (schedule.optimizer, schedule.momentum, schedule.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (schedule.learning_rate, schedule.warmup_steps, schedule.warmup_power) == (1e-4, 1000, 4)
    assert (schedule.batch_size, schedule.normalise_by) == (64, "images")
    assert training_sizes(schedule) == [(side, side) for side in range(384, 673, 32)]
    assert (augment.jitter, augment.saturation, augment.exposure, augment.hue) == (0.3, 1.5, 1.5, 0.1)


@pytest.mark.slow
def test_a_step_of_the_published_network_from_darknet_weights(tmp_path: Path) -> None:
    # Like darknet53.conv.74, but only the first layer.
    kernels = np.random.default_rng(0).normal(size=(32, 3, 3, 3)).astype(np.float32)
    layer = ConvolutionWeights(np.zeros(32, np.float32), np.ones((3, 32), np.float32), kernels)
    write_weights(tmp_path / "darknet53.conv.1", Weights((layer,), (0, 2, 0), 0))
    config = TrainConfig.load(find_recipe("gaussian_yolov3_kitti"))
    small = replace(
        config,
        model=replace(config.model, init=str(tmp_path / "darknet53.conv.1")),
        schedule=replace(config.schedule, batch_size=1, accumulate=1, warmup_steps=0),
    )
    trainer = Trainer(DetectionTask(small))
    np.testing.assert_array_equal(trainer.model.state_dict()["backbone.darknet.layers.0.conv.weight"].numpy(), kernels)
    before = trainer.model.heads[0].weight.detach().clone()
    image = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)
    boxes, ids = np.array([[10, 12, 40, 50]], np.float32), np.array([0])
    losses = trainer.train_epoch([collate([Labelled(image, boxes, ids, np.ones((1, 4), np.float32))])])
    assert losses["positives"] == 1 and not torch.equal(before, trainer.model.heads[0].weight)


def test_recipes_by_name_and_by_path(tmp_path: Path) -> None:
    assert find_recipe("gaussian_yolov3_bdd") == FOLDER / "gaussian_yolov3_bdd.yaml"
    (tmp_path / "own.yaml").write_text("")
    assert find_recipe(str(tmp_path / "own.yaml")) == tmp_path / "own.yaml"
    with pytest.raises(
        ConfigError, match="own does not exist; by name there are gaussian_yolov3_bdd, gaussian_yolov3_"
    ):
        find_recipe("own")
