"""Classifiers learn, stop and resume; the loss is the paper's; a teacher has no noise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

import torch
from classifier_runs import CLASSES, make_config, make_document, make_picture, make_pictures, make_pseudo

from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.lab.classification.checkpoint import (
    ClassifierTeacher,
    build_network,
    load_classifier,
    read_classifier,
)
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.crops import as_tensor
from gaussian_yolo_node.lab.classification.evaluate import evaluate
from gaussian_yolo_node.lab.classification.task import student_loss
from gaussian_yolo_node.lab.classification.train import CHECKPOINT, train_classifier
from gaussian_yolo_node.lab.networks.blocks import IMAGENET
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, load_trained, write_checkpoint
from gaussian_yolo_node.lab.training.loop import RunExistsError
from gaussian_yolo_node.lab.training.progress import HISTORY
from gaussian_yolo_node.lab.training.trainer import Trainer, TrainingError


def noisy_config(root: Path, **schedule: Any) -> ClassifierConfig:
    """The config of a student with pseudo labels, all noise and a validation."""
    if not (root / "pseudo").exists():
        make_pseudo(root / "pseudo")
    data = {"pseudo": "pseudo/selected.json", "validation": "train"}
    return make_config(root, data=data, schedule={"unlabelled_ratio": 1.5, **schedule})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A checkpoint that distinguishes dark from light images, and its data."""
    root = tmp_path_factory.mktemp("teacher")
    schedule = {"epochs": 60, "batch_size": 12, "learning_rate": 0.01, "ema_decay": 0.8}
    noise = {"enabled": False, "least_crop": 0.7}
    config = make_config(root, model={"backbone": "mobilenet_v1"}, schedule=schedule, noise=noise)
    return train_classifier(config, root / "out", device="cpu"), root / "train"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[ClassifierConfig, Path]:
    """A student's recipe and the checkpoint of its uninterrupted run."""
    root = tmp_path_factory.mktemp("whole")
    config = noisy_config(root)
    return config, train_classifier(config, root / "whole")


def test_a_classifier_learns(teacher: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, _ = teacher
    fresh = make_pictures(tmp_path / "fresh", 4)
    assert evaluate(checkpoint, fresh) == {"top1": 1.0, "top5": 1.0, "images": 8.0}
    assert evaluate(checkpoint, fresh, size=48)["images"] == 8.0


def test_a_teacher_is_not_noised_and_says_the_same_again(teacher: tuple[Path, Path]) -> None:
    checkpoint, _ = teacher
    one, other = ClassifierTeacher(checkpoint), ClassifierTeacher(checkpoint)
    assert not any(module.training for module in one.classifier.model.modules())
    assert one.kind == "classification" and one.classes == CLASSES and one.name == "synthetic"
    assert one.hash == file_hash(checkpoint)
    picture = make_picture(0, 77)
    threads = torch.get_num_threads()
    first = one.label(picture)["probabilities"]
    torch.manual_seed(5)
    np.testing.assert_array_equal(first, one.label(picture)["probabilities"])
    np.testing.assert_array_equal(first, other.label(picture)["probabilities"])
    assert torch.get_num_threads() == threads
    assert first.dtype == np.float32 and first.shape == (2,) and abs(first.sum() - 1) < 1e-6 and first.argmax() == 0
    one.close()


@pytest.mark.parametrize("labelled", [0, 1, 3, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_a_float64_references(labelled: int, smoothing: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (5, 4))
    targets = rng.dirichlet([0.5] * 4, 5)
    targets[:labelled] = np.eye(4)[rng.integers(4, size=labelled)]
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    smooth = targets.copy()
    smooth[:labelled] = targets[:labelled] * (1 - smoothing) + smoothing / 4
    rows = -(smooth * logs).sum(1)
    known, pseudo = student_loss(torch.tensor(logits), torch.tensor(targets), labelled, smoothing)
    np.testing.assert_allclose([known, pseudo], [rows[:labelled].sum(), rows[labelled:].sum()], rtol=1e-12)


def test_labels_alone_are_smoothed_cross_entropy() -> None:
    logits, classes = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 2, 1, 0])
    one_hot = torch.nn.functional.one_hot(classes, 3).double()
    known, pseudo = student_loss(logits, one_hot, 6, 0.1)
    wanted = torch.nn.functional.cross_entropy(logits, classes, label_smoothing=0.1, reduction="sum")
    torch.testing.assert_close(known, wanted)
    assert pseudo == 0


def test_a_student_that_says_what_its_teacher_says_has_no_gradient() -> None:
    # Hence the noise (section 4.2 of the paper).
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    student_loss(logits, logits.detach().softmax(1), 0, 0.1)[1].backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("enabled", [True, False])
def test_without_noise_nothing_in_the_network_is_random(tmp_path: Path, enabled: bool) -> None:
    config = make_config(tmp_path, noise={"enabled": enabled, "dropout": 0.5, "stochastic_depth": 0.5})
    model = build_network(config, len(CLASSES)).train()
    image = torch.randn(8, 3, 32, 32)
    torch.manual_seed(0)
    one = model(image)
    torch.manual_seed(1)
    assert torch.equal(one, model(image)) != enabled


def test_the_batch_is_averaged_over_labels_and_pseudo_labels(whole: tuple[ClassifierConfig, Path]) -> None:
    _, checkpoint = whole
    line = (checkpoint.parent / HISTORY).read_text().splitlines()[0]
    means = json.loads(line)
    # 4 labelled and 6 unlabelled images.
    assert means["loss"] == pytest.approx(0.4 * means["labelled"] + 0.6 * means["unlabelled"], rel=1e-6)
    assert load_classifier(checkpoint).validation.keys() == {"top1", "top5"}


def same(one: Path, other: Path) -> None:
    a, b = read_classifier(one), read_classifier(other)
    assert a["step"] == b["step"] and a["validation"] == b["validation"]
    for kind in ("model", "ema"):
        assert all(torch.equal(value, b[kind][name]) for name, value in a[kind].items())
    for key, state in a["optimizer"]["state"].items():
        assert all(torch.equal(value, b["optimizer"]["state"][key][name]) for name, value in state.items())


def write_as_before_the_common_loop(path: Path) -> None:
    """Rewrite a checkpoint in the format of the classifiers' former own loop."""
    document = read_classifier(path)
    document["seen"] = document.pop("done")
    document["epoch"] = document["step"] / document["steps_per_epoch"]
    document["validation"] = {name: value for name, value in document["validation"].items() if name != "epoch"}
    for name in ("scaler", "best", "stale"):
        del document[name]
    for name in ("nesterov", "backbone_rate", "rate_schedule", "rate_steps", "rate_decay", "warmup_power", "patience"):
        del document["config"]["schedule"][name]
    write_checkpoint(path, document)


# Within an epoch, at the end of one, at the end.
@pytest.mark.parametrize(
    ("stop", "old"),
    [
        (2, False),
        (3, False),
        pytest.param(6, False, marks=pytest.mark.slow),
        (2, True),
        pytest.param(6, True, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_uninterrupted_one(
    whole: tuple[ClassifierConfig, Path], tmp_path: Path, stop: int, old: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, checkpoint = whole
    step = Trainer._step

    def interrupted(self: Trainer, parts: Any) -> Any:
        self.stop_requested = self.step + 1 == stop
        return step(self, parts)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(config, tmp_path / "parts")
    assert read_classifier(tmp_path / "parts" / CHECKPOINT)["step"] == stop
    if old:
        write_as_before_the_common_loop(tmp_path / "parts" / CHECKPOINT)
        assert load_classifier(tmp_path / "parts" / CHECKPOINT).epochs == stop / 3
    resumed = train_classifier(config, tmp_path / "parts", resume=True)
    same(checkpoint, resumed)
    history = [(path.parent / HISTORY).read_text() for path in (checkpoint, resumed)]
    assert history[0] == history[1] and history[0].count("\n") == 3
    same(checkpoint, train_classifier(config, tmp_path / "parts", resume=True))  # already finished


def test_a_seed_gives_one_result_and_another_seed_another(tmp_path: Path) -> None:
    config = noisy_config(tmp_path, epochs=0.5)
    one, again = (train_classifier(config, tmp_path / name) for name in ("one", "again"))
    same(one, again)
    other = train_classifier(config.seeded(9), tmp_path / "other")
    assert not torch.equal(
        read_classifier(one)["ema"]["classifier.weight"], read_classifier(other)["ema"]["classifier.weight"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": {"batch_size": 6}}, "other data or another batch size"),
        ({"model": {"classes": ["light", "dark"]}}, "other data or another batch size"),
        ({"model": {"options": {"width": 0.35}}}, "does not fit this recipe"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    whole: tuple[ClassifierConfig, Path], changes: dict[str, Any], message: str
) -> None:
    config, checkpoint = whole
    other = make_config(Path(config.data.root), **changes)
    with pytest.raises(CheckpointError, match=message):
        train_classifier(other, checkpoint.parent, resume=True)


def test_a_run_is_never_overwritten(whole: tuple[ClassifierConfig, Path]) -> None:
    config, checkpoint = whole
    before = {path: file_hash(path) for path in sorted(checkpoint.parent.rglob("*"))}
    with pytest.raises(RunExistsError, match="holds a run already"):
        train_classifier(config, checkpoint.parent)
    assert {path: file_hash(path) for path in sorted(checkpoint.parent.rglob("*"))} == before


def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path) -> None:
    config = make_config(tmp_path, schedule={"learning_rate": 1e30, "warmup_steps": 0, "epochs": 20})
    with pytest.raises(TrainingError, match=r"not finite at epoch \d+, step \d+ of it.*or lower schedule"):
        train_classifier(config, tmp_path / "out")


def test_a_student_may_begin_with_its_teacher(teacher: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, _ = teacher
    network = {"backbone": "mobilenet_v1", "init": str(checkpoint)}
    config = make_config(tmp_path, model=network, schedule={"epochs": 0.1, "learning_rate": 1e-9})
    student = load_classifier(train_classifier(config, tmp_path / "out")).model.state_dict()
    given = load_classifier(checkpoint).model.state_dict()
    torch.testing.assert_close(student["classifier.weight"], given["classifier.weight"])
    other = replace(config, model=replace(config.model, options={"width": 0.1, "kernels": "5"}))
    train_classifier(other, tmp_path / "other")  # loads what matches
    foreign = replace(config, model=replace(config.model, backbone="mixnet_s", options={}))
    with pytest.raises(CheckpointError, match="no weight of"):
        train_classifier(foreign, tmp_path / "foreign")


def test_files_that_are_no_classifiers(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist"):
        load_classifier(tmp_path / "no.pt")
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04")
    with pytest.raises(CheckpointError, match="damaged"):
        load_classifier(tmp_path / "cut.pt")
    torch.save({"config": {}, "epoch": 1, "ema": {}}, tmp_path / "detector.pt")
    with pytest.raises(CheckpointError, match="of a detector"):
        load_classifier(tmp_path / "detector.pt")
    config = make_config(tmp_path)
    empty = {"classifier": {"classes": list(CLASSES)}, "config": config.to_dict(), "epoch": 1, "ema": {}}
    write_checkpoint(tmp_path / "empty.pt", empty)
    with pytest.raises(CheckpointError, match="do not fit its config"):
        load_classifier(tmp_path / "empty.pt")
    with pytest.raises(CheckpointError, match="of a classifier, not of a detector"):
        load_trained(tmp_path / "empty.pt")


def test_pictures_are_normalised_as_their_backbone_wants() -> None:
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 2] = 255  # red
    pixels = IMAGENET(as_tensor([picture]).float())[0]
    np.testing.assert_allclose(
        pixels[:, 0, 0], (np.array([1, 0, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], rtol=1e-5
    )


def test_a_grey_picture_is_read_as_colour(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "train")
    cv2.imwrite(str(root / "dark" / "0.png"), make_picture(0, 0)[..., 0])
    document = make_document(tmp_path, schedule={"epochs": 0.1})
    train_classifier(ClassifierConfig.from_dict(document, "r"), tmp_path / "out")
