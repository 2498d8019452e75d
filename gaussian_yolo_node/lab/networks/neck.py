"""Necks: fuse the backbone's feature maps for the heads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.lab.networks.csp_darknet import ConvBn, CspLayer, separable
from gaussian_yolo_node.lab.networks.darknet import BN_MOMENTUM, GPU_EPSILON, LEAK


class Neck(nn.Module):
    """Feature maps at strides 8, 16, 32 -> maps at the same strides, finest first in both.

    Attributes:
        widths: channels of the output maps, finest first.
        expansion: ratio of a tower's output channels to its input channels.
    """

    widths: tuple[int, ...]
    expansion: int = 1

    def tower(self, width: int) -> nn.Module:
        """The layers between an output map of `width` channels and its head."""
        raise NotImplementedError

    def head(self, width: int, anchors: int, classes: int) -> nn.Module:
        """The head on the tower of a map of `width` channels; returns raw `[B, anchors*(9+classes), h, w]`."""
        return nn.Conv2d(width * self.expansion, anchors * (BOX_ENTRIES + classes), 1)


class LightPyramid(Neck):
    """Top-down (FPN, CVPR 2017), then bottom-up (PANet, CVPR 2018), all depthwise separable.

    Args:
        in_channels: channels of the incoming maps, finest first.
        width: channels of every output map.
    """

    def __init__(self, in_channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        levels = len(in_channels)
        self.widths = (width,) * levels
        self.lateral = nn.ModuleList(ConvBnRelu(channels, width) for channels in in_channels)
        self.top_down = nn.ModuleList(SeparableConv(width) for _ in range(levels - 1))
        self.down = nn.ModuleList(SeparableConv(width, stride=2) for _ in range(levels - 1))
        self.bottom_up = nn.ModuleList(SeparableConv(width) for _ in range(levels - 1))

    def tower(self, width: int) -> nn.Module:
        return SeparableConv(width)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for index in range(len(levels) - 2, -1, -1):
            # Sizes are multiples of 32, so nearest upsampling by 2 matches the finer map exactly.
            above = F.interpolate(levels[index + 1], scale_factor=2.0, mode="nearest")
            levels[index] = self.top_down[index](levels[index] + above)
        for index in range(1, len(levels)):
            below = self.down[index - 1](levels[index - 1])
            levels[index] = self.bottom_up[index - 1](levels[index] + below)
        return levels


class YoloV3Neck(Neck):
    """The official YOLOv3 neck (Redmon & Farhadi, 2018); on Darknet-53 at the default width it equals the cfg's.

    Args:
        in_channels: channels of the incoming maps, finest first.
        width: channels of the finest output map, doubled for each coarser one.
    """

    expansion = 2

    def __init__(self, in_channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        levels = len(in_channels)
        self.widths = tuple(width << level for level in range(levels))
        self.join = nn.ModuleList(ConvBnLeaky(2 * narrow, narrow, 1) for narrow in self.widths[:-1])
        # Each level except the coarsest also reads the upsampled map from above.
        joined = [*self.widths[:-1], 0]
        self.mix = nn.ModuleList(
            nn.Sequential(
                ConvBnLeaky(channels + extra, narrow, 1),
                ConvBnLeaky(narrow, 2 * narrow, 3),
                ConvBnLeaky(2 * narrow, narrow, 1),
                ConvBnLeaky(narrow, 2 * narrow, 3),
                ConvBnLeaky(2 * narrow, narrow, 1),
            )
            for channels, extra, narrow in zip(in_channels, joined, self.widths, strict=True)
        )

    def tower(self, width: int) -> nn.Module:
        return ConvBnLeaky(width, 2 * width, 3)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = list(maps)
        levels[-1] = self.mix[-1](levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            above = F.interpolate(self.join[index](levels[index + 1]), scale_factor=2.0, mode="nearest")
            levels[index] = self.mix[index](torch.cat([above, levels[index]], 1))
        return levels


class CspPyramid(Neck):
    """YOLOX's neck: top-down, then bottom-up, by concatenation and CSP layers (Ge et al., "YOLOX", 2021).

    The towers are decoupled as in YOLOX: one branch for boxes and objectness, one for classes.

    Args:
        in_channels: channels of the input maps, finest first; the output maps have the same.
        width: channels of each branch of the towers.
        activation: a key of `blocks.ACTIVATIONS`.
    """

    def __init__(self, in_channels: Sequence[int], width: int = 64, activation: str = "silu") -> None:
        super().__init__()
        self.widths = tuple(in_channels)
        self.branch = width
        self.activation = activation
        pairs = list(pairwise(in_channels))
        layer = partial(CspLayer, repeats=1, residual=False, activation=activation)
        self.lateral = nn.ModuleList(ConvBn(coarse, fine, activation=activation) for fine, coarse in pairs)
        self.top_down = nn.ModuleList(layer(2 * fine, fine) for fine, _ in pairs)
        self.down = nn.ModuleList(separable(fine, fine, 2, activation=activation) for fine, _ in pairs)
        self.bottom_up = nn.ModuleList(layer(2 * fine, coarse) for fine, coarse in pairs)

    def tower(self, width: int) -> nn.Module:
        return DecoupledTower(width, self.branch, self.activation)

    def head(self, width: int, anchors: int, classes: int) -> nn.Module:
        return DecoupledHead(self.branch, anchors, classes)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = list(maps)
        for index in range(len(levels) - 2, -1, -1):
            levels[index + 1] = self.lateral[index](levels[index + 1])
            above = F.interpolate(levels[index + 1], scale_factor=2.0, mode="nearest")
            levels[index] = self.top_down[index](torch.cat([above, levels[index]], 1))
        for index in range(len(levels) - 1):
            below = self.down[index](levels[index])
            levels[index + 1] = self.bottom_up[index](torch.cat([below, levels[index + 1]], 1))
        return levels


class DecoupledTower(nn.Module):
    """A 1x1, then a branch for classes and one for boxes, concatenated in that order."""

    def __init__(self, in_channels: int, width: int, activation: str) -> None:
        super().__init__()
        self.stem = ConvBn(in_channels, width, activation=activation)
        self.classes, self.boxes = (
            nn.Sequential(*(separable(width, width, activation=activation) for _ in range(2))) for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return torch.cat([self.classes(x), self.boxes(x)], 1)


class DecoupledHead(nn.Module):
    """Means, sigmas and objectness from one branch, classes from the other, in the layout of raw heads."""

    def __init__(self, width: int, anchors: int, classes: int) -> None:
        super().__init__()
        self.classes = nn.Conv2d(width, anchors * classes, 1)
        self.boxes = nn.Conv2d(width, anchors * BOX_ENTRIES, 1)
        self.width, self.anchors = width, anchors

    def forward(self, x: Tensor) -> Tensor:
        classes = self.classes(x[:, : self.width]).chunk(self.anchors, 1)
        boxes = self.boxes(x[:, self.width :]).chunk(self.anchors, 1)
        return torch.cat([part for pair in zip(boxes, classes, strict=True) for part in pair], 1)


NECKS: dict[str, Callable[..., Neck]] = {"light": LightPyramid, "yolov3": YoloV3Neck, "csp": CspPyramid}


class ConvBnRelu(nn.Sequential):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )


class ConvBnLeaky(nn.Sequential):
    """Convolution, batch norm and leaky ReLU with Darknet's constants."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(out_channels, eps=GPU_EPSILON, momentum=BN_MOMENTUM),
            nn.LeakyReLU(LEAK, inplace=True),
        )


class SeparableConv(nn.Sequential):
    """Depthwise 5x5 and 1x1, each with batch norm and ReLU.

    5x5, because a depthwise kernel is cheap compared with its 1x1, and boxes span several cells.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(width, width, 5, stride, 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
