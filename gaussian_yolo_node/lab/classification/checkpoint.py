"""Checkpoints of classifiers, for inference, for labelling and for resuming."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gaussian_yolo_node.files import file_hash
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.crops import as_tensor, centre_crop
from gaussian_yolo_node.lab.networks.backbones import create_backbone
from gaussian_yolo_node.lab.networks.blocks import Backbone
from gaussian_yolo_node.lab.networks.efficientnet import EfficientNetLite, load_pretrained_lite0
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, load_average, load_fitting, read_checkpoint
from gaussian_yolo_node.lab.training.config import ConfigError

log = logging.getLogger("gaussian_yolo.train")


@dataclass(frozen=True)
class Classifier:
    """A classifier for inference: averaged weights, eval mode, no noise.

    Attributes:
        model: normalised RGB `[B,3,H,W]` -> logits `[B,C]`.
        classes: C names, in the order of the logits.
        config: the recipe it was trained with.
        epochs: number of epochs trained.
        validation: latest `top1` and `top5` on the recipe's validation data; empty without validation data.
    """

    model: Backbone
    classes: tuple[str, ...]
    config: ClassifierConfig
    epochs: float
    validation: Mapping[str, float] = field(default_factory=dict)

    @property
    def image_size(self) -> int:
        """Side of the square network input, px."""
        return self.config.model.image_size

    def prepare(self, image_bgr: NDArray[np.uint8], size: int | None = None) -> Tensor:
        """The network input for an image uint8 `[H,W,3]` BGR: its centre crop as normalised RGB float32 `[3,S,S]`.

        Args:
            size: side S, px; default `image_size`.
        """
        crop = centre_crop(image_bgr, size or self.image_size, self.config.model.crop_fraction)
        return self.model.normalisation(as_tensor([crop]).float())[0]

    @torch.no_grad()
    def probabilities(self, images: Sequence[NDArray[np.uint8]], size: int | None = None) -> NDArray[np.float32]:
        """Class probabilities `[N,C]` of N images uint8 `[H,W,3]` BGR of any size, in one batch."""
        device = next(self.model.parameters()).device
        batch = torch.stack([self.prepare(image, size) for image in images]).to(device)
        return cast("NDArray[np.float32]", self.model(batch).softmax(1).cpu().numpy())


class ClassifierTeacher:
    """A classifier as a teacher, see `noisy_student.teachers.Teacher`.

    Args:
        path: checkpoint of a classifier.
        threads: of the network. The same number gives the same probabilities.

    Raises:
        CheckpointError: the file is missing, damaged, or not a classifier's.
    """

    kind: ClassVar[Literal["classification"]] = "classification"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self.threads = threads
        self.classifier = load_classifier(path)
        self.name = self.classifier.config.name
        self.hash = file_hash(path)
        self.classes = self.classifier.classes

    def label(self, image_bgr: NDArray[np.uint8]) -> dict[str, Any]:
        """`probabilities` float32 `[C]` of an image uint8 `[H,W,3]` BGR."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        try:
            return {"probabilities": self.classifier.probabilities([image_bgr])[0]}
        finally:
            torch.set_num_threads(before)  # a training in the same process sets its own number

    def close(self) -> None:
        """No resources to release."""


def load_classifier(path: Path) -> Classifier:
    """Load the classifier of a checkpoint for inference.

    Raises:
        CheckpointError: the file is missing, damaged, or not a classifier's.
    """
    document = read_classifier(path)
    config = ClassifierConfig.from_dict(document["config"], str(path))
    classes = tuple(document["classifier"]["classes"])
    model = build_network(config, len(classes))
    load_average(model, document, path)
    epochs = document["step"] / document["steps_per_epoch"] if "step" in document else float(document["epoch"])
    validation = {name: value for name, value in document.get("validation", {}).items() if name != "epoch"}
    return Classifier(model.eval(), classes, config, epochs, validation)


def read_classifier(path: Path) -> dict[str, Any]:
    """The contents of a classifier's checkpoint. Raises CheckpointError for any other file."""
    document = read_checkpoint(path)
    check_classifier(document, path)
    return document


def check_classifier(document: Mapping[str, Any], path: Path) -> None:
    """Raises CheckpointError if the contents of the checkpoint `path` are not a classifier's."""
    if "classifier" not in document:
        raise CheckpointError(f"{path} is the checkpoint of a detector, not of a classifier")


def build_network(config: ClassifierConfig, num_classes: int) -> Backbone:
    """The network of a recipe with fresh weights and the recipe's noise.

    Raises:
        ConfigError: unknown backbone, or options that it does not have.
    """
    network, noise = config.model, config.noise.network()
    options = dict(network.options)
    if noise["stochastic_depth"]:
        options["stochastic_depth"] = noise["stochastic_depth"]
    try:
        model = create_backbone(network.backbone, num_classes, **options)
    except TypeError as error:
        reason = str(error).split("__init__() ")[-1]
        raise ConfigError(f"backbone {network.backbone} does not take these options: {reason}") from error
    model.dropout = noise["dropout"]  # every backbone with a classifier has this attribute
    return model


def initial_network(config: ClassifierConfig, num_classes: int) -> Backbone:
    """The network with its initial weights.

    Raises:
        GaussianYoloError: the `pretrained` or `init` weights are not available, or none of them fits.
    """
    model = build_network(config, num_classes)
    if config.model.pretrained:
        if not isinstance(model, EfficientNetLite) or config.model.backbone != "efficientnet_lite0":
            raise ConfigError("model.pretrained: ImageNet's weights are those of efficientnet_lite0, not of others")
        published = EfficientNetLite(num_classes=1000)
        load_pretrained_lite0(published)
        # The ImageNet classifier is never reused, even for the same number of classes.
        given = {name: value for name, value in published.state_dict().items() if not name.startswith("classifier.")}
        load_fitting(model, given, "ImageNet's weights")
    if config.model.init:
        load_fitting(model, read_classifier(Path(config.model.init))["ema"], config.model.init)
    return model
