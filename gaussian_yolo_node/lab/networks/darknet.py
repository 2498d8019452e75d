"""Darknet's networks in torch, from a parsed `.cfg`: Gaussian YOLOv3, YOLOv3, and Darknet-53 as a backbone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import Backbone, Normalisation
from gaussian_yolo_node.lab.networks.darknet_cfg import (
    YOLO_ENTRIES,
    Convolutional,
    Layer,
    Route,
    Shortcut,
    Upsample,
    Yolo,
    parse_cfg,
)
from gaussian_yolo_node.lab.networks.darknet_files import ConvolutionWeights, Weights
from gaussian_yolo_node.lab.networks.yolov3 import FEATURE_LAYERS, INPUT_SIZE, PRESETS, darknet53_cfg, yolov3_cfg

LEAK = 0.1
# Darknet's batch-norm divisor: sqrt(variance + 1e-5) on the GPU, where the published weights were trained and measured,
# and sqrt(variance) + 1e-6 on the CPU. They differ for channels with little variance.
NormForm = Literal["gpu", "cpu"]
GPU_EPSILON = 1e-5
CPU_EPSILON = 1e-6
BN_MOMENTUM = 0.01
# logistic(-128) is exactly 0 in float32, and -128 is exact in every float format down to bf16.
NO_SIGMA_LOGIT = -128.0
SIGMA_ENTRIES = (1, 3, 5, 7)  # s_x s_y s_w s_h of an anchor


class DarknetError(GaussianYoloError):
    """Unsupported use of a network."""


class Darknet(nn.Module):
    """A network built from its `.cfg`.

    The names in the state dict are `layers.INDEX.conv.*` and `layers.INDEX.norm.*`, with the layer's index in the cfg.

    Args:
        layers: of a parsed cfg; the input size may be any multiple of its strides.
        norm_form: which of Darknet's two batch norms to use in evaluation.
    """

    def __init__(self, layers: Sequence[Layer], norm_form: NormForm = "gpu") -> None:
        super().__init__()
        self.description = tuple(layers)
        self.norm_form: NormForm = norm_form
        self.layers = nn.ModuleDict(
            {
                str(layer.index): ConvolutionUnit(layer, norm_form)
                for layer in layers
                if isinstance(layer, Convolutional)
            }
        )

    @property
    def heads(self) -> tuple[Yolo, ...]:
        """The detection layers, in the order of `forward`'s maps."""
        return tuple(layer for layer in self.description if isinstance(layer, Yolo))

    @property
    def convolutions(self) -> list[ConvolutionUnit]:
        """In the order of the `.weights` file."""
        return [cast(ConvolutionUnit, unit) for unit in self.layers.values()]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Raw heads, before the activations, of an RGB image `[B,3,H,W]` with values 0..1, in the cfg's order."""
        return self.outputs(image, [head.index - 1 for head in self.heads])

    def outputs(self, image: Tensor, indices: Sequence[int]) -> list[Tensor]:
        """The output maps of the layers with these indices."""
        needed = set(indices).union(*(_sources(layer) for layer in self.description))
        kept: dict[int, Tensor] = {}
        x = image
        for layer in self.description[: max(indices) + 1]:
            if isinstance(layer, Convolutional):
                x = self.layers[str(layer.index)](x)
            elif isinstance(layer, Shortcut):
                x = _activate(x + kept[layer.source], layer.activation)
            elif isinstance(layer, Route):
                parts = [kept[source] for source in layer.sources]
                x = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            elif isinstance(layer, Upsample):
                x = F.interpolate(x, scale_factor=float(layer.factor), mode="nearest")
                if layer.scale != 1:
                    x = x * layer.scale
            if layer.index in needed:
                kept[layer.index] = x
        return [kept[index] for index in indices]

    def load_weights(self, weights: Weights) -> None:
        """Load weights that were read for this network's cfg; a partial file fills the first layers."""
        for unit, values in zip(self.convolutions, weights.convolutions, strict=False):
            unit.load(values)

    def to_weights(self, version: tuple[int, int, int] = (0, 2, 0), seen: int = 0) -> Weights:
        """All weights in file order; most arrays are views of the network's own."""
        return Weights(tuple(unit.values() for unit in self.convolutions), version, seen)


class ConvolutionUnit(nn.Module):
    """Convolution, batch norm or bias, activation."""

    def __init__(self, layer: Convolutional, norm_form: NormForm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            layer.in_channels,
            layer.shape[0],
            layer.kernel,
            layer.stride,
            layer.padding,
            groups=layer.groups,
            bias=not layer.batch_normalize,
        )
        self.norm = DarknetNorm(layer.shape[0], norm_form) if layer.batch_normalize else None
        self.activation = layer.activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return _activate(x, self.activation)

    def load(self, values: ConvolutionWeights) -> None:
        with torch.no_grad():
            for tensor, array in zip(self._tensors(), _arrays(values), strict=True):
                tensor.copy_(torch.tensor(array))

    def values(self) -> ConvolutionWeights:
        bias, *norm, kernels = (tensor.detach().cpu() for tensor in self._tensors())
        return ConvolutionWeights(bias.numpy(), torch.stack(norm).numpy() if norm else None, kernels.numpy())

    def folded(self) -> tuple[Tensor, Tensor]:
        """Kernels and bias with the batch norm (evaluation mode) folded in."""
        if self.norm is None:
            return self.conv.weight.detach(), cast(Tensor, self.conv.bias).detach()
        scale, shift = self.norm.scale_shift(torch.float64)
        return (self.conv.weight.detach() * scale[:, None, None, None]).float(), shift.float()

    def _tensors(self) -> list[Tensor]:
        """In the order of the `.weights` file."""
        if self.norm is None:
            return [cast(Tensor, self.conv.bias), self.conv.weight]
        norm = self.norm
        return [
            norm.bias,
            norm.weight,
            cast(Tensor, norm.running_mean),
            cast(Tensor, norm.running_var),
            self.conv.weight,
        ]


class DarknetNorm(nn.BatchNorm2d):
    """Batch norm in one of Darknet's two forms; training always uses the GPU form."""

    def __init__(self, channels: int, form: NormForm) -> None:
        super().__init__(channels, eps=GPU_EPSILON, momentum=BN_MOMENTUM)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.form == "gpu":
            return super().forward(x)
        scale, shift = self.scale_shift(x.dtype)
        return x * scale[:, None, None] + shift[:, None, None]

    def scale_shift(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Scale and shift per channel in evaluation mode."""
        mean, variance = cast(Tensor, self.running_mean).to(dtype), cast(Tensor, self.running_var).to(dtype)
        deviation = (variance + GPU_EPSILON).sqrt() if self.form == "gpu" else variance.sqrt() + CPU_EPSILON
        scale = self.weight.to(dtype) / deviation
        return scale, self.bias.to(dtype) - mean * scale


class DarknetDetector(nn.Module):
    """A Darknet network with the detector interface: RGB 0..255 in, heads in order of decreasing stride out.

    Raises:
        DarknetError: the network does not read RGB, or its heads do not have different strides.
    """

    def __init__(self, darknet: Darknet) -> None:
        super().__init__()
        first = darknet.convolutions[0].conv.in_channels if darknet.convolutions else 0
        if first != 3:
            raise DarknetError(f"the network reads {first} channels; set channels=3 in its .cfg")
        strides = [head.stride for head in darknet.heads]
        if not strides or len(set(strides)) != len(strides):
            raise DarknetError(
                f"the network has heads of strides {strides}; it needs one head each of different strides"
            )
        self.darknet = darknet
        self.order = sorted(range(len(strides)), key=lambda index: -strides[index])

    @property
    def heads(self) -> tuple[Yolo, ...]:
        """The detection layers, in the order of `forward`'s maps."""
        return tuple(self.darknet.heads[index] for index in self.order)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Raw heads `[B, A*(9+C), H/s, W/s]` of an RGB image `[B,3,H,W]` with values 0..255."""
        maps = self.darknet(image / 255)
        return [maps[index] for index in self.order]


def folded(network: Darknet) -> Darknet:
    """An equivalent network for deployment: batch norms folded, plain YOLO heads extended with uncertainty 0.

    A plain head `x y w h objectness classes` gets the entries of a Gaussian head. The added entries have zero weights
    and the bias `NO_SIGMA_LOGIT`: the uncertainty is exactly 0 and the detection criterion is objectness times class.
    """
    description = list(network.description)
    parts: dict[int, tuple[Tensor, Tensor]] = {}
    for layer in network.description:
        if isinstance(layer, Convolutional):
            description[layer.index] = replace(layer, batch_normalize=False)
            parts[layer.index] = cast(ConvolutionUnit, network.layers[str(layer.index)]).folded()
    for head in network.heads:
        if head.gaussian:
            continue
        raw = cast(Convolutional, description[head.index - 1])
        parts[raw.index] = _with_sigmas(*parts[raw.index], len(head.anchors))
        shape = (len(parts[raw.index][1]), *raw.shape[1:])
        description[raw.index] = replace(raw, shape=shape)
        description[head.index] = replace(head, shape=shape, gaussian=True)
    result = Darknet(description, network.norm_form)
    with torch.no_grad():
        for unit, (kernels, bias) in zip(result.convolutions, parts.values(), strict=True):
            unit.conv.weight.copy_(kernels)
            cast(Tensor, unit.conv.bias).copy_(bias)
    return result.train(network.training)


def _with_sigmas(kernels: Tensor, bias: Tensor, anchors: int) -> tuple[Tensor, Tensor]:
    entries = len(bias) // anchors
    wide = entries + YOLO_ENTRIES["Gaussian_yolo"] - YOLO_ENTRIES["yolo"]
    rest = [entry for entry in range(wide) if entry not in SIGMA_ENTRIES]
    new_kernels = kernels.new_zeros(anchors, wide, *kernels.shape[1:])
    new_bias = bias.new_full((anchors, wide), NO_SIGMA_LOGIT)
    new_kernels[:, rest] = kernels.reshape(anchors, entries, *kernels.shape[1:])
    new_bias[:, rest] = bias.reshape(anchors, entries)
    return new_kernels.flatten(0, 1), new_bias.flatten()


def gaussian_yolov3_darknet53(preset: str = "bdd", input_size: tuple[int, int] = INPUT_SIZE) -> DarknetDetector:
    """The official Gaussian YOLOv3 with fresh weights; the names in the state dict follow its cfg.

    Anchors are in px and do not scale with the input size, as in Darknet.

    Args:
        preset: a key of `yolov3.PRESETS`.
        input_size: height and width, px.
    """
    if preset not in PRESETS:
        raise DarknetError(f"unknown preset {preset!r}: choose one of {', '.join(PRESETS)}")
    chosen = PRESETS[preset]
    text = yolov3_cfg(len(chosen.classes), chosen.anchors, input_size)
    return DarknetDetector(Darknet(parse_cfg(text, f"gaussian-yolov3-darknet53 ({preset})").layers))


class Darknet53(Backbone):
    """Darknet-53 (Redmon & Farhadi, "YOLOv3", 2018); `darknet.load_weights` loads `darknet53.conv.74`.

    Args:
        num_classes: outputs of the classifier; 0 builds none.
        norm_form: see `Darknet`.
    """

    normalisation = Normalisation((0.0,) * 3, (1 / 255,) * 3)

    def __init__(self, num_classes: int = 0, norm_form: NormForm = "gpu") -> None:
        super().__init__()
        cfg = parse_cfg(darknet53_cfg(), "darknet53")
        self.darknet = Darknet(cfg.layers, norm_form)
        fine, middle, coarse = (cfg.layers[index].shape[0] for index in FEATURE_LAYERS)
        self.feature_channels = (fine, middle, coarse)
        self.num_classes = num_classes
        if num_classes:
            self.classifier = nn.Linear(coarse, num_classes)

    def features(self, image: Tensor) -> list[Tensor]:
        """Maps at strides 8, 16, 32 of an RGB image `[B,3,H,W]` with values 0..1."""
        return self.darknet.outputs(image, FEATURE_LAYERS)

    def head_features(self, image: Tensor) -> Tensor:
        """The map at stride 32, `[B,1024,H/32,W/32]`."""
        return self.darknet.outputs(image, FEATURE_LAYERS[-1:])[0]


def _sources(layer: Layer) -> Iterable[int]:
    if isinstance(layer, Route):
        return layer.sources
    return (layer.source,) if isinstance(layer, Shortcut) else ()


def _arrays(values: ConvolutionWeights) -> list:  # type: ignore[type-arg]
    return [values.bias, *(values.norm if values.norm is not None else ()), values.kernels]


def _activate(x: Tensor, name: str) -> Tensor:
    if name == "leaky":
        return F.leaky_relu(x, LEAK)
    if name == "relu":
        return F.relu(x)
    if name == "logistic":
        return torch.sigmoid(x)
    return x
