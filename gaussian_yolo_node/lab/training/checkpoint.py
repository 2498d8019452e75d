"""Checkpoints: written whole or not at all, read without pickle, exported as model files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.export.onnx import ExportOptions, export_model
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo, build_model
from gaussian_yolo_node.lab.training.config import ModelConfig, TrainConfig


class CheckpointError(GaussianYoloError):
    """A checkpoint is missing, damaged, or of another run."""


def save_checkpoint(path: Path, config: TrainConfig, epoch: int, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) after `epoch` epochs; a crash leaves the previous file intact."""
    write_whole(path, {"config": config.to_dict(), "epoch": epoch, **state})


def write_whole(path: Path, document: dict[str, Any]) -> None:
    """Write tensors and plain values; a crash leaves the previous file intact. CheckpointError if it cannot be."""
    part = path.with_suffix(".part")
    try:
        torch.save(document, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch's own writer raises the latter
        part.unlink(missing_ok=True)
        raise CheckpointError(f"{path} cannot be written: {str(error).splitlines()[0]}") from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Raises CheckpointError where the file is missing or not one of ours."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        raise CheckpointError(f"checkpoint {path} is damaged or not a checkpoint of this program") from error
    if not isinstance(document, dict) or not {"config", "epoch", "ema"} <= set(document):
        raise CheckpointError(f"{path} is not a checkpoint of this program (no config, epoch and ema)")
    return document


@dataclass(frozen=True)
class Trained:
    """What a run has come to: the averaged model in eval mode, its config, the epochs it has seen, and the latest
    validation (average precisions by name, and the epoch they are of; empty before the first)."""

    model: GaussianYolo
    config: TrainConfig
    epochs: int
    validation: dict[str, float]


def network_of(config: ModelConfig, *, pretrained: bool = False) -> GaussianYolo:
    """The network of a recipe, its weights fresh but for the backbone's if `pretrained`."""
    return build_model(
        config.backbone,
        len(config.classes),
        anchors_per_scale=len(config.anchors[0]),
        width=config.width,
        neck=config.neck,
        activation=config.activation,
        pretrained=pretrained,
        stochastic_depth=config.stochastic_depth,
        dropout=config.dropout,
    )


def load_trained(path: Path) -> Trained:
    """Read a checkpoint to use its model. Raises CheckpointError where that is not possible."""
    document = read_checkpoint(path)
    config = TrainConfig.from_dict(document["config"], str(path))
    model = network_of(config.model)
    try:
        model.load_state_dict(document["ema"])
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its config") from error
    return Trained(model.eval(), config, int(document["epoch"]), document.get("validation", {}))


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    size: tuple[int, int] | None = None,
    options: ExportOptions | None = None,
) -> ModelCard:
    """Write a training checkpoint's averaged weights as a model file.

    Args:
        checkpoint: `last.pt` of a training run.
        output: the ONNX file to write.
        size: canvas height and width, px; the config's if not given.
        options: batch and runtime.

    Raises:
        CheckpointError, ExportError: one sentence that names the file and the mend.
    """
    trained = load_trained(checkpoint)
    config = trained.config
    card = ModelCard(
        name=output.stem,
        classes=config.model.classes,
        anchors=config.model.anchors,
        strides=STRIDES,
        input_size=size or config.model.input_size,
        score_threshold=config.model.score_threshold,
        iou_threshold=config.model.iou_threshold,
        variance_vote=False,
        training={
            "recipe": f"{config.name}.yaml",
            "data_licence": config.data.licence,
            "seed": config.schedule.seed,
            "epochs": trained.epochs,
            "validation": trained.validation,
        },
    )
    return export_model(trained.model, card, output, options)


class WeightAverage:
    """Exponential moving average of parameters and batch-norm statistics, with a short memory at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take one step of `model` in."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # All at once: one by one, a GPU waits for hundreds of launches.
        values = model.state_dict()
        learned = [key for key, value in values.items() if value.dtype.is_floating_point]
        counted = [key for key, value in values.items() if not value.dtype.is_floating_point]
        torch._foreach_lerp_([self.state[key] for key in learned], [values[key] for key in learned], 1 - decay)
        if counted:
            torch._foreach_copy_([self.state[key] for key in counted], [values[key] for key in counted])
