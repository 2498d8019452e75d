"""Initial weights of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from torch import Tensor

from gaussian_yolo_node.detector.model import resolve_model, shipped_models
from gaussian_yolo_node.lab.networks.darknet import Darknet53
from gaussian_yolo_node.lab.networks.darknet_cfg import parse_cfg
from gaussian_yolo_node.lab.networks.darknet_files import read_partial_weights
from gaussian_yolo_node.lab.networks.folded import start_from
from gaussian_yolo_node.lab.networks.gaussian_yolo import GaussianYolo
from gaussian_yolo_node.lab.networks.yolov3 import darknet53_cfg
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, load_fitting, network_of, read_checkpoint
from gaussian_yolo_node.lab.training.config import ModelConfig

log = logging.getLogger("gaussian_yolo.train")


def initial_model(config: ModelConfig, frames: Callable[[], Iterable[Tensor]] = tuple) -> GaussianYolo:
    """The network of a recipe with its initial weights.

    Args:
        frames: returns training images `[B,3,H,W]`, RGB 0..255; called only to unfold batch norms.

    Raises:
        GaussianYoloError: unknown network, or no ImageNet weights.
        CheckpointError, WeightsError, FoldedWeightsError: `init` does not fit.
    """
    model = network_of(config, pretrained=config.pretrained and not config.init)
    if not config.init:
        return model
    path = find_start(config.init)
    if path.suffix == ".pt":
        load_fitting(model, read_checkpoint(path)["ema"], path)
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


def find_start(init: str) -> Path:
    """The file to start from: a path, or the name of a shipped model. CheckpointError if there is none."""
    if init in shipped_models():
        return resolve_model(init)
    if not Path(init).is_file():
        raise CheckpointError(f"model.init {init} does not exist; shipped models are {', '.join(shipped_models())}")
    return Path(init)
