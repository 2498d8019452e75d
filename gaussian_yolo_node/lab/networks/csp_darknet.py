"""Depthwise CSPDarknet, the backbone of YOLOX-nano (Ge et al., "YOLOX", 2021; Wang et al., "CSPNet", 2020).

A stage is one string, its words in the order of execution:

    dw_c64   depthwise separable convolution with stride 2 to 64 channels
    spp      spatial pyramid pooling (He et al., ECCV 2014) with windows of 5, 9 and 13 cells
    csp_r3   cross-stage partial layer with 3 residual blocks
    csp_r1p  the same with plain blocks: without the residual's addition

Convolutions run in the order of the published ONNX file; its weights are matched by this order.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import ACTIVATIONS, Backbone, Normalisation

STEM_CHANNELS = 16
STAGES = ("dw_c32 csp_r1", "dw_c64 csp_r3", "dw_c128 csp_r3", "dw_c256 spp csp_r1p")
BN_EPSILON, BN_MOMENTUM = 1e-3, 0.03


class CspDarknetNano(Backbone):
    """CSPDarknet of YOLOX-nano.

    Args:
        activation: a key of `ACTIVATIONS`; YOLOX uses "silu".
        num_classes: outputs of the classifier; 0 builds none.
    """

    normalisation = Normalisation((0.0,) * 3, (1.0,) * 3)
    feature_channels = (64, 128, 256)

    def __init__(self, activation: str = "silu", num_classes: int = 0) -> None:
        super().__init__()
        self.num_classes = num_classes
        # Equivalent to YOLOX's space-to-depth followed by a 3x3 convolution.
        self.stem = ConvBn(3, STEM_CHANNELS, 6, 2, activation=activation)
        self.stages = nn.ModuleList()
        channels = STEM_CHANNELS
        for text in STAGES:
            stage = nn.Sequential()
            for word in text.split():
                block, channels = _block(word, channels, activation)
                stage.append(block)
            self.stages.append(stage)
        if num_classes:
            self.classifier = nn.Linear(channels, num_classes)

    def features(self, image: Tensor) -> list[Tensor]:
        x = self.stem(image)
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps[1:]

    def head_features(self, image: Tensor) -> Tensor:
        return self.features(image)[-1]


class ConvBn(nn.Sequential):
    """Convolution, batch norm, activation. `groups=channels` makes it depthwise."""

    def __init__(
        self, in_channels: int, channels: int, kernel: int = 1, stride: int = 1, groups: int = 1, *, activation: str
    ) -> None:
        # An even kernel with stride 2 needs the same padding on both sides.
        padding = (kernel - 1) // 2
        super().__init__(
            nn.Conv2d(in_channels, channels, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(channels, eps=BN_EPSILON, momentum=BN_MOMENTUM),
            Activation(activation),
        )


class Activation(nn.Module):
    """A key of `ACTIVATIONS` as a module."""

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in ACTIVATIONS:
            raise GaussianYoloError(f"unknown activation {name!r}: choose one of {', '.join(ACTIVATIONS)}")
        self.function = ACTIVATIONS[name]

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def separable(in_channels: int, channels: int, stride: int = 1, *, activation: str) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution, each with batch norm and activation."""
    return nn.Sequential(
        ConvBn(in_channels, in_channels, 3, stride, in_channels, activation=activation),
        ConvBn(in_channels, channels, activation=activation),
    )


class Bottleneck(nn.Module):
    """1x1, then depthwise separable 3x3, added to the input if `residual`."""

    def __init__(self, channels: int, residual: bool, activation: str) -> None:
        super().__init__()
        self.reduce = ConvBn(channels, channels, activation=activation)
        self.conv = separable(channels, channels, activation=activation)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.reduce(x))
        return x + y if self.residual else y


class CspLayer(nn.Module):
    """Half of the channels pass through the blocks, half bypass them; a 1x1 mixes both."""

    def __init__(self, in_channels: int, channels: int, repeats: int, residual: bool, activation: str) -> None:
        super().__init__()
        half = channels // 2
        self.main = ConvBn(in_channels, half, activation=activation)
        self.past = ConvBn(in_channels, half, activation=activation)
        self.blocks = nn.Sequential(*(Bottleneck(half, residual, activation) for _ in range(repeats)))
        self.mix = ConvBn(2 * half, channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        main, past = self.main(x), self.past(x)
        mixed: Tensor = self.mix(torch.cat([self.blocks(main), past], 1))
        return mixed


class SpatialPyramidPooling(nn.Module):
    """A 1x1 to half of the channels, concatenated with their max pooling over three windows, and a 1x1."""

    WINDOWS = (5, 9, 13)

    def __init__(self, channels: int, activation: str) -> None:
        super().__init__()
        self.reduce = ConvBn(channels, channels // 2, activation=activation)
        self.mix = ConvBn(channels // 2 * (1 + len(self.WINDOWS)), channels, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        mixed: Tensor = self.mix(torch.cat([x, *(F.max_pool2d(x, k, 1, k // 2) for k in self.WINDOWS)], 1))
        return mixed


def _block(word: str, channels: int, activation: str) -> tuple[nn.Module, int]:
    """The block of one word of a stage, and its output channels."""
    if match := re.fullmatch(r"dw_c(\d+)", word):
        return separable(channels, int(match[1]), 2, activation=activation), int(match[1])
    if word == "spp":
        return SpatialPyramidPooling(channels, activation), channels
    if match := re.fullmatch(r"csp_r(\d+)(p?)", word):
        return CspLayer(channels, channels, int(match[1]), not match[2], activation), channels
    raise GaussianYoloError(f"block {word!r} does not read like 'dw_c64', 'spp' or 'csp_r3'")
