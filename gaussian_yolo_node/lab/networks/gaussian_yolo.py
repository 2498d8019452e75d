"""Gaussian YOLOv3 on any backbone: backbone, neck, Gaussian heads (Choi et al., ICCV 2019).

See docs/paper_facts.md, section 1.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.backbones import BACKBONES, TENSORFLOW_PREFIX, create_backbone
from gaussian_yolo_node.lab.networks.blocks import Backbone, Normalisation
from gaussian_yolo_node.lab.networks.efficientnet import EfficientNetLite, load_pretrained_lite0
from gaussian_yolo_node.lab.networks.neck import NECKS, DecoupledHead, Neck

STRIDES = (32, 16, 8)  # of the heads, coarsest first, as in the official network
# About 1 % of the cells contain an object; without this prior the background dominates the first steps.
OBJECTNESS_PRIOR = 0.01


class GaussianYolo(nn.Module):
    """RGB image 0..255 -> raw heads `[B, A*(9+C), H/s, W/s]` for s in `STRIDES`.

    Args:
        backbone: provides feature maps at strides 8, 16, 32 and its input normalisation.
        num_classes: C.
        anchors_per_scale: A.
        width: channels of the neck's finest map.
        neck: a key of `NECKS`.
        activation: of a neck with selectable activation; "" for its default.
        dropout: rate of channel dropout before the heads, in training.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        anchors_per_scale: int = 3,
        width: int = 128,
        neck: str = "light",
        *,
        activation: str = "",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if neck not in NECKS:
            raise GaussianYoloError(f"unknown neck {neck!r}: choose one of {', '.join(NECKS)}")
        self.num_classes = num_classes
        self.anchors_per_scale = anchors_per_scale
        self.dropout = dropout
        self.normalise = Normalise(backbone.normalisation)
        self.backbone = backbone
        self.neck: Neck = _with_activation(NECKS[neck], f"neck {neck}", activation)(backbone.feature_channels, width)
        widths = self.neck.widths[::-1]
        self.towers = nn.ModuleList(self.neck.tower(channels) for channels in widths)
        self.heads = nn.ModuleList(self.neck.head(channels, anchors_per_scale, num_classes) for channels in widths)
        for head in self.heads:
            _initialise(head, anchors_per_scale)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Raw heads, coarsest first, of an RGB image `[B,3,H,W]` with values 0..255; H and W multiples of 32."""
        maps = self.neck(self.backbone.features(self.normalise(image)))
        towers = [tower(x) for tower, x in zip(self.towers, reversed(maps), strict=True)]
        if self.training and self.dropout:
            towers = [F.dropout2d(x, self.dropout) for x in towers]
        return [head(x) for head, x in zip(self.heads, towers, strict=True)]


class Normalise(nn.Module):
    """(image - mean) * scale per channel; part of the network, but not of its state dict."""

    mean: Tensor
    scale: Tensor

    def __init__(self, normalisation: Normalisation) -> None:
        super().__init__()
        for name, values in (("mean", normalisation.mean), ("scale", normalisation.scale)):
            # A common value for all channels stays a scalar in the exported graph.
            value = torch.tensor(values[0]) if len(set(values)) == 1 else torch.tensor(values).view(3, 1, 1)
            self.register_buffer(name, value, persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return (image - self.mean) * self.scale

    def reverse_channels(self) -> None:
        """Switch to images with reversed channel order."""
        self.mean, self.scale = (value.flip(0) if value.ndim else value for value in (self.mean, self.scale))


@torch.no_grad()
def _initialise(head: nn.Module, anchors: int) -> None:
    for conv in (module for module in head.modules() if isinstance(module, nn.Conv2d)):
        nn.init.normal_(conv.weight, std=0.01)
        assert conv.bias is not None
        conv.bias.zero_()
    of_boxes = cast(nn.Conv2d, head.boxes if isinstance(head, DecoupledHead) else head)
    assert of_boxes.bias is not None
    of_boxes.bias.view(anchors, -1)[:, BOX_ENTRIES - 1] = math.log(OBJECTNESS_PRIOR / (1 - OBJECTNESS_PRIOR))


def _with_activation(make: Callable[..., Any], what: str, activation: str) -> Callable[..., Any]:
    """`make` with `activation`, if given. GaussianYoloError if `make` does not support one."""
    if not activation:
        return make
    if "activation" not in inspect.signature(make).parameters:
        raise GaussianYoloError(f"{what} has one activation only: leave model.activation out")
    return partial(make, activation=activation)


def build_model(
    backbone: str,
    num_classes: int,
    *,
    anchors_per_scale: int = 3,
    width: int = 128,
    neck: str = "light",
    activation: str = "",
    pretrained: bool = False,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
) -> GaussianYolo:
    """A detector with a named backbone, for input sizes that are multiples of 32.

    Args:
        backbone: a key of `backbones.BACKBONES`.
        neck: a key of `NECKS`: "light"; "yolov3", the official neck; "csp", YOLOX's neck.
        activation: a key of `blocks.ACTIVATIONS`, for backbones and necks with a selectable one; "" for their default.
        pretrained: start from ImageNet weights.
        stochastic_depth: drop rate of the backbone's last residual branch in training; decreases linearly to the first.
        others: see `GaussianYolo`.

    Raises:
        GaussianYoloError: unknown backbone, neck or activation, no ImageNet weights for the backbone, or stochastic
            depth for a backbone without residual branches.
    """
    options: dict[str, Any] = {"stochastic_depth": stochastic_depth} if stochastic_depth else {}
    if activation:
        options["activation"] = activation
    try:
        network = create_backbone(backbone, **options)
    except TypeError as error:
        known = inspect.signature(BACKBONES[backbone.removeprefix(TENSORFLOW_PREFIX)]).parameters
        foreign = [name for name in options if name not in known]
        if not foreign:
            raise
        raise GaussianYoloError(f"{backbone} has no choice of {' or '.join(foreign)}: leave it out") from error
    if pretrained:
        if backbone != "efficientnet_lite0":
            raise GaussianYoloError(f"no ImageNet weights for {backbone}: only efficientnet_lite0 has a package")
        load_pretrained_lite0(cast(EfficientNetLite, network))
    return GaussianYolo(network, num_classes, anchors_per_scale, width, neck, activation=activation, dropout=dropout)
