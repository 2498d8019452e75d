"""The training step and the state of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from training_runs import make_config, make_document, make_trainer  # noqa: E402

from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError  # noqa: E402
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.train import CHECKPOINT  # noqa: E402
from gaussian_yolo_node.lab.training.trainer import Trainer, TrainingError  # noqa: E402

STILL = {"scale": [1, 1], "aspect": 0, "hue": 0, "saturation": 1, "exposure": 1, "mosaic": 0}


def train(trainer: Trainer, loader: Any, sampler: Any, epochs: int) -> None:
    while trainer.epoch < epochs:
        sampler.epoch = trainer.epoch
        trainer.train_epoch(loader)


def test_eight_frames_are_learned_by_heart(tmp_path: Path) -> None:
    document = make_document(
        tmp_path, images=8, epochs=30, batch_size=8, learning_rate=3e-3, backbone_rate=1.0, warmup_steps=10,
        ema_decay=0.9,
    )  # fmt: skip
    document["augment"] = STILL
    document["data"]["validation"] = document["data"]["train"]
    trainer, loader, sampler = make_trainer(TrainConfig.from_dict(document, "test"))
    train(trainer, loader, sampler, 30)
    trainer.validate()
    assert trainer.validation["AP50 car"] >= 0.99
    assert trainer.validation["AP car"] >= 0.9  # at IoU 0.7


def test_a_resumed_run_ends_on_the_same_weights(tmp_path: Path) -> None:
    after = 3
    config = make_config(tmp_path, multi_scale=[0.5, 1.5], optimizer="sgd", rate_schedule="constant")
    straight, loader, sampler = make_trainer(config)
    losses = []
    for epoch in range(2):
        sampler.epoch = epoch
        for step in straight.steps(loader):
            losses.append(step)
            if straight.step == after:
                straight.save(tmp_path / CHECKPOINT)
        straight.finish_epoch()
    assert sampler.steps == 4
    resumed, loader, sampler = make_trainer(config)
    torch.rand(7)  # another state of the generator
    resumed.restore(tmp_path / CHECKPOINT)
    again = []
    while resumed.epoch < 2:
        sampler.epoch, sampler.start = resumed.epoch, resumed.done
        again += list(resumed.steps(loader))
        resumed.finish_epoch()
        resumed.done = 0
    assert again == losses[after:] and len(losses) == 8
    for key, value in straight.average.state.items():
        assert torch.equal(value, resumed.average.state[key]), key


def test_within_an_epoch_of_another_length_there_is_no_going_on(tmp_path: Path) -> None:
    trainer, loader, _ = make_trainer(make_config(tmp_path))
    next(trainer.steps(loader))
    trainer.save(tmp_path / CHECKPOINT)
    other, _, _ = make_trainer(make_config(tmp_path, batch_size=4))
    with pytest.raises(CheckpointError, match="an epoch of 4 steps"):
        other.restore(tmp_path / CHECKPOINT)


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    trainer, _, _ = make_trainer(make_config(tmp_path))
    trainer.save(tmp_path / CHECKPOINT)
    document = make_document(tmp_path)
    document["model"]["width"] = 24
    other, _, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    with pytest.raises(CheckpointError, match="start anew"):
        other.restore(tmp_path / CHECKPOINT)


@pytest.mark.parametrize("normalise_by", ["positives", "images"])
def test_a_step_in_parts_is_the_step_of_the_whole_batch(tmp_path: Path, normalise_by: str) -> None:
    results = []
    for accumulate in (1, 4):
        # Frozen, because the parts of a step have separate batch-norm statistics.
        config = make_config(
            tmp_path, batch_size=4, accumulate=accumulate, optimizer="sgd", normalise_by=normalise_by,
            freeze_batch_norm=True, warmup_steps=0, learning_rate=1e-2,
        )  # fmt: skip
        trainer, loader, _ = make_trainer(config)
        assert trainer.steps_per_epoch == 2
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        losses = trainer.train_epoch(loader)
        results.append((trainer.model.state_dict(), losses))
    (whole, losses), (parts, losses_of_parts) = results
    assert losses_of_parts == pytest.approx(losses, rel=1e-4)
    assert not torch.equal(whole["heads.0.weight"], before["heads.0.weight"])
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize(("spoil", "what"), [("loss", "the loss"), ("gradient", "the gradient")])
def test_what_is_not_finite_stops_the_run_and_is_kept(tmp_path: Path, spoil: str, what: str) -> None:
    trainer, loader, _ = make_trainer(make_config(tmp_path), output=tmp_path)
    steps = trainer.steps(loader)
    next(steps)
    head = trainer.model.heads[0]
    if spoil == "loss":
        with torch.no_grad():
            head.weight.fill_(math.nan)
    else:
        head.weight.register_hook(lambda gradient: gradient * math.inf)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with pytest.raises(TrainingError, match=rf"{what} is not finite at epoch 0, step 1.* {tmp_path}/nonfinite\.pt"):
        next(steps)
    kept = torch.load(tmp_path / "nonfinite.pt", weights_only=True)
    assert (kept["epoch"], kept["step"]) == (0, 1)
    batch = list(loader)[1]
    (saved,) = kept["batches"]
    assert torch.equal(saved["images"], batch.images) and saved["files"] == batch.files
    assert all(torch.equal(a, b) for a, b in zip(saved["boxes"], batch.boxes, strict=True))
    assert all(Path(file).is_file() for files in saved["files"] for file in files)
    assert len(before) == len(kept["model"])
    for name, value in before.items():
        torch.testing.assert_close(kept["model"][name], value, rtol=0, atol=0, equal_nan=True)
    assert TrainConfig.from_dict(kept["config"], "kept") == trainer.config


def test_frozen_parts_stay_as_they_are(tmp_path: Path) -> None:
    trainer, loader, _ = make_trainer(make_config(tmp_path, frozen=["backbone."]))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_epoch(loader)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("backbone.") for name in moved)


@pytest.mark.parametrize(("frozen", "message"), [(["spine."], "no parameter's name begins"), ([""], "no parameter to")])
def test_freezing_what_is_not_there(tmp_path: Path, frozen: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_trainer(make_config(tmp_path, frozen=frozen))


def test_frozen_batch_norms_keep_their_statistics(tmp_path: Path) -> None:
    trainer, loader, _ = make_trainer(make_config(tmp_path, freeze_batch_norm=True))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train_epoch(loader)
    moved = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert any("backbone." in name for name in moved) and not any("running" in name for name in moved)


def test_the_best_validation_is_known_and_what_came_since(tmp_path: Path) -> None:
    trainer, _, _ = make_trainer(make_config(tmp_path))
    outcomes = []
    for epoch, value in enumerate((0.2, 0.5, 0.5, 0.4, 0.6)):
        trainer.epoch, trainer.validation = epoch, {"AP50 car": value, "mAP50": 0.0}
        outcomes.append((trainer.is_best(), trainer.stale))
    assert outcomes == [(True, 0), (True, 0), (False, 1), (False, 2), (True, 0)]
    assert trainer.best == {"value": 0.6, "epoch": 4}
    trainer.validation = {"AP50 pedestrian": 1.0}
    with pytest.raises(TrainingError, match="no 'AP50 car', only AP50 pedestrian"):
        trainer.is_best()


def test_a_run_starts_from_the_weights_that_fit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained, _, _ = make_trainer(make_config(tmp_path))
    trained.save(tmp_path / "first.pt")
    document = make_document(tmp_path, seed=1)
    document["model"] |= {"classes": ["car", "pedestrian"], "init": str(tmp_path / "first.pt")}
    with caplog.at_level("INFO", "gaussian_yolo.train"):
        fine, _, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    assert "fresh are heads.0.bias, heads.0.weight, heads.1.bias .." in caplog.text
    for name, value in fine.model.state_dict().items():
        if not name.startswith("heads."):
            assert torch.equal(value, trained.average.state[name]), name


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"init": "none.pt"}, "none.pt does not exist"),
        (
            {"init": "darknet53.conv.74"},
            r"conv.74 is neither a checkpoint \(.pt\) nor a model file \(.onnx\), and only backbone darknet53 takes",
        ),
        ({"init": "first.pt", "backbone": "darknet53", "neck": "yolov3", "width": 12}, "no weight of .*first.pt fits"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    trained, _, _ = make_trainer(make_config(tmp_path))
    trained.save(tmp_path / "first.pt")
    (tmp_path / "darknet53.conv.74").write_bytes(b"weights")
    document = make_document(tmp_path)
    document["model"] |= {**model, "init": str(tmp_path / model["init"])}
    with pytest.raises(CheckpointError, match=message):
        make_trainer(TrainConfig.from_dict(document, "test"))


def test_a_noised_network_repeats_and_is_still_in_evaluation(tmp_path: Path) -> None:
    """Stochastic depth and dropout are seeded by the step, so resumed runs are reproducible; a teacher has neither."""
    document = make_document(tmp_path, batch_size=4)
    document["model"] |= {"stochastic_depth": 0.5, "dropout": 0.3}
    config = TrainConfig.from_dict(document, "test")
    first, second = (make_trainer(config) for _ in range(2))
    losses = [trainer.train_epoch(loader) for trainer, loader, _ in (first, second)]
    assert losses[0] == losses[1]
    model, image = first[0].model, torch.full((1, 3, 64, 96), 90.0)
    with torch.no_grad():
        assert not torch.equal(model(image)[0], model(image)[0])
        model.eval()
        assert torch.equal(model(image)[0], model(image)[0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"stochastic_depth": 1.0}, "model.stochastic_depth must be a number at least 0 and below 1, not 1.0"),
        ({"dropout": -0.1}, "model.dropout must be a number at least 0 and below 1, not -0.1"),
        (
            {"backbone": "darknet53", "stochastic_depth": 0.2, "pretrained": False},
            "darknet53 has no choice of stochastic_depth: leave it out",
        ),
    ],
)
def test_noise_that_cannot_be(tmp_path: Path, model: dict[str, Any], message: str) -> None:
    document = make_document(tmp_path)
    document["model"] |= model
    with pytest.raises(GaussianYoloError, match=message):
        make_trainer(TrainConfig.from_dict(document, "test"))
