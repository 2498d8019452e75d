"""Checkpoints: written atomically, read without pickle, exported as model files."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.lab.export.onnx import ExportOptions, export_model
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo, build_model
from gaussian_yolo_node.lab.training.config import ModelConfig, TrainConfig

log = logging.getLogger("gaussian_yolo.train")


class CheckpointError(GaussianYoloError):
    """A checkpoint is missing, damaged, or from another run."""


def write_checkpoint(path: Path, document: dict[str, Any]) -> None:
    """Write tensors and plain values; a crash leaves the previous file intact. Raises CheckpointError on failure."""
    with whole_file(path, CheckpointError) as part:
        try:
            torch.save(document, part)
        except RuntimeError as error:  # of torch's own writer
            raise OSError(str(error).splitlines()[0]) from error


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The contents of a checkpoint. Raises CheckpointError if the file is missing or not a checkpoint."""
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    try:
        document = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many exception types for a damaged file
        raise CheckpointError(f"checkpoint {path} is damaged or not a checkpoint of this program") from error
    if not isinstance(document, dict) or not {"config", "epoch", "ema"} <= set(document):
        raise CheckpointError(f"{path} is not a checkpoint of this program (no config, epoch and ema)")
    return document


def load_average(model: nn.Module, document: Mapping[str, Any], path: Path) -> None:
    """Load the averaged weights of the checkpoint `path`. Raises CheckpointError if they are of another network."""
    try:
        model.load_state_dict(document["ema"])
    except RuntimeError as error:
        raise CheckpointError(f"the weights in {path} do not fit its config") from error


def fitting_names(model: nn.Module, given: Mapping[str, Tensor], source: str | Path) -> list[str]:
    """The model's tensors that `given` has with the same shape. Raises CheckpointError if no weight is among them."""
    wanted = model.state_dict()
    learned = dict(model.named_parameters())
    fitting = [name for name, value in wanted.items() if name in given and given[name].shape == value.shape]
    # Biases of heads match any model with the same number of classes.
    if not any(name in learned and learned[name].ndim > 1 for name in fitting):
        raise CheckpointError(f"no weight of {source} fits the model: set the recipe's model to theirs")
    return fitting


@torch.no_grad()
def load_fitting(model: nn.Module, given: Mapping[str, Tensor], source: str | Path) -> None:
    """Copy the tensors whose name and shape match. Raises CheckpointError if no weight does."""
    fitting = fitting_names(model, given, source)
    wanted, learned = model.state_dict(), dict(model.named_parameters())
    for name in fitting:
        wanted[name].copy_(given[name])
    fresh = sorted(learned.keys() - set(fitting))
    note = f"; fresh are {', '.join(fresh[:3])}{' ..' if len(fresh) > 3 else ''}" if fresh else ""
    log.info("%d of %d weights from %s%s", len(learned) - len(fresh), len(learned), source, note)


@dataclass(frozen=True)
class Trained:
    """A trained model: averaged weights in eval mode, config, number of epochs, and the latest validation (average
    precisions by name, and their epoch; empty before the first)."""

    model: GaussianYolo
    config: TrainConfig
    epochs: int
    validation: dict[str, float]


def network_of(config: ModelConfig, *, pretrained: bool = False) -> GaussianYolo:
    """The network of a recipe with fresh weights, or ImageNet weights in the backbone if `pretrained`."""
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
    """Load the model of a checkpoint for inference. Raises CheckpointError on failure."""
    document = read_checkpoint(path)
    if "classifier" in document:
        raise CheckpointError(f"{path} is the checkpoint of a classifier, not of a detector")
    config = TrainConfig.from_dict(document["config"], str(path))
    model = network_of(config.model)
    load_average(model, document, path)
    return Trained(model.eval(), config, int(document["epoch"]), document.get("validation", {}))


def export_checkpoint(
    checkpoint: Path,
    output: Path,
    size: tuple[int, int] | None = None,
    options: ExportOptions | None = None,
    name: str = "",
) -> ModelCard:
    """Write a training checkpoint's averaged weights as a model file.

    Args:
        checkpoint: `last.pt` of a training run.
        output: the ONNX file to write.
        size: canvas height and width, px; default: the config's.
        options: batch and runtime.
        name: of the model; default: that of the file.

    Raises:
        CheckpointError, ExportError: one sentence naming the file and the fix.
    """
    trained = load_trained(checkpoint)
    config = trained.config
    card = ModelCard(
        name=name or output.stem,
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
    """Exponential moving average of parameters and batch-norm statistics, with a faster decay at the start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {key: value.detach().clone() for key, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average after one step of `model`."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        # Batched, because separate updates would cost a GPU hundreds of kernel launches.
        values = model.state_dict()
        learned = [key for key, value in values.items() if value.dtype.is_floating_point]
        counted = [key for key, value in values.items() if not value.dtype.is_floating_point]
        torch._foreach_lerp_([self.state[key] for key in learned], [values[key] for key in learned], 1 - decay)
        if counted:
            torch._foreach_copy_([self.state[key] for key in counted], [values[key] for key in counted])
