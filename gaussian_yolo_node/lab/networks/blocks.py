"""Backbones built from tables of short strings: one grammar and one builder for EfficientNet, MixNet and MobileNet.

A stage is one string, its blocks separated by spaces, for comparison with the papers' tables:

    ir_r3_k3.5_s1_e6_c40_a2_p2_se0.5_silu
    |  |  |    |  |  |   |  |  |     activation, if not the network's
    |  |  |    |  |  |   |  |  squeeze-excite, ratio of the block's input channels
    |  |  |    |  |  |   |  groups of the 1x1 projection
    |  |  |    |  |  |   groups of the 1x1 expansion
    |  |  |    |  |  output channels before scaling
    |  |  |    |  expansion (1 for ds and dsa)
    |  |  |    stride of the first repeat
    |  |  depthwise kernels, see `mdconv.Kernels`
    |  repeats before scaling
    ir: inverted residual; ds: depthwise separable; dsa: the same with an activation at the end and no skip

Module names follow timm, so that its state dicts load (see `backbones`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.mdconv import Kernels
from gaussian_yolo_node.lab.networks.padding import Padding, padded_conv

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "hard_swish": F.hardswish,
}


@dataclass(frozen=True)
class Normalisation:
    """Input normalisation of a backbone: (value - mean) * scale, values 0..255 in RGB order."""

    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    def __call__(self, images: Tensor) -> Tensor:
        """`images` `[..,3,H,W]` of a floating type, normalised."""
        mean, scale = (images.new_tensor(row)[:, None, None] for row in (self.mean, self.scale))
        return (images - mean) * scale


# Mean and standard deviation of ImageNet pixels; used by timm and by the authors of Noisy Student and MixNet.
IMAGENET = Normalisation(
    (0.485 * 255, 0.456 * 255, 0.406 * 255), (1 / (0.229 * 255), 1 / (0.224 * 255), 1 / (0.225 * 255))
)


class Backbone(nn.Module):
    """An image classifier with a feature pyramid: `[B,3,H,W]` -> maps at strides 8, 16, 32.

    Subclasses set `feature_channels` and, if they have a classifier, `num_classes`, `dropout` and `classifier`;
    `normalisation` if it differs from ImageNet's.
    """

    normalisation: Normalisation = IMAGENET

    feature_channels: tuple[int, int, int]
    num_classes: int = 0
    dropout: float = 0.0
    classifier: nn.Linear

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps at strides 8, 16 and 32 (finest first) of a normalised RGB image `[B,3,H,W]`."""
        raise NotImplementedError

    def head_features(self, image: Tensor) -> Tensor:
        """The last feature map `[B,C,H/32,W/32]`, which the classifier averages."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Class logits `[B, num_classes]` of a normalised RGB image `[B,3,H,W]`."""
        if not self.num_classes:
            raise GaussianYoloError("this backbone was built without a classifier: pass num_classes")
        pooled = self.head_features(image).mean((2, 3))
        return cast(Tensor, self.classifier(F.dropout(pooled, self.dropout, self.training)))


@dataclass(frozen=True)
class Convention:
    """Padding of strided convolutions and batch norm in the framework that trained the weights."""

    padding: Padding
    bn_epsilon: float
    bn_momentum: float

    def batch_norm(self, channels: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(channels, eps=self.bn_epsilon, momentum=self.bn_momentum)


# The authors' weights, named tf_* in timm.
TENSORFLOW = Convention("same", bn_epsilon=1e-3, bn_momentum=0.01)
# Weights trained by timm.
PYTORCH = Convention("symmetric", bn_epsilon=1e-5, bn_momentum=0.1)


@dataclass(frozen=True)
class BlockSpec:
    """One word of a table, parsed."""

    kind: str
    repeats: int
    kernels: Kernels
    stride: int
    expansion: int
    channels: int
    expand_groups: int = 1
    project_groups: int = 1
    se_ratio: float = 0.0
    activation: str | None = None

    @classmethod
    def parse(cls, text: str) -> BlockSpec:
        """Read `ir_r3_k3.5_s1_e6_c40_a2_p2_se0.5_silu`; GaussianYoloError on anything else."""
        match = re.fullmatch(
            r"(dsa|ds|ir)_r([1-9]\d*)_k([^_]+)_s([12])_e([1-9]\d*)_c([1-9]\d*)"
            r"(?:_a([1-9]\d*))?(?:_p([1-9]\d*))?(?:_se(0?\.\d+))?(?:_(relu|relu6|silu))?",
            text,
        )
        if match is None:
            raise GaussianYoloError(f"block {text!r} does not read like 'ir_r2_k3.5_s2_e6_c24_a2_p2_se0.5_silu'")
        kind, repeats, kernels, stride, expansion, channels, expand, project, ratio, activation = match.groups()
        if kind != "ir" and (expansion != "1" or expand is not None):
            raise GaussianYoloError(f"block {text!r}: only an inverted residual (ir) expands, write e1 and no a")
        return cls(
            kind,
            int(repeats),
            Kernels.parse(kernels),
            int(stride),
            int(expansion),
            int(channels),
            int(expand or 1),
            int(project or 1),
            float(ratio or 0),
            activation,
        )


def parse_table(
    table: Sequence[str], width: float = 1.0, depth: float = 1.0, *, fixed_ends: bool = False
) -> list[list[BlockSpec]]:
    """The blocks of each stage of a scaled table, one spec per block (`repeats` 1; stride 1 except in the first).

    Args:
        table: one string per stage.
        width: multiplies channels, rounded by `round_channels`.
        depth: multiplies repeats, rounded up.
        fixed_ends: keep the first and last stage's depth.
    """
    stages = []
    for index, row in enumerate(table):
        fixed = fixed_ends and index in (0, len(table) - 1)
        blocks = []
        for spec in map(BlockSpec.parse, row.split()):
            repeats = spec.repeats if fixed else math.ceil(spec.repeats * depth)
            first = replace(spec, repeats=1, channels=round_channels(spec.channels * width))
            blocks += [first] + [replace(first, stride=1)] * (repeats - 1)
        stages.append(blocks)
    return stages


class TableBackbone(Backbone):
    """Stem, stages of blocks, 1x1 head and classifier.

    Args:
        stages: from `parse_table`; together with the stem they must reach stride 32.
        stem: channels of the 3x3 stem, stride 2.
        head: channels of the 1x1 convolution before the classifier; 0 for none.
        activation: of the stem, the head and every block that does not name its own.
        convention: padding and batch norm of the weights' source.
        num_classes: outputs of the classifier; 0 builds neither the 1x1 head nor the classifier.
        dropout: on the classifier's input, in training.
        stochastic_depth: rate at which the last block is skipped in training, decaying linearly to the first
            (the papers' 0.2, a survival of 0.8).
    """

    def __init__(
        self,
        stages: Sequence[Sequence[BlockSpec]],
        *,
        stem: int,
        head: int,
        activation: str,
        convention: Convention,
        num_classes: int,
        dropout: float,
        stochastic_depth: float,
    ) -> None:
        super().__init__()
        for name, rate in (("dropout", dropout), ("stochastic_depth", stochastic_depth)):
            if not 0 <= rate < 1:
                raise GaussianYoloError(f"{name} {rate} is not in 0..1 (1 excluded)")
        self.num_classes = num_classes
        self.dropout = dropout
        self._activation = ACTIVATIONS[activation]
        self.conv_stem = padded_conv(3, stem, 3, stride=2, padding=convention.padding)
        self.bn1 = convention.batch_norm(stem)
        channels, stride = stem, 2
        total = sum(map(len, stages))
        built = 0
        last_at_stride: dict[int, tuple[int, int]] = {}
        self.blocks = nn.Sequential()
        for index, specs in enumerate(stages):
            blocks = nn.Sequential()
            for spec in specs:
                block = InvertedResidual if spec.kind == "ir" else DepthwiseSeparable
                blocks.append(block(channels, spec, activation, convention, stochastic_depth * built / total))
                channels, stride, built = spec.channels, stride * spec.stride, built + 1
            self.blocks.append(blocks)
            last_at_stride[stride] = (index, channels)
        self._feature_stages = tuple(last_at_stride[stride][0] for stride in (8, 16, 32))
        self.feature_channels = (last_at_stride[8][1], last_at_stride[16][1], last_at_stride[32][1])
        if num_classes:
            if head:
                self.conv_head = nn.Conv2d(channels, head, 1, bias=False)
                self.bn2 = convention.batch_norm(head)
            self.classifier = nn.Linear(head or channels, num_classes)

    def features(self, image: Tensor) -> list[Tensor]:
        x = self._activation(self.bn1(self.conv_stem(image)))
        maps = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in self._feature_stages:
                maps.append(x)
        return maps

    def head_features(self, image: Tensor) -> Tensor:
        x = self.features(image)[-1]
        return self._activation(self.bn2(self.conv_head(x))) if hasattr(self, "conv_head") else x


class DepthwiseSeparable(nn.Module):
    """Depthwise convolution, then a 1x1 (MobileNet V1's block; without `dsa`: linear output and a skip)."""

    def __init__(
        self, in_channels: int, spec: BlockSpec, activation: str, convention: Convention, skip_rate: float
    ) -> None:
        super().__init__()
        self.conv_dw = spec.kernels.build(in_channels, spec.stride, convention.padding)
        self.bn1 = convention.batch_norm(in_channels)
        self.activation = ACTIVATIONS[spec.activation or activation]
        self.se = _squeeze_excite(in_channels, in_channels, spec, self.activation)
        self.conv_pw = _pointwise(in_channels, spec.channels, spec.project_groups)
        self.bn2 = convention.batch_norm(spec.channels)
        self.activated_end = spec.kind == "dsa"
        self.has_skip = spec.kind == "ds" and spec.stride == 1 and in_channels == spec.channels
        self.skip_rate = skip_rate

    def forward(self, x: Tensor) -> Tensor:
        y = self.se(self.activation(self.bn1(self.conv_dw(x))))
        y = self.bn2(self.conv_pw(y))
        if self.activated_end:
            y = self.activation(y)
        return x + stochastic_depth(y, self.skip_rate, self.training) if self.has_skip else y


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, squeeze-excite, linear 1x1 projection (MobileNet V2's block)."""

    def __init__(
        self, in_channels: int, spec: BlockSpec, activation: str, convention: Convention, skip_rate: float
    ) -> None:
        super().__init__()
        width = in_channels * spec.expansion
        self.conv_pw = _pointwise(in_channels, width, spec.expand_groups)
        self.bn1 = convention.batch_norm(width)
        self.conv_dw = spec.kernels.build(width, spec.stride, convention.padding)
        self.bn2 = convention.batch_norm(width)
        self.activation = ACTIVATIONS[spec.activation or activation]
        self.se = _squeeze_excite(in_channels, width, spec, self.activation)
        self.conv_pwl = _pointwise(width, spec.channels, spec.project_groups)
        self.bn3 = convention.batch_norm(spec.channels)
        self.has_skip = spec.stride == 1 and in_channels == spec.channels
        self.skip_rate = skip_rate

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.bn1(self.conv_pw(x)))
        y = self.se(self.activation(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + stochastic_depth(y, self.skip_rate, self.training) if self.has_skip else y


class SqueezeExcite(nn.Module):
    """Channel gates from the spatial mean (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018)."""

    def __init__(self, channels: int, reduced: int, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.activation = activation
        self.conv_expand = nn.Conv2d(reduced, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates = self.conv_expand(self.activation(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * gates.sigmoid()


class GroupedPointwise(nn.Conv2d):
    """Grouped 1x1 convolution. The published MixNets store one weight per group; a single operator is faster."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        if in_channels % groups or out_channels % groups:
            raise GaussianYoloError(f"a 1x1 from {in_channels} to {out_channels} channels has no {groups} equal groups")
        super().__init__(in_channels, out_channels, 1, groups=groups, bias=False)


@torch.no_grad()
def measure_batch_norms(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set the statistics of all batch norms to the mean over `batches`, each an input of the model in training mode."""
    training = model.training
    momenta = {module: module.momentum for module in model.modules() if isinstance(module, nn.BatchNorm2d)}
    for module in momenta:
        module.momentum = None  # cumulative average
        module.reset_running_stats()
    model.train()
    for batch in batches:
        model(batch.float())
    model.train(training)
    for module, momentum in momenta.items():
        module.momentum = momentum


def stochastic_depth(branch: Tensor, rate: float, training: bool) -> Tensor:
    """Drop whole samples of a residual branch at `rate` in training (Huang et al., ECCV 2016), mean preserved."""
    if not training or rate == 0:
        return branch
    keep = branch.new_empty(branch.shape[0], 1, 1, 1).bernoulli_(1 - rate)
    return branch * keep / (1 - rate)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below `channels` (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def _pointwise(in_channels: int, out_channels: int, groups: int) -> nn.Conv2d:
    if groups == 1:
        return nn.Conv2d(in_channels, out_channels, 1, bias=False)
    return GroupedPointwise(in_channels, out_channels, groups)


def _squeeze_excite(in_channels: int, width: int, spec: BlockSpec, activation: Callable[[Tensor], Tensor]) -> nn.Module:
    # The ratio refers to the block's input, not the expanded width, as in all published EfficientNets and MixNets.
    if not spec.se_ratio:
        return nn.Identity()
    return SqueezeExcite(width, max(1, round(in_channels * spec.se_ratio)), activation)
