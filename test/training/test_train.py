"""Configs, checkpoints and a run that resumes to the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.training.checkpoint import CheckpointError, export_checkpoint, load_trained  # noqa: E402
from gaussian_yolo_node.training.config import ConfigError, TrainConfig  # noqa: E402
from gaussian_yolo_node.training.datasets import load_sources  # noqa: E402
from gaussian_yolo_node.training.loader import make_loader  # noqa: E402
from gaussian_yolo_node.training.train import CHECKPOINT, Trainer, TrainingError, run  # noqa: E402


def make_document(root: Path, **schedule: Any) -> dict[str, Any]:
    """A recipe for four synthetic images of one bright car each, written below `root`."""
    for name in ("image", "label"):
        (root / name).mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for index in range(4):
        image = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
        image[20:50, 20:70] = 230
        cv2.imwrite(str(root / "image" / f"{index:06}.png"), image)
        (root / "label" / f"{index:06}.txt").write_text("Car 0 0 0 20 20 70 50 1 1 1 1 1 1 1\n")
    source = {"format": "kitti", "images": "image", "labels": "label", "weight": 2}
    return {
        "name": "synthetic",
        "model": {
            "classes": ["car"],
            "anchors": [[[90, 60]] * 3, [[50, 30]] * 3, [[12, 12]] * 3],
            "input_size": [64, 96],
            "width": 16,
            "pretrained": False,
        },
        "data": {"root": str(root), "train": [source], "validation": []},
        "schedule": {
            "epochs": 2, "batch_size": 2, "crop_size": [64, 96], "workers": 0, "warmup_steps": 2, "autocast": False,
            "fast_depthwise": False,
            **schedule,
        },
    }  # fmt: skip


def make_trainer(config: TrainConfig) -> tuple[Trainer, Any, Any]:
    torch.manual_seed(config.schedule.seed)
    loader, sampler = make_loader(load_sources(Path(config.data.root), config.data.train, ["car"]), config)
    return Trainer(config, len(loader)), loader, sampler


def test_a_resumed_run_ends_on_the_same_weights(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    config = TrainConfig.from_dict(document, "test")
    straight, loader, sampler = make_trainer(config)
    for epoch in range(2):
        sampler.epoch = epoch
        straight.train_epoch(loader)
        if epoch == 0:
            straight.save(tmp_path / CHECKPOINT)
    resumed, loader, sampler = make_trainer(config)
    resumed.restore(tmp_path / CHECKPOINT)
    sampler.epoch = resumed.epoch
    resumed.train_epoch(loader)
    assert resumed.epoch == straight.epoch == 2
    for key, value in straight.average.state.items():
        assert torch.equal(value, resumed.average.state[key]), key


def test_the_command_trains_logs_and_resumes(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")
    document = make_document(tmp_path, epochs=1)
    document["data"]["validation"] = document["data"]["train"]
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(document))
    checkpoint = run(recipe, tmp_path / "out")
    assert list((tmp_path / "out" / "tensorboard").iterdir())
    trained = load_trained(checkpoint)
    assert trained.config == TrainConfig.load(recipe) and trained.epochs == 1
    assert trained.validation["epoch"] == 1 and 0 <= trained.validation["AP50 car"] <= 1
    card = export_checkpoint(checkpoint, tmp_path / "model.onnx")
    assert card.training["validation"] == trained.validation
    with Detector.open(tmp_path / "model.onnx") as detector:
        assert detector.card.classes == ("car",)
    assert run(recipe, tmp_path / "out", resume=True) == checkpoint  # nothing left to do


@pytest.mark.parametrize(("backbone", "neck"), [("mixnet_s", "light"), ("mobilenet_v2", "yolov3")])
def test_any_backbone_and_neck_train_and_export(tmp_path: Path, backbone: str, neck: str) -> None:
    document = make_document(tmp_path, epochs=1)
    document["model"] |= {"backbone": backbone, "neck": neck}
    trainer, loader, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    trainer.train_epoch(loader)
    trainer.save(tmp_path / CHECKPOINT)
    card = export_checkpoint(tmp_path / CHECKPOINT, tmp_path / "model.onnx")
    assert ("merged_mdconv" in card.deployment) == (backbone == "mixnet_s")
    with Detector.open(tmp_path / "model.onnx") as detector:
        detector(np.zeros((64, 96, 3), np.uint8))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    trainer, loader, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    with torch.no_grad():
        trainer.model.heads[0].weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite"):
        trainer.train_epoch(loader)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "damaged"), (b"PK\x03\x04 not really", "damaged")],
)
def test_unusable_checkpoints_are_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "last.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_trained(path)


def test_a_foreign_torch_file_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": torch.zeros(3)}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of this program"):
        load_trained(tmp_path / "foreign.pt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("model"), "section 'model' is missing"),
        (lambda d: d.update(models={}), "unknown section 'models'"),
        (lambda d: d["schedule"].update(epoch=3), "unknown field schedule.epoch"),
        (lambda d: d["schedule"].update(learning_rate="1e-3"), "schedule.learning_rate must be a number"),
        (lambda d: d["schedule"].update(crop_size=[100, 64]), "multiples of 32"),
        (lambda d: d["schedule"].update(epochs=0), "at least 1"),
        (lambda d: d["schedule"].pop("epochs"), "section schedule"),
        (lambda d: d["model"].update(anchors=[[[1, 2]]]), "three anchors a stride"),
        (lambda d: d.update(data=[1]), "data must be a mapping"),
    ],
)
def test_a_wrong_config_is_named(tmp_path: Path, change: Any, message: str) -> None:
    document = make_document(tmp_path)
    change(document)
    with pytest.raises(ConfigError, match=message):
        TrainConfig.from_dict(document, "recipe.yaml")


@pytest.mark.parametrize("content", [None, "a: [1", "- 1"])
def test_an_unreadable_config_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=r"recipe\.yaml"):
        TrainConfig.load(path)
