"""Initial weights of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor

from gaussian_yolo_node.lab.networks.darknet import Darknet53
from gaussian_yolo_node.lab.networks.darknet_files import parse_cfg, read_partial_weights
from gaussian_yolo_node.lab.networks.folded import start_from
from gaussian_yolo_node.lab.networks.gaussian_yolo import GaussianYolo
from gaussian_yolo_node.lab.networks.yolov3 import darknet53_cfg
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, network_of, read_checkpoint
from gaussian_yolo_node.lab.training.config import ModelConfig

log = logging.getLogger("gaussian_yolo.train")


def initial_model(
    config: ModelConfig, root: Path | None = None, frames: Callable[[], Iterable[Tensor]] = tuple
) -> GaussianYolo:
    """The network of a recipe with its initial weights.

    Args:
        root: data folder, which may contain `init`.
        frames: returns training images `[B,3,H,W]`, RGB 0..255; called only to unfold batch norms.

    Raises:
        GaussianYoloError: unknown network, or no ImageNet weights.
        CheckpointError, WeightsError, FoldedWeightsError: `init` does not fit.
    """
    model = network_of(config, pretrained=config.pretrained and not config.init)
    if not config.init:
        return model
    path = find_start(config, root)
    if path.suffix == ".pt":
        _load_checkpoint(model, path)
    elif path.suffix == ".onnx":
        count = start_from(model, path, config.classes, config.anchors, list(frames()))
        log.info("%d convolutions from %s, batch norms measured on training frames", count, path)
    elif isinstance(model.backbone, Darknet53):
        cfg = parse_cfg(darknet53_cfg(), "darknet53")
        model.backbone.darknet.load_weights(read_partial_weights(path, cfg))
    else:
        raise CheckpointError(
            f"model.init {path} is neither a checkpoint (.pt) nor a model file (.onnx), and only backbone darknet53 "
            "takes Darknet's weights"
        )
    return model


def find_start(config: ModelConfig, root: Path | None) -> Path:
    """The path of `init` in the working directory, else in the data folder. CheckpointError if in neither."""
    places = [Path(config.init), *([root / config.init] if root is not None else [])]
    for place in places:
        if place.is_file():
            return place
    raise CheckpointError(f"model.init {' or '.join(map(str, places))} does not exist")


@torch.no_grad()
def _load_checkpoint(model: GaussianYolo, path: Path) -> None:
    """Load the checkpoint's averaged weights where name and shape match."""
    given = read_checkpoint(path)["ema"]
    wanted = model.state_dict()
    learned = dict(model.named_parameters())
    fitting = [name for name, value in wanted.items() if name in given and given[name].shape == value.shape]
    # Biases of heads match any model with the same number of classes.
    if not any(name in learned and learned[name].ndim > 1 for name in fitting):
        raise CheckpointError(
            f"no weight of {path} fits the model: set model.backbone, neck and width to those of its config"
        )
    for name in fitting:
        wanted[name].copy_(given[name])
    fresh = sorted(learned.keys() - set(fitting))
    note = f"; fresh are {', '.join(fresh[:3])}{' ..' if len(fresh) > 3 else ''}" if fresh else ""
    log.info("%d of %d weights from %s%s", len(learned) - len(fresh), len(learned), path, note)
