"""Networks whose layers describe content and style: VGG19, this project's backbones, trained detectors."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.backbones import create_backbone
from gaussian_yolo_node.lab.networks.blocks import (
    IMAGENET,
    DepthwiseSeparable,
    InvertedResidual,
    TableBackbone,
)
from gaussian_yolo_node.lab.networks.efficientnet import EfficientNetLite, load_pretrained_lite0
from gaussian_yolo_node.lab.style_transfer.vgg import (
    Vgg19,
    canonical_name,
    find_vgg19_weights,
    load_vgg19_weights,
    normalise_weights,
)

EXTRACTORS = ("efficientnet_lite0", "vgg19")

_Network = TypeVar("_Network", bound=nn.Module)


@dataclass(frozen=True)
class Defaults:
    """Default settings of an extractor.

    Attributes:
        content, style: layers.
        reconstructed: layers whose reconstructions show the network's depths.
        balance: alpha times the number of content responses, if alpha is not given. It weights the content error *per
            response* against beta, independently of the frame size.
    """

    content: tuple[str, ...]
    style: tuple[str, ...]
    reconstructed: tuple[str, ...]
    balance: float


class Extractor(Protocol):
    """A frozen network with access to intermediate layers.

    Attributes:
        name: of the extractor.
        weights: SHA-256 (hex) of the network's weights, before `normalise`.
        layers: in order.
        defaults: default settings.
        network: the module, which can be moved to another device.
    """

    name: str
    weights: str
    layers: tuple[str, ...]
    defaults: Defaults

    @property
    def network(self) -> nn.Module: ...

    def responses(self, image: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """Responses of the `wanted` layers to an RGB image `[1,3,H,W]` with values 0..1.

        Raises:
            GaussianYoloError: unknown layer, or the image is too small.
        """
        ...

    def require(self, layers: Sequence[str]) -> None:
        """Raise GaussianYoloError for an unknown layer; the message lists all layers."""
        ...

    def normalise(self, images: Sequence[Tensor]) -> None:
        """Scale the channels of all layers to magnitude 1 over these images (as for `responses`) and all positions.

        The magnitude is the mean activation for VGG19, as in the paper, else the root mean square.
        """
        ...


class Vgg19Extractor:
    """VGG19 with average pooling and normalised weights, as in the paper.

    Args:
        network: with its weights.
    """

    name = "vgg19"
    layers = Vgg19.layers
    defaults = Defaults(
        content=("conv4_2",),
        style=("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1"),
        reconstructed=("conv1_2", "conv2_2", "conv3_2", "conv4_2", "conv5_2"),
        balance=2.0,
    )

    def __init__(self, network: Vgg19) -> None:
        self.network = _frozen(network)
        self.weights = _fingerprint(network)

    def responses(self, image: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        return self.network.responses(IMAGENET(image * 255), wanted)

    def require(self, layers: Sequence[str]) -> None:
        for layer in layers:
            canonical_name(layer)

    def normalise(self, images: Sequence[Tensor]) -> None:
        normalise_weights(self.network, (IMAGENET(image * 255) for image in images))


class BackboneExtractor:
    """A table-built backbone of `networks.backbones` (EfficientNet, MixNet, MobileNet).

    Stride 2 is replaced by stride 1 and 2x2 averaging, the counterpart of average pooling, because gradients through a
    strided convolution leave a grid pattern on the pixels. Layers before a pooling therefore have twice the resolution
    they have in the classifier.

    Layers: `stem`; for each block S_B (stage and block, counted from 1) `blockS_B.expand` and `blockS_B.depthwise`,
    the activations after its expansion and its depthwise convolution (and squeeze-excite), and `blockS_B`, its output.
    All but the last are outputs of an activation.

    `normalise` scales each channel's root mean square to 1, not its mean: a block's output is signed, and a sparse
    channel, as in the stem, would have a second moment of a hundred times its squared mean and dominate the Gram
    matrix.

    Args:
        backbone: with its weights; changed to stride 1.
        name: of the extractor.
        defaults: its best layers; default: those with the strides of EfficientNet-Lite0's.
    """

    def __init__(self, backbone: TableBackbone, name: str, defaults: Defaults | None = None) -> None:
        self.name = name
        self.network = _frozen(backbone)
        self.weights = _fingerprint(backbone)
        self._scales: dict[str, Tensor] = {}
        strided = (backbone.conv_stem, *(block.conv_dw for _, block in _named_blocks(backbone)))
        self._pooled = {layer for layer in strided if _take_every_position(layer)}
        self.layers = tuple(_layer_names(backbone))
        self.defaults = defaults or _defaults_like_lite0(self.layers)

    def responses(self, image: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        found = self._raw(image, wanted)
        return {
            name: value / self._scales[name].to(value.device) if name in self._scales else value
            for name, value in found.items()
        }

    def require(self, layers: Sequence[str]) -> None:
        unknown = [layer for layer in layers if layer not in self.layers]
        if unknown:
            raise GaussianYoloError(f"{self.name} has no layer {unknown[0]!r}: choose of {', '.join(self.layers)}")

    @torch.no_grad()
    def normalise(self, images: Sequence[Tensor]) -> None:
        if not images:
            raise GaussianYoloError("the weights cannot be normalised without images")
        totals: dict[str, Tensor] = {}
        positions = dict.fromkeys(self.layers, 0)
        for image in images:
            for name, value in self._raw(image, self.layers).items():
                total = value.double().square().sum((0, 2, 3))
                totals[name] = totals[name] + total if name in totals else total
                positions[name] += value[:, 0].numel()
        for name, total in totals.items():
            size = (total / positions[name]).sqrt()
            size = torch.where(size > 0, size, torch.ones_like(size))
            self._scales[name] = size.view(1, -1, 1, 1).to(torch.float32)

    def _raw(self, image: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        self.require(wanted)
        missing = set(wanted)
        found: dict[str, Tensor] = {}
        if not missing:
            return found
        for name, response in self._walk(self.network.normalisation(image * 255)):
            if name in missing:
                found[name] = response
                missing.discard(name)
                if not missing:
                    break
        return found

    def _walk(self, x: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Layers and their responses, computed lazily."""
        network = self.network
        x = network._activation(network.bn1(network.conv_stem(x)))
        yield "stem", x
        x = self._pool(network.conv_stem, x)
        for name, block in _named_blocks(network):
            y = x
            if isinstance(block, InvertedResidual):
                y = block.activation(block.bn1(block.conv_pw(y)))
                yield f"{name}.expand", y
                y = block.se(block.activation(block.bn2(block.conv_dw(y))))
                yield f"{name}.depthwise", y
                y = block.bn3(block.conv_pwl(self._pool(block.conv_dw, y)))
            else:
                y = block.se(block.activation(block.bn1(block.conv_dw(y))))
                yield f"{name}.depthwise", y
                y = block.bn2(block.conv_pw(self._pool(block.conv_dw, y)))
                y = block.activation(y) if block.activated_end else y
            x = x + y if block.has_skip else y
            yield name, x

    def _pool(self, layer: nn.Module, x: Tensor) -> Tensor:
        if layer not in self._pooled:
            return x
        return F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)


# Chosen by visual comparison, see docs/style_transfer.md.
_LITE0 = Defaults(
    content=("block2_2",),
    style=("stem", "block1_1", "block2_2", "block3_2", "block4_2"),
    reconstructed=("stem", "block1_1", "block2_2", "block3_2", "block4_2", "block5_3"),
    balance=0.05,
)


def choose_extractor(name: str, vgg_weights: Path | None = None) -> str:
    """The name, or by default VGG19 if its weights are given or available, else Lite0."""
    if name:
        return name
    return "vgg19" if vgg_weights is not None or find_vgg19_weights().is_file() else "efficientnet_lite0"


def open_extractor(name: str, vgg_weights: Path | None = None) -> Extractor:
    """A feature extractor with its weights; nothing is downloaded.

    Args:
        name: one of `EXTRACTORS`, or the path of a training checkpoint (`last.pt`), to use its backbone.
        vgg_weights: file of VGG19's weights, if not in torch.hub's folder.

    Raises:
        WeightsError: the weights are missing or damaged; the message says how to get them.
        GaussianYoloError: unknown extractor.
    """
    if vgg_weights is not None and name != "vgg19":
        raise GaussianYoloError(f"--vgg-weights belongs to --extractor vgg19, not to {name}")
    if name == "vgg19":
        network = Vgg19()
        load_vgg19_weights(network, vgg_weights)
        return Vgg19Extractor(network)
    if name == "efficientnet_lite0":
        backbone = create_backbone(name)
        load_pretrained_lite0(cast(EfficientNetLite, backbone))
        return BackboneExtractor(cast(TableBackbone, backbone), name, _LITE0)
    if name.endswith(".pt"):
        return _of_checkpoint(Path(name))
    raise GaussianYoloError(
        f"unknown extractor {name!r}: choose {' or '.join(EXTRACTORS)}, or give a training checkpoint (last.pt)"
    )


def _of_checkpoint(path: Path) -> Extractor:
    from gaussian_yolo_node.lab.training.checkpoint import load_trained

    backbone = load_trained(path).model.backbone
    if not isinstance(backbone, TableBackbone):
        raise GaussianYoloError(f"{path} is on a backbone without named blocks; take one on EfficientNet or MixNet")
    return BackboneExtractor(backbone, path.name)


def _defaults_like_lite0(layers: Sequence[str]) -> Defaults:
    """Lite0's layers if the network has them, else the nearest preceding ones."""

    def nearest(layer: str) -> str:
        if layer in layers:
            return layer
        stage = layer.partition("_")[0]
        of_stage = [name for name in layers if name.startswith(f"{stage}_") and name.endswith(layer.partition(".")[2])]
        return of_stage[-1] if of_stage else layers[-1]

    return Defaults(
        tuple(dict.fromkeys(map(nearest, _LITE0.content))),
        tuple(dict.fromkeys(map(nearest, _LITE0.style))),
        tuple(dict.fromkeys(map(nearest, _LITE0.reconstructed))),
        _LITE0.balance,
    )


def _named_blocks(network: TableBackbone) -> Iterator[tuple[str, InvertedResidual | DepthwiseSeparable]]:
    for stage, blocks in enumerate(network.blocks, 1):
        for number, block in enumerate(cast(nn.Sequential, blocks), 1):
            yield f"block{stage}_{number}", cast(InvertedResidual | DepthwiseSeparable, block)


def _layer_names(network: TableBackbone) -> Iterator[str]:
    yield "stem"
    for name, block in _named_blocks(network):
        if isinstance(block, InvertedResidual):
            yield f"{name}.expand"
        yield f"{name}.depthwise"
        yield name


def _take_every_position(layer: nn.Module) -> bool:
    """Set the stride of a convolution, or of all in an MDConv, to 1; returns whether it changed."""
    strided = [part for part in layer.modules() if isinstance(part, nn.Conv2d) and part.stride != (1, 1)]
    for part in strided:
        part.stride = (1, 1)
        part.padding = tuple(d * (k - 1) // 2 for d, k in zip(part.dilation, part.kernel_size, strict=True))
    return bool(strided)


def _frozen(network: _Network) -> _Network:
    return network.eval().requires_grad_(False)


def _fingerprint(network: nn.Module) -> str:
    """SHA-256 (hex) of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
