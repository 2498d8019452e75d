"""VGG19 (Simonyan & Zisserman, ICLR 2015, table 1, column E) as used by Gatys et al. for style transfer.

It has no fully connected layers, uses average pooling, and its weights can be rescaled so that every filter's mean
activation is 1 (CVPR 2016, section 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import file_hash

# Channels and number of the 3x3 convolutions of each block; each block ends with pooling.
BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
CONVOLUTIONS = tuple(
    f"conv{block}_{number}" for block, (_, count) in enumerate(BLOCKS, 1) for number in range(1, count + 1)
)

WEIGHTS_FILE = "vgg19-dcbb9e9d.pth"
WEIGHTS_URL = f"https://download.pytorch.org/models/{WEIGHTS_FILE}"
# The file name contains the first digits of the file's SHA-256.
CHECKSUM = WEIGHTS_FILE.removesuffix(".pth").rpartition("-")[2]


class WeightsError(GaussianYoloError):
    """The weights of a network are missing, damaged, or of another network."""


class Vgg19(nn.Module):
    """The convolutional part of VGG19; `[B,3,H,W]`, RGB normalised as torchvision does, -> `[B,512,H/32,W/32]`.

    Layer names follow the paper. `conv4_2` is the *rectified* response of that convolution, because the paper's Caffe
    network rectifies in place. `relu4_2` is an alias of the same layer; `pool4` is the pooling at the end of block 4,
    average instead of max pooling, which gave cleaner images in the paper.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleDict()
        channels = 3
        for block, (width, count) in enumerate(BLOCKS, 1):
            for number in range(1, count + 1):
                self.convolutions[f"conv{block}_{number}"] = nn.Conv2d(channels, width, 3, padding=1)
                channels = width

    layers: tuple[str, ...] = tuple(
        name
        for block, (_, count) in enumerate(BLOCKS, 1)
        for name in (*(f"conv{block}_{number}" for number in range(1, count + 1)), f"pool{block}")
    )

    def responses(self, image: Tensor, wanted: Sequence[str]) -> dict[str, Tensor]:
        """The responses of the `wanted` layers, by the given names.

        Args:
            image: normalised RGB `[B,3,H,W]`.
            wanted: of `layers`, or `reluB_N` for `convB_N`; layers after the last one are not computed.

        Raises:
            GaussianYoloError: unknown layer, or the image is too small for it.
        """
        asked = {name: canonical_name(name) for name in wanted}
        found: dict[str, Tensor] = {}
        x = image
        for name in self.layers[: 1 + max((self.layers.index(layer) for layer in asked.values()), default=-1)]:
            if name.startswith("conv"):
                x = F.relu(self.convolutions[name](x))
            elif min(x.shape[-2:]) < 2:
                raise GaussianYoloError(f"an image of {image.shape[-1]}x{image.shape[-2]} px is too small for {name}")
            else:
                x = F.avg_pool2d(x, 2)
            found[name] = x
        return {name: found[layer] for name, layer in asked.items()}

    def forward(self, image: Tensor) -> Tensor:
        """The response of the last layer, `pool5`."""
        return self.responses(image, ["pool5"])["pool5"]


def canonical_name(name: str) -> str:
    """The canonical name of a layer. GaussianYoloError for an unknown layer."""
    layer = f"conv{name[4:]}" if name.startswith("relu") else name
    if layer not in Vgg19.layers:
        raise GaussianYoloError(f"VGG19 has no layer {name!r}: choose of {', '.join(Vgg19.layers)}")
    return layer


@torch.no_grad()
def normalise_weights(network: Vgg19, images: Iterable[Tensor]) -> dict[str, Tensor]:
    """Rescale the weights in place so that each filter's mean activation over images and positions is 1.

    With ReLU and pooling, a filter's weights and bias can be divided by its mean activation m if the next layer's
    weights for that channel are multiplied by m. Every response is then divided by its own m, and the following layers
    are not affected. Filters without activation on all images keep their scale.

    Args:
        network: rescaled.
        images: normalised RGB `[B,3,H,W]`, of any sizes.

    Returns:
        the m `[C]` of each convolution: a response of the original network is m times the rescaled one.

    Raises:
        GaussianYoloError: there is no image.
    """
    totals = {name: torch.zeros(0) for name in CONVOLUTIONS}
    positions = dict.fromkeys(CONVOLUTIONS, 0)
    for image in images:
        for name, response in network.responses(image, CONVOLUTIONS).items():
            total = response.double().sum((0, 2, 3))
            totals[name] = total if not positions[name] else totals[name] + total
            positions[name] += response[:, 0].numel()
    if not positions[CONVOLUTIONS[0]]:
        raise GaussianYoloError("the weights cannot be normalised without images")
    means = {}
    before: Tensor | None = None
    for name in CONVOLUTIONS:
        convolution = network.convolutions[name]
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
        mean = totals[name] / positions[name]
        mean = torch.where(mean > 0, mean, torch.ones_like(mean)).to(convolution.weight)
        if before is not None:
            convolution.weight.mul_(before.view(1, -1, 1, 1))
        convolution.weight.div_(mean.view(-1, 1, 1, 1))
        convolution.bias.div_(mean)
        means[name] = before = mean
    return means


def find_vgg19_weights() -> Path:
    """The path of the file in torch.hub's (and torchvision's) folder; it may not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS_FILE


def load_vgg19_weights(network: Vgg19, path: Path | None = None) -> Path:
    """Fill the network with torchvision's ImageNet weights; nothing is downloaded.

    Args:
        path: torchvision's `vgg19-dcbb9e9d.pth`; default: in torch.hub's folder.

    Returns:
        the file that was read.

    Raises:
        WeightsError: the file is missing (the message says how to get it), damaged, or of another network.
    """
    file = path or find_vgg19_weights()
    how = f"fetch it with: curl -fLO {WEIGHTS_URL} and give --vgg-weights {WEIGHTS_FILE}"
    if not file.is_file():
        raise WeightsError(f"the weights of VGG19, {file}, are not there: {how}")
    try:
        found = file_hash(file)
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror}") from error
    if not found.startswith(CHECKSUM):
        raise WeightsError(f"{file} is damaged or another file (SHA-256 {found[:8]}.., not {CHECKSUM}..): {how}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many exception types for a damaged file
        raise WeightsError(f"{file} is not a state dict: {how}") from error
    fill_from_torchvision(network, state, file)
    return file


def fill_from_torchvision(network: Vgg19, state: object, source: Path) -> None:
    """Copy a state dict with torchvision's names (`features.0.weight`, ..) into the network.

    Raises:
        WeightsError: a weight is missing or has another shape; the message names `source`.
    """
    state = state if isinstance(state, dict) else {}
    # torchvision counts each convolution, ReLU and pooling layer.
    index = 0
    renamed = {}
    for layer in Vgg19.layers:
        if layer.startswith("pool"):
            index += 1
            continue
        for part in ("weight", "bias"):
            own, foreign = f"convolutions.{layer}.{part}", f"features.{index}.{part}"
            shape = network.state_dict()[own].shape
            value = state.get(foreign)
            if not isinstance(value, Tensor) or value.shape != shape:
                fault = "has no" if value is None else "has another shape of"
                raise WeightsError(f"{source} {fault} {foreign}: it is not torchvision's VGG19")
            renamed[own] = value
        index += 2
    network.load_state_dict(renamed)
