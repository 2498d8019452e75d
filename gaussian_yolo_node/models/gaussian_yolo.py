"""Gaussian YOLOv3 (Choi et al., ICCV 2019) on a light backbone: backbone, pyramid, Gaussian heads (SPEC section 1)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.models.efficientnet import LITE_SCALING, Backbone, EfficientNetLite, load_pretrained_lite0
from gaussian_yolo_node.models.neck import LightPyramid, SeparableConv

STRIDES = (32, 16, 8)  # the order of the heads, coarsest first, as in the official network
BOX_ENTRIES = 9  # mu_x s_x mu_y s_y mu_w s_w mu_h s_h objectness
# EfficientNet-Lite was trained on (x - 127) / 128.
PIXEL_MEAN = 127.0
PIXEL_SCALE = 1.0 / 128.0
# A cell holds an object about once in a hundred; starting there keeps the first steps from drowning in background.
OBJECTNESS_PRIOR = 0.01


class GaussianYolo(nn.Module):
    """RGB image 0..255 -> raw heads `[B, A*(9+C), H/s, W/s]` for s in `STRIDES`.

    Args:
        backbone: gives feature maps at strides 8, 16, 32.
        num_classes: C.
        anchors_per_scale: A.
        width: channels of the pyramid.
    """

    def __init__(self, backbone: Backbone, num_classes: int, anchors_per_scale: int = 3, width: int = 128) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.anchors_per_scale = anchors_per_scale
        self.backbone = backbone
        self.neck = LightPyramid(backbone.feature_channels, width)
        self.towers = nn.ModuleList(SeparableConv(width) for _ in STRIDES)
        channels = anchors_per_scale * (BOX_ENTRIES + num_classes)
        self.heads = nn.ModuleList(nn.Conv2d(width, channels, 1) for _ in STRIDES)
        for head in self.heads:
            _initialise(cast(nn.Conv2d, head), anchors_per_scale, num_classes)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Raw heads, coarsest first, of an RGB image `[B,3,H,W]` with values 0..255; H and W multiples of 32."""
        normalised = (image - PIXEL_MEAN) * PIXEL_SCALE
        maps = self.neck(self.backbone.features(normalised))
        return [head(tower(x)) for head, tower, x in zip(self.heads, self.towers, reversed(maps), strict=True)]


def _initialise(head: nn.Conv2d, anchors: int, classes: int) -> None:
    nn.init.normal_(head.weight, std=0.01)
    assert head.bias is not None
    with torch.no_grad():
        bias = head.bias.view(anchors, BOX_ENTRIES + classes)
        bias.zero_()
        bias[:, BOX_ENTRIES - 1] = math.log(OBJECTNESS_PRIOR / (1 - OBJECTNESS_PRIOR))


def build_model(backbone: str, num_classes: int, *, width: int = 128, pretrained: bool = False) -> GaussianYolo:
    """The detector on a named backbone.

    Args:
        backbone: a key of `LITE_SCALING`.
        num_classes: C.
        width: channels of the pyramid.
        pretrained: start from ImageNet weights.
    """
    if backbone not in LITE_SCALING:
        raise GaussianYoloError(f"unknown backbone {backbone!r}: choose one of {', '.join(LITE_SCALING)}")
    network = EfficientNetLite(backbone)
    if pretrained:
        if backbone != "efficientnet_lite0":
            raise GaussianYoloError(f"no ImageNet weights for {backbone}: only efficientnet_lite0 has a package")
        load_pretrained_lite0(network)
    return GaussianYolo(network, num_classes, width=width)
