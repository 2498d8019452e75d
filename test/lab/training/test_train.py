"""Complete runs: outputs, stopping, killing and resuming."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra 'train')")

from training_runs import make_document, make_trainer  # noqa: E402

from gaussian_yolo_node.detector.detector import Detector  # noqa: E402
from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.files import file_hash  # noqa: E402
from gaussian_yolo_node.lab.fixres import FixRes, fixres  # noqa: E402
from gaussian_yolo_node.lab.training.checkpoint import (  # noqa: E402
    CheckpointError,
    WeightAverage,
    export_checkpoint,
    load_trained,
    read_checkpoint,
)
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.loop import RunExistsError  # noqa: E402
from gaussian_yolo_node.lab.training.progress import HISTORY  # noqa: E402
from gaussian_yolo_node.lab.training.train import BEST, CHECKPOINT, run  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[3]
EVERY_STEP = 1e-6  # minutes


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums are reproducible across processes only with the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_recipe(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def with_validation(document: dict[str, Any]) -> dict[str, Any]:
    document["data"]["validation"] = document["data"]["train"]
    return document


def start(recipe: Path, output: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gaussian_yolo_node.commands", "train", str(recipe), "-o", str(output), *options]
    return subprocess.Popen(
        [*command, "--threads", "1"], env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)


def interrupt_after(file: Path) -> None:
    """Send this process SIGINT, like Ctrl-C, once `file` exists."""

    def interrupt() -> None:
        while not file.is_file():
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt, daemon=True).start()


def read_history(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / HISTORY).read_text().splitlines()]


def test_a_recipe_names_every_file_that_is_missing(tmp_path: Path) -> None:
    document = make_document(tmp_path)
    document["data"]["train"].append({"format": "coco_txt", "folder": "photographs"})
    document["data"]["validation"] = [{"format": "kitti", "images": "image", "labels": "truth"}]
    document["model"]["init"] = {"file": "start.onnx"}
    with pytest.raises(ConfigError) as caught:
        run(write_recipe(tmp_path, document), tmp_path / "out")
    for name in ("photographs", "truth", f"model.init {tmp_path / 'start.onnx'}"):
        assert name in str(caught.value)
    assert str(tmp_path / "image") not in str(caught.value)


@pytest.mark.usefixtures("one_thread")
def test_a_run_that_is_stopped_then_killed_has_the_losses_of_one_that_is_not(tmp_path: Path) -> None:
    document = make_document(
        tmp_path, epochs=2, images=5, checkpoint_minutes=EVERY_STEP, multi_scale=[0.5, 1.5], workers=1
    )
    recipe = write_recipe(tmp_path, with_validation(document))
    checkpoint = tmp_path / "out" / CHECKPOINT

    interrupt_after(checkpoint)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "out")
    position = read_checkpoint(checkpoint)["step"]
    assert 0 < position < 5  # within the first epoch

    killed = start(recipe, tmp_path / "out", "--resume")
    written = checkpoint.stat().st_mtime_ns
    wait_for(lambda: checkpoint.stat().st_mtime_ns != written, killed)
    killed.kill()
    killed.communicate(timeout=60)
    assert read_checkpoint(checkpoint)["step"] > position

    document["schedule"]["checkpoint_minutes"] = 0.0
    recipe = write_recipe(tmp_path, document)
    run(recipe, tmp_path / "out", resume=True)
    run(recipe, tmp_path / "straight")
    assert [line["kind"] for line in read_history(tmp_path / "straight")] == ["train", "train", "validation"]
    assert read_history(tmp_path / "out") == read_history(tmp_path / "straight")
    weights, expected = (read_checkpoint(tmp_path / name / CHECKPOINT)["ema"] for name in ("out", "straight"))
    assert all(torch.equal(weights[key], value) for key, value in expected.items())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe and the checkpoint of its run with seed 5."""
    root = tmp_path_factory.mktemp("finished")
    recipe = write_recipe(root, with_validation(make_document(root, images=2, epochs=1)))
    return recipe, run(recipe, root / "out", seed=5)


def test_the_command_trains_logs_and_resumes(finished: tuple[Path, Path], tmp_path: Path) -> None:
    recipe, checkpoint = finished
    output = checkpoint.parent
    assert list((output / "tensorboard").iterdir())
    trained = load_trained(checkpoint)
    assert trained.config.schedule.seed == 5 and trained.config.model == TrainConfig.load(recipe).model
    assert trained.epochs == trained.validation["epoch"] == 1 and 0 <= trained.validation["AP50 car"] <= 1
    assert load_trained(output / BEST).validation == trained.validation
    card = export_checkpoint(checkpoint, tmp_path / "model.onnx")
    assert card.training["validation"] == trained.validation
    with Detector.open(tmp_path / "model.onnx") as detector:
        assert detector.card.classes == ("car",)
    written = checkpoint.stat().st_mtime_ns
    assert run(recipe, output, resume=True) == checkpoint  # already finished
    assert checkpoint.stat().st_mtime_ns == written


def test_a_run_is_never_overwritten(finished: tuple[Path, Path]) -> None:
    recipe, checkpoint = finished
    output = checkpoint.parent
    before = {path: file_hash(path) for path in sorted(output.rglob("*"))}
    for again in (lambda: run(recipe, output), lambda: fixres(checkpoint, recipe, FixRes((96, 128)), output)):
        with pytest.raises(RunExistsError, match=r"out holds a run already \(last.pt\): add --resume"):
            again()
        assert {path: file_hash(path) for path in sorted(output.rglob("*"))} == before


@pytest.mark.parametrize("done", [1, 2], ids=["within an epoch", "at the end of an epoch"])
def test_an_interruption_within_a_step_ends_with_that_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    recipe = write_recipe(tmp_path, make_document(tmp_path, images=2, epochs=3))
    update = WeightAverage.update

    def interrupted(average: WeightAverage, model: Any) -> None:
        update(average, model)
        if average.updates == done:  # the last that a step does
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(WeightAverage, "update", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(recipe, tmp_path / "out")
    assert read_checkpoint(tmp_path / "out" / CHECKPOINT)["step"] == done


def test_it_stops_when_validation_gets_no_better(tmp_path: Path) -> None:
    # With learning rate 0 no validation is better than the first.
    document = make_document(
        tmp_path, images=1, epochs=50, validate_every=1, patience=2, learning_rate=0.0, ema_decay=0.0,
        freeze_batch_norm=True,
    )  # fmt: skip
    recipe = write_recipe(tmp_path, with_validation(document))
    run(recipe, tmp_path / "out")
    assert read_checkpoint(tmp_path / "out" / CHECKPOINT)["epoch"] == 3
    assert read_checkpoint(tmp_path / "out" / BEST)["epoch"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["data"].update(validation=[{"format": "bdd", "images": "a", "labels": "b"}]),
            "data.validation: a source has format 'bdd'",
        ),
        (lambda d: d["data"]["train"][0].update(images="gone"), "gone"),
        (lambda d: d["schedule"].update(workers=1), "000002.png is not a readable image"),
    ],
)
def test_a_run_that_cannot_be_says_why_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    document = make_document(tmp_path)
    (tmp_path / "image" / "000002.png").write_bytes(b"cut short")
    change(document)
    with pytest.raises(GaussianYoloError) as error:
        run(write_recipe(tmp_path, document), tmp_path / "out")
    assert message in str(error.value) and "\n" not in str(error.value)


def test_cuda_is_asked_for_where_there_is_none(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ConfigError, match="no CUDA device"):
        run(write_recipe(tmp_path, make_document(tmp_path)), tmp_path / "out", device="cuda")


@pytest.mark.parametrize(
    ("backbone", "neck"),
    [
        ("mixnet_s", "light"),
        pytest.param("mobilenet_v2", "yolov3", marks=pytest.mark.slow),
        ("csp_darknet_nano", "csp"),
    ],
)
def test_any_backbone_and_neck_train_and_export(tmp_path: Path, backbone: str, neck: str) -> None:
    document = make_document(tmp_path, images=1, epochs=1)
    document["model"] |= {"backbone": backbone, "neck": neck}
    trainer, loader, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    trainer.train_epoch(loader)
    trainer.save(tmp_path / CHECKPOINT)
    card = export_checkpoint(tmp_path / CHECKPOINT, tmp_path / "model.onnx")
    assert ("merged_mdconv" in card.deployment) == (backbone == "mixnet_s")
    with Detector.open(tmp_path / "model.onnx") as detector:
        detector(np.zeros((64, 96, 3), np.uint8))


@pytest.mark.slow
def test_a_detector_on_efficientnet_l0_takes_a_step(tmp_path: Path) -> None:
    document = make_document(tmp_path, images=1, epochs=1, optimizer="sgd", warmup_steps=0)
    document["model"]["backbone"] = "efficientnet_l0"
    document["data"]["train"][0]["weight"] = 2
    trainer, loader, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    stem = trainer.model.backbone.conv_stem.weight
    before = stem.detach().clone()
    means = trainer.train_epoch(loader)
    assert trainer.step == 1 and all(map(math.isfinite, means.values()))
    assert not torch.equal(stem, before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_starts_from_a_model_file_in_the_data_and_is_validated_on_two_sets(tmp_path: Path) -> None:
    document = make_document(tmp_path, epochs=1, batch_size=4)
    document["model"] |= {"backbone": "csp_darknet_nano", "neck": "csp", "activation": "hard_swish"}
    document["model"]["anchors"] = [[[50, 30]]] * 3
    trainer, _, _ = make_trainer(TrainConfig.from_dict(document, "test"))
    trainer.save(tmp_path / "first.pt")
    export_checkpoint(tmp_path / "first.pt", tmp_path / "first.onnx")
    (source,) = document["data"]["train"]
    even, odd = (
        {"name": name, **source, "include": [f"*[{digits}]"]} for name, digits in (("even", "02"), ("odd", "13"))
    )
    document["data"]["validation"] = [even, odd]
    document["schedule"] |= {"best_metric": "odd/AP50 car", "learning_rate": 0.0}
    document["model"]["init"] = {"file": "first.onnx"}
    checkpoint = run(write_recipe(tmp_path, document), tmp_path / "out")
    trained = load_trained(checkpoint)
    kinds = {"AP50 car", "AP car", "mAP50", "mAP"}
    assert trained.validation.keys() == {
        "epoch",
        *kinds,
        *(f"{name}/{kind}" for name in ("even", "odd") for kind in kinds),
    }
    for kind in kinds:
        of_sets = [trained.validation[f"{name}/{kind}"] for name in ("even", "odd")]
        assert trained.validation[kind] == pytest.approx(sum(of_sets) / 2)
    assert load_trained(tmp_path / "out" / BEST).validation == trained.validation
    # Nothing was learned, so the weights are those of the file.
    for ours, theirs in zip(trained.model.heads, trainer.model.heads, strict=True):
        assert torch.equal(ours.boxes.weight, theirs.boxes.weight)
    assert run(write_recipe(tmp_path, document), tmp_path / "out", resume=True) == checkpoint


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist"), (b"", "damaged"), (b"PK\x03\x04 not really", "damaged")]
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
