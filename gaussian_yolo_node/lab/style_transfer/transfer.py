"""Style transfer: the content of one image in the style of another (Gatys et al., CVPR 2016).

The geometry does not change, so the labels of a frame stay valid: night, rain or winter from a labelled day. See
docs/paper_facts.md, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gaussian_yolo_node.errors import GaussianYoloError, SettingError
from gaussian_yolo_node.lab.style_transfer.colour import (
    PreserveColour,
    luminance,
    match_colours,
    match_luminance,
    with_luminance,
)
from gaussian_yolo_node.lab.style_transfer.extractors import Extractor
from gaussian_yolo_node.lab.style_transfer.losses import Objective, StyleTarget
from gaussian_yolo_node.lab.style_transfer.optimise import Loss, Optimised, Optimizer, optimise
from gaussian_yolo_node.lab.style_transfer.pictures import Image
from gaussian_yolo_node.lab.style_transfer.tiles import Tile, in_tiles, tile_grid
from gaussian_yolo_node.lab.training.session import Device, device_kind
from gaussian_yolo_node.settings import Count, Must, Natural, NotNegative, Positive, check, option

LEAST_SIDE = 32  # px: one position in the deepest layers
Side = Annotated[int, f"0 or at least {LEAST_SIDE} px", Must("", lambda side: side == 0 or side >= LEAST_SIDE)]
NORMALISING_SIDE = 640  # px, longer side: enough for means over 10^5 positions
# Reflected margin, cropped afterwards; the zero padding of convolutions would cause artefacts at the border.
MARGIN = 16


class PictureError(GaussianYoloError):
    """An image is too small."""


@dataclass(frozen=True)
class StyleSettings:
    """Settings; empty layers and weights, and alpha None, use the extractor's defaults.

    Attributes:
        content_layers, style_layers: names of the extractor's layers.
        style_weights: w_l, one per style layer; default: 1 / their number.
        alpha: weight of the content loss for the whole frame; None derives it from `balance`.
        balance: without alpha, alpha = balance x beta / (N M) of the content's responses; None for the extractor's.
        beta: weight of the style loss.
        optimizer: "lbfgs" or "adam".
        steps: of the optimizer, at the final size.
        scales: number of sizes, coarse to fine, each twice the one before; for structures larger than the receptive
            fields. Sizes below the least side of an image are left out.
        coarse_steps: at each of the smaller sizes; 0 for none.
        total_variation: weight of the smoothness of the result, see `losses.total_variation`; 0 for none.
        start: "content" or "noise", as in the paper; "recolored" is the content with the mean and covariance of the
            style's colours, which edge-like filters barely see and the optimiser would find only slowly.
        preserve_colour: "none"; "histogram" first gives the style image the content's colours; "luminance" transfers
            only brightness.
        size: longer side for the computation, px; 0 for the frame's. The result has the frame's size.
        style_scale: size of the style image; at 1 its shorter side equals the frame's.
        tile: side of tiles, px, for frames that do not fit into memory; 0 for none.
        seed: of the noise.
    """

    content_layers: tuple[str, ...] = ()
    style_layers: tuple[str, ...] = ()
    style_weights: tuple[NotNegative, ...] = ()
    alpha: NotNegative | None = None
    balance: NotNegative | None = None
    beta: NotNegative = 1.0
    optimizer: Optimizer = "lbfgs"
    steps: Count = 60
    scales: Count = 3
    coarse_steps: Natural = 40
    total_variation: NotNegative = 0.0
    start: Literal["recolored", "content", "noise"] = "recolored"
    preserve_colour: PreserveColour = "none"
    size: Side = 0
    style_scale: Positive = 1.0
    tile: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        check(self, SettingError, lambda field: option(field.replace("colour", "color")))
        if self.alpha is not None and self.balance is not None:
            raise SettingError("--balance chooses alpha: give either --balance or --alpha")
        if self.alpha == 0 == self.beta:
            raise SettingError("--alpha and --beta are both 0: nothing is left to search for")
        tile_grid(LEAST_SIDE, LEAST_SIDE, self.tile, self.tile // 4)


@dataclass(frozen=True, eq=False)
class Stylised:
    """A result.

    Attributes:
        image: uint8 `[H,W,3]` BGR, of the content's size.
        losses: per tile, at the final size: of the start and after each step.
    """

    image: Image
    losses: Sequence[Sequence[Loss]]


class StyleTransfer:
    """Transfers styles with one extractor.

    Args:
        extractor: may be normalised by `normalise`.
        settings: of the transfer.
        device: "cpu", "cuda", or "auto", which uses CUDA if available.

    Raises:
        GaussianYoloError: unknown layer, wrong number of weights, or unavailable device.
    """

    def __init__(self, extractor: Extractor, settings: StyleSettings | None = None, device: Device = "cpu") -> None:
        self.extractor = extractor
        self.settings = settings = settings or StyleSettings()
        self.device = torch.device(device_kind(device))
        extractor.network.to(self.device)
        self.content_layers = settings.content_layers or extractor.defaults.content
        self.style_layers = settings.style_layers or extractor.defaults.style
        extractor.require((*self.content_layers, *self.style_layers))
        weights = settings.style_weights or (1 / len(self.style_layers),) * len(self.style_layers)
        if len(weights) != len(self.style_layers):
            raise SettingError(f"--style-weights has {len(weights)} numbers for {len(self.style_layers)} style layers")
        self.style_weights: Mapping[str, float] = dict(zip(self.style_layers, weights, strict=True))

    def normalise(self, images: Sequence[Image]) -> None:
        """Scale the extractor's channels to magnitude 1 over these images (BGR), see `Extractor.normalise`."""
        sized = (_scaled(image, min(1.0, NORMALISING_SIDE / max(image.shape[:2]))) for image in images)
        self.extractor.normalise([self._tensor(image) for image in sized])

    def __call__(
        self,
        content: Image,
        style: Image,
        *,
        seed: int | None = None,
        on_step: Callable[[int, Loss], None] | None = None,
    ) -> Stylised:
        """Transfer the style of one image to the other.

        Args:
            content, style: uint8 `[H,W,3]` BGR.
            seed: of the noise; default: the settings'.
            on_step: called with each tile's number of finished steps and its loss.

        Raises:
            PictureError: the content is too small.
            OptimisationError: the loss is not finite.
        """
        frame = self._tensor(content)
        target = _padded(self._tensor(self._sized(content)))
        source = self._tensor(_style_sized(style, min(target.shape[-2:]) * self.settings.style_scale))
        if self.settings.preserve_colour == "histogram":
            source = match_colours(source, target)
        elif self.settings.preserve_colour == "luminance":
            target = luminance(target)
            source = match_luminance(luminance(source), target)
        result = self._start(target, source, self.settings.seed if seed is None else seed)
        for factor in self._factors(target):
            coarse = _shrunk(target, factor)
            result = _resized(result, coarse.shape[-2:])
            result, _ = self._search(result, coarse, _shrunk(source, factor), self.settings.coarse_steps, None)
        result, losses = self._search(_resized(result, target.shape[-2:]), target, source, self.settings.steps, on_step)
        result = _resized(_unpadded(result), frame.shape[-2:])
        if self.settings.preserve_colour == "luminance":
            result = with_luminance(frame, result)
        return Stylised(to_image(result), losses)

    def reconstructions(
        self, content: Image, style: Image, *, on_step: Callable[[int, Loss], None] | None = None
    ) -> Iterator[tuple[str, Image]]:
        """Named reconstructions from noise of the network's layers (the paper's figure 1).

        `content_LAYER` for each content layer (the settings', or some from all depths), by the content loss per
        response: alpha is 1 / (N M). `style_NUMBER_LAYER` for the style layers up to and including that one, equally
        weighted: a texture with the Gram matrices of the style image.

        Args:
            content, style: uint8 `[H,W,3]` BGR.
            on_step: called with each reconstruction's number of finished steps and its loss.
        """
        picture = _padded(self._tensor(self._sized(content)))
        for layer in self.settings.content_layers or self.extractor.defaults.reconstructed:
            target = self._responses(picture, [layer])
            objective = Objective(target, {}, {}, alpha=1 / target[layer].numel(), beta=0)
            found = self._optimised(self._noise(picture, self.settings.seed), objective, self.settings.steps, on_step)
            yield f"content_{layer}", to_image(_unpadded(found.image))
        picture = _padded(self._tensor(self._sized(style)))
        for count, layer in enumerate(self.style_layers, 1):
            layers = self.style_layers[:count]
            objective = Objective({}, self._targets(picture, layers), dict.fromkeys(layers, 1 / count), alpha=0, beta=1)
            found = self._optimised(self._noise(picture, self.settings.seed), objective, self.settings.steps, on_step)
            yield f"style_{count}_{layer}", to_image(_unpadded(found.image))

    def _start(self, content: Tensor, style: Tensor, seed: int) -> Tensor:
        if self.settings.start == "content":
            return content
        if self.settings.start == "recolored":
            return match_colours(content, style).clamp(0, 1)
        return self._noise(content, seed)

    def _noise(self, like: Tensor, seed: int) -> Tensor:
        return torch.rand(like.shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def _factors(self, content: Tensor) -> list[int]:
        """Factors of the smaller sizes, coarse to fine."""
        if not self.settings.coarse_steps:
            return []
        factors = (2**level for level in range(self.settings.scales - 1, 0, -1))
        return [factor for factor in factors if min(content.shape[-2:]) // factor >= LEAST_SIDE]

    def _search(
        self, start: Tensor, content: Tensor, style: Tensor, steps: int, on_step: Callable[[int, Loss], None] | None
    ) -> tuple[Tensor, list[Sequence[Loss]]]:
        targets = self._targets(style, self.style_layers)  # of the whole style image, for consistent tiles
        losses: list[Sequence[Loss]] = []

        def search(tile: Tile) -> Tensor:
            part = tile.crop(content)
            objective = self._objective(part, targets, content[0, 0].numel() / part[0, 0].numel())
            found = self._optimised(tile.crop(start), objective, steps, on_step)
            losses.append(found.losses)
            return found.image

        return in_tiles(content, self.settings.tile, self.settings.tile // 4, search), losses

    def _optimised(
        self, start: Tensor, objective: Objective, steps: int, on_step: Callable[[int, Loss], None] | None
    ) -> Optimised:
        optimizer = self.settings.optimizer
        return optimise(start, self.extractor, objective, steps=steps, optimizer=optimizer, on_step=on_step)

    @torch.no_grad()
    def _responses(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        return self.extractor.responses(image.expand(-1, 3, -1, -1), layers)

    def _targets(self, style: Tensor, layers: Sequence[str]) -> dict[str, StyleTarget]:
        return {layer: StyleTarget.of(response) for layer, response in self._responses(style, layers).items()}

    def _objective(self, content: Tensor, style: Mapping[str, StyleTarget], share: float) -> Objective:
        """The objective of a tile that is 1/share of the frame."""
        responses = self._responses(content, self.content_layers)
        if self.settings.alpha is None:
            # Without a style, any non-zero content weight works.
            beta = self.settings.beta or 1.0
            balance = self.settings.balance
            balance = self.extractor.defaults.balance if balance is None else balance
            alpha = balance * beta / sum(response.numel() for response in responses.values())
        else:
            # The content loss is a sum over positions, the style loss is not. Without this factor the content would
            # weigh less in a tile than in the whole frame.
            alpha = self.settings.alpha * share
        return Objective(responses, style, self.style_weights, alpha, self.settings.beta, self.settings.total_variation)

    def _tensor(self, image: Image) -> Tensor:
        return to_tensor(image).to(self.device)

    def _sized(self, image: Image) -> Image:
        height, width = image.shape[:2]
        if min(height, width) < LEAST_SIDE:
            raise PictureError(f"a picture of {width}x{height} px is too small: it takes {LEAST_SIDE} on each side")
        scale = self.settings.size / max(height, width) if self.settings.size else 1.0
        return _scaled(image, scale)


def to_tensor(image: Image) -> Tensor:
    """uint8 `[H,W,3]` BGR -> float32 RGB `[1,3,H,W]`, 0..1."""
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None])).float() / 255


def to_image(image: Tensor) -> Image:
    """RGB `[1,3,H,W]`, 0..1 -> uint8 `[H,W,3]` BGR."""
    values = (image.clamp(0, 1) * 255).round().to(torch.uint8)[0].permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(values[..., ::-1])


def _style_sized(image: Image, shorter: float) -> Image:
    return _scaled(image, max(shorter, LEAST_SIDE) / min(image.shape[:2]))


def _scaled(image: Image, scale: float) -> Image:
    if scale == 1:
        return image
    height, width = (max(LEAST_SIDE, round(side * scale)) for side in image.shape[:2])
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, (width, height), interpolation=how).astype(np.uint8, copy=False)


def _padded(image: Tensor) -> Tensor:
    return F.pad(image, (MARGIN,) * 4, mode="reflect")


def _unpadded(image: Tensor) -> Tensor:
    return image[..., MARGIN:-MARGIN, MARGIN:-MARGIN]


def _shrunk(image: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(image, factor, ceil_mode=True, count_include_pad=False)


def _resized(image: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return F.interpolate(image, size=tuple(size), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
