"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Complexity:
    """What one image costs.

    Attributes:
        parameters: learned values; running statistics are not counted.
        macs: multiply-accumulates of convolutions and linear layers, as the papers count; Darknet and the Gaussian
            YOLOv3 paper call twice this number FLOPs.
    """

    parameters: int
    macs: int


def complexity(model: nn.Module, input_size: tuple[int, int], channels: int = 3) -> Complexity:
    """Count a model for one image.

    Args:
        model: takes an image `[1, channels, H, W]`. It may live on the meta device, where even the largest network
            takes no memory; it is left as it is.
        input_size: height and width, px.
        channels: of the image.
    """
    # A copy of tensors on the meta device first, so that a large model is not copied in full.
    with torch.device("meta"):
        memo: dict[int, object] = {id(p): nn.Parameter(torch.empty(p.shape)) for p in model.parameters()}
        memo |= {id(b): torch.empty(b.shape) for b in model.buffers()}
    shadow = copy.deepcopy(model, memo).eval()
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            per_output = module.in_channels // module.groups * math.prod(module.kernel_size)
        else:
            per_output = cast(nn.Linear, module).in_features
        macs += output.numel() * per_output

    for module in shadow.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, channels, *input_size, device="meta"))
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), macs)
