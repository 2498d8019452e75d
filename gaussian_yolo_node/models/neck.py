"""A light feature pyramid: top-down (FPN, CVPR 2017), then bottom-up (PANet, CVPR 2018), all depthwise separable."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class LightPyramid(nn.Module):
    """Feature maps at strides 8, 16, 32 -> maps of `width` channels at the same strides.

    Args:
        in_channels: channels of the incoming maps, finest first.
        width: channels of every outgoing map.
    """

    def __init__(self, in_channels: Sequence[int], width: int = 128) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(ConvBnRelu(channels, width) for channels in in_channels)
        levels = len(in_channels)
        self.top_down = nn.ModuleList(SeparableConv(width) for _ in range(levels - 1))
        self.down = nn.ModuleList(SeparableConv(width, stride=2) for _ in range(levels - 1))
        self.bottom_up = nn.ModuleList(SeparableConv(width) for _ in range(levels - 1))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [lateral(x) for lateral, x in zip(self.lateral, maps, strict=True)]
        for index in range(len(levels) - 2, -1, -1):
            # Sizes are multiples of 32, so nearest upsampling by 2 meets the finer map exactly.
            above = F.interpolate(levels[index + 1], scale_factor=2.0, mode="nearest")
            levels[index] = self.top_down[index](levels[index] + above)
        for index in range(1, len(levels)):
            below = self.down[index - 1](levels[index - 1])
            levels[index] = self.bottom_up[index - 1](levels[index] + below)
        return levels


class ConvBnRelu(nn.Sequential):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )


class SeparableConv(nn.Sequential):
    """Depthwise 5x5 and 1x1, each with batch norm and ReLU.

    5x5 because a depthwise kernel costs little beside its 1x1, and boxes span several cells.
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
