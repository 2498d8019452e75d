"""Weights to start a run from."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from gaussian_yolo_node.models.darknet import Darknet53
from gaussian_yolo_node.models.darknet_files import parse_cfg, read_partial_weights
from gaussian_yolo_node.models.gaussian_yolo import GaussianYolo, build_model
from gaussian_yolo_node.models.yolov3 import darknet53_cfg
from gaussian_yolo_node.training.checkpoint import CheckpointError, read_checkpoint
from gaussian_yolo_node.training.config import ModelConfig

log = logging.getLogger("gaussian_yolo.train")


def initial_model(config: ModelConfig) -> GaussianYolo:
    """The network of the recipe with the weights that training begins with.

    Raises:
        GaussianYoloError: no such network or ImageNet weights. CheckpointError, WeightsError: `init` does not fit.
    """
    model = build_model(
        config.backbone,
        len(config.classes),
        width=config.width,
        neck=config.neck,
        pretrained=config.pretrained,
        stochastic_depth=config.stochastic_depth,
        dropout=config.dropout,
    )
    path = Path(config.init)
    if not config.init:
        return model
    if path.suffix == ".pt":
        _load_checkpoint(model, path)
    elif isinstance(model.backbone, Darknet53):
        cfg = parse_cfg(darknet53_cfg(), "darknet53")
        model.backbone.darknet.load_weights(read_partial_weights(path, cfg))
    else:
        raise CheckpointError(
            f"model.init {path} is no checkpoint (.pt), and only backbone darknet53 takes Darknet's weights"
        )
    return model


@torch.no_grad()
def _load_checkpoint(model: GaussianYolo, path: Path) -> None:
    """Fill what has the same name and shape in both with the checkpoint's averaged weights."""
    given = read_checkpoint(path)["ema"]
    wanted = model.state_dict()
    learned = dict(model.named_parameters())
    fitting = [name for name, value in wanted.items() if name in given and given[name].shape == value.shape]
    # Biases of heads fit any model of as many classes.
    if not any(name in learned and learned[name].ndim > 1 for name in fitting):
        raise CheckpointError(
            f"no weight of {path} fits the model: set model.backbone, neck and width to those of its config"
        )
    for name in fitting:
        wanted[name].copy_(given[name])
    fresh = sorted(learned.keys() - set(fitting))
    note = f"; fresh are {', '.join(fresh[:3])}{' ..' if len(fresh) > 3 else ''}" if fresh else ""
    log.info("%d of %d weights from %s%s", len(learned) - len(fresh), len(learned), path, note)
