"""Lookup and loading of initial weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")

from factories import make_model  # noqa: E402
from torch import Tensor  # noqa: E402
from training_runs import SIZE, make_document  # noqa: E402

from gaussian_yolo_node.detector.model import ModelCard  # noqa: E402
from gaussian_yolo_node.errors import GaussianYoloError  # noqa: E402
from gaussian_yolo_node.lab.export.onnx import export_model  # noqa: E402
from gaussian_yolo_node.lab.networks.folded import FoldedWeightsError  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo  # noqa: E402
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, network_of  # noqa: E402
from gaussian_yolo_node.lab.training.config import ModelConfig, TrainConfig  # noqa: E402
from gaussian_yolo_node.lab.training.initialise import find_start, initial_model  # noqa: E402


def model_config(root: Path, **changes: Any) -> ModelConfig:
    document = make_document(root)
    document["model"] |= {"backbone": "csp_darknet_nano", "neck": "csp", **changes}
    return TrainConfig.from_dict(document, "test").model


def export(config: ModelConfig, path: Path) -> GaussianYolo:
    """Export a network of the recipe; returns the network."""
    torch.manual_seed(5)
    model = network_of(config).eval()
    card = ModelCard(path.stem, config.classes, config.anchors, STRIDES, SIZE)
    export_model(model, card, path)
    return model


def frames() -> Iterator[Tensor]:
    for seed in range(2):
        yield torch.randint(0, 256, (2, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def heads_of(model: GaussianYolo) -> list[Tensor]:
    with torch.no_grad():
        return list(model.eval()(next(frames()).float()))


@pytest.mark.parametrize("name", ["csp_nano_driving", "efficientnet_lite0_kitti"])
def test_a_start_may_be_a_shipped_model(name: str) -> None:
    assert find_start(name).name == f"{name}.onnx"


@pytest.mark.parametrize("name", ["start.onnx", "start.pt", "darknet53.conv.74", "a folder"])
def test_a_start_that_is_nowhere_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a folder").mkdir()
    config = replace(model_config(tmp_path), init=name)
    with pytest.raises(CheckpointError, match=f"^model.init {name} does not exist; shipped models are csp_nano"):
        initial_model(config)


def test_a_model_file_is_started_from(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = model_config(tmp_path, init={"file": str(tmp_path / "start.onnx")})
    expected = heads_of(export(config, tmp_path / "start.onnx"))
    torch.manual_seed(9)
    with caplog.at_level("INFO", "gaussian_yolo.train"):
        model = initial_model(config, frames)
    assert "110 convolutions from " in caplog.text and "start.onnx" in caplog.text
    for found, wanted in zip(heads_of(model), expected, strict=True):
        assert torch.allclose(found, wanted, atol=1e-4)
    # Unfolded: batch norms have statistics.
    assert not any(value.eq(0).all() for name, value in model.state_dict().items() if name.endswith("running_mean"))


@pytest.mark.parametrize("init", ["", "start.pt"])
def test_frames_are_asked_for_only_where_norms_are_unfolded(tmp_path: Path, init: str) -> None:
    config = model_config(tmp_path, init=init and str(tmp_path / init))
    if init:
        torch.save({"config": {}, "epoch": 0, "ema": network_of(config).state_dict()}, tmp_path / init)

    def refuse() -> Iterator[Tensor]:
        raise AssertionError("nothing is to be measured")

    initial_model(config, refuse)


def test_with_a_start_imagenets_weights_are_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    monkeypatch.setattr("gaussian_yolo_node.lab.networks.gaussian_yolo.load_pretrained_lite0", loaded.append)
    config = model_config(tmp_path, backbone="efficientnet_lite0", neck="light", pretrained=True)
    assert len(loaded) == 0 and initial_model(config) and len(loaded) == 1
    torch.save({"config": {}, "epoch": 0, "ema": network_of(config).state_dict()}, tmp_path / "start.pt")
    initial_model(replace(config, init=str(tmp_path / "start.pt")))
    assert len(loaded) == 1
    # Other backbones have no ImageNet weights, which is irrelevant with `init`.
    other = replace(config, backbone="csp_darknet_nano", neck="csp")
    with pytest.raises(GaussianYoloError, match="no ImageNet weights for csp_darknet_nano"):
        initial_model(other)
    torch.save({"config": {}, "epoch": 0, "ema": network_of(other).state_dict()}, tmp_path / "csp.pt")
    initial_model(replace(other, init=str(tmp_path / "csp.pt")))


def test_a_model_file_of_another_kind_is_named(tmp_path: Path) -> None:
    make_model(tmp_path / "planted.onnx")
    config = model_config(tmp_path, init=str(tmp_path / "planted.onnx"))
    with pytest.raises(FoldedWeightsError, match=rf"^{tmp_path}/planted\.onnx has no convolutions"):
        initial_model(config, frames)
