"""MDConv, mixed depthwise convolution (Tan & Le, "MixConv: Mixed Depthwise Convolutional Kernels", BMVC 2019).

The channels are split into groups, each with its own kernel size. One layer then captures fine and coarse patterns at
less cost than the largest kernel for all channels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.padding import Padding, padded_conv

Partition = Literal["equal", "exponential"]


class MDConv(nn.ModuleList):
    """Depthwise convolution with one kernel size per group of channels: `[B,C,H,W]` -> `[B,C,ceil(H/s),ceil(W/s)]`.

    Children are named `0`, `1`, ... in the order of the groups, as in timm's state dicts.

    Args:
        channels: C, at least one per group.
        kernels: kernel size of each group, odd and at least 3; 3, 5, 7, ... in the paper.
        stride: 1 or 2.
        partition: split of the channels into groups, see `partition_channels`.
        dilated: 3x3 kernels dilated to the reach of `kernels` (the paper's comparison).
        padding: the rule of the weights' source, see `padded_conv`.

    Raises:
        GaussianYoloError: invalid kernel, stride or partition, or a group without a channel.
    """

    def __init__(
        self,
        channels: int,
        kernels: Sequence[int],
        stride: int = 1,
        *,
        partition: Partition = "equal",
        dilated: bool = False,
        padding: Padding = "symmetric",
    ) -> None:
        super().__init__()
        if stride not in (1, 2):
            raise GaussianYoloError(f"stride {stride} of an MDConv must be 1 or 2")
        for kernel in kernels:
            _require_centred(kernel)
        self.splits = partition_channels(channels, len(kernels), partition)
        self.kernels = tuple(kernels)
        self.stride = stride
        self.padding: Padding = padding
        self.extend(
            padded_conv(
                width,
                width,
                3 if dilated else kernel,
                stride,
                groups=width,
                dilation=(kernel - 1) // 2 if dilated else 1,
                padding=padding,
            )
            for width, kernel in zip(self.splits, self.kernels, strict=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        parts = torch.split(x, list(self.splits), dim=1)
        return torch.cat([conv(part) for conv, part in zip(self, parts, strict=True)], dim=1)

    def merge(self) -> nn.Conv2d:
        """The same function as one depthwise convolution, every kernel zero-padded to the largest.

        Zero-padding around the centre is exact for both padding rules: with odd kernels no smaller than the stride,
        a kernel d px wider starts d/2 px earlier at every input size.
        """
        reach = max(self.kernels)
        channels = sum(self.splits)
        merged = padded_conv(channels, channels, reach, self.stride, groups=channels, padding=self.padding)
        merged = merged.to(self._convs()[0].weight)
        with torch.no_grad():
            merged.weight.zero_()
            start = 0
            for width, kernel, conv in zip(self.splits, self.kernels, self._convs(), strict=True):
                first, step = (reach - kernel) // 2, conv.dilation[0]
                taps = slice(first, first + kernel, step)
                merged.weight[start : start + width, :, taps, taps] = conv.weight
                start += width
        return merged.train(self.training)

    def _convs(self) -> list[nn.Conv2d]:
        return [cast(nn.Conv2d, conv) for conv in self]


def merge_mdconvs(module: nn.Module, largest: int | None = None) -> nn.Module:
    """Replace the MDConvs inside `module` by their merged convolutions, in place; returns the module.

    Args:
        module: any network; an MDConv itself comes back as its merged convolution.
        largest: leave MDConvs with a kernel above this size as they are (None: merge all). The zeros are
            multiplied too, so merging trades fewer operators for more arithmetic and pays for small kernels only.
    """
    if isinstance(module, MDConv):
        return module.merge() if largest is None or max(module.kernels) <= largest else module
    for name, child in list(module.named_children()):
        setattr(module, name, merge_mdconvs(child, largest))
    return module


def partition_channels(channels: int, groups: int, mode: Partition = "equal") -> tuple[int, ...]:
    """Channels of each group.

    Args:
        mode: "equal" splits evenly, the remainder goes to the first group; "exponential" gives group i (from 1)
            2^-i of the channels, rounded down, and the last group the rest: 32 in 4 groups are 16, 8, 4, 4.

    Raises:
        GaussianYoloError: no groups, an unknown mode, or an empty group.
    """
    if mode not in get_args(Partition):
        raise GaussianYoloError(f"unknown partition {mode!r}: choose one of {', '.join(get_args(Partition))}")
    if groups < 1:
        raise GaussianYoloError(f"an MDConv needs at least one group, not {groups}")
    if mode == "equal":
        share = [channels // groups] * groups
        share[0] += channels - sum(share)
    else:
        share = [channels >> (index + 1) for index in range(groups - 1)]
        share.append(channels - sum(share))
    if min(share) < 1:
        raise GaussianYoloError(f"{channels} channels are too few for {groups} groups ({mode} partition)")
    return tuple(share)


@dataclass(frozen=True)
class Kernels:
    """The kernels of a depthwise layer, written as a short string.

    `5` is one 5x5 kernel, `3.5.7` an MDConv; `-exp` splits the channels exponentially, `-dil` dilates 3x3 kernels.
    """

    sizes: tuple[int, ...]
    partition: Partition = "equal"
    dilated: bool = False

    @classmethod
    def parse(cls, text: str) -> Kernels:
        """Read `3`, `3.5.7`, `3.5.7-exp`, `11-dil` or `3.5-exp-dil`; GaussianYoloError on anything else."""
        match = re.fullmatch(r"([1-9]\d*(?:\.[1-9]\d*)*)(-exp)?(-dil)?", text)
        if match is None:
            raise GaussianYoloError(f"kernels {text!r} do not read like '3', '3.5.7' or '3.5.7-exp-dil'")
        sizes = tuple(int(size) for size in match[1].split("."))
        return cls(sizes, "exponential" if match[2] else "equal", match[3] is not None)

    def build(self, channels: int, stride: int, padding: Padding) -> nn.Conv2d | MDConv:
        """The layer: a plain depthwise convolution for one undilated kernel, else an MDConv."""
        if len(self.sizes) == 1 and not self.dilated:
            _require_centred(self.sizes[0])
            return padded_conv(channels, channels, self.sizes[0], stride, groups=channels, padding=padding)
        return MDConv(channels, self.sizes, stride, partition=self.partition, dilated=self.dilated, padding=padding)


def _require_centred(kernel: int) -> None:
    # An even kernel has no centre; a 1x1 at stride 2 would sample other pixels than the wider kernels.
    if kernel < 3 or kernel % 2 == 0:
        raise GaussianYoloError(f"a depthwise kernel must be odd and at least 3, not {kernel}")
