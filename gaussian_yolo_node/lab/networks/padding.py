"""Convolutions with output size = input size / stride, with the padding rule of the weights' source."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Padding = Literal["same", "symmetric"]


def padded_conv(
    in_channels: int,
    out_channels: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    padding: Padding = "same",
) -> nn.Conv2d:
    """A convolution without bias; `[B,C,H,W]` -> `[B,out_channels,ceil(H/stride),ceil(W/stride)]` for odd kernels.

    Args:
        padding: "same" is TensorFlow's rule (`SameConv2d`), "symmetric" pads all four sides equally.
    """
    if padding == "same":
        return SameConv2d(in_channels, out_channels, kernel, stride, groups, dilation)
    reach = dilation * (kernel - 1) // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, reach, dilation, groups, bias=False)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which the published weights were trained with.

    At stride 2 on an even size it pads one row less before than after. Symmetric padding would shift the features by
    half a pixel relative to the pretrained filters.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1
    ) -> None:
        # At stride 1 both rules agree, and the convolution's own padding is faster.
        symmetric = dilation * (kernel - 1) // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, symmetric, dilation, groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            # As plain ints, so that an exported graph does not compute its padding from shapes in every layer.
            height, width = (int(size) for size in x.shape[-2:])
            extent = self.dilation[0] * (self.kernel_size[0] - 1) + 1
            top, bottom = _same_padding(height, extent, self.stride[0])
            left, right = _same_padding(width, extent, self.stride[1])
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)


def _same_padding(size: int, extent: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2
