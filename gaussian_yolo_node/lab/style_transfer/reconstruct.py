"""Reconstruct an image from the responses of a layer, starting from noise (Gatys et al., CVPR 2016, figure 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gaussian_yolo_node.lab.style_transfer.extractors import Extractor
from gaussian_yolo_node.lab.style_transfer.losses import Objective, StyleTarget
from gaussian_yolo_node.lab.style_transfer.optimise import Loss, Optimised, Optimizer, optimise


def reconstruct_content(
    extractor: Extractor,
    image: Tensor,
    layer: str,
    *,
    steps: int,
    seed: int = 0,
    optimizer: Optimizer = "lbfgs",
    on_step: Callable[[int, Loss], None] | None = None,
) -> Optimised:
    """An image with the responses of `image`, RGB `[1,3,H,W]`, 0..1, in `layer`.

    The loss is the content loss per response: alpha is 1 / (N M).
    """
    with torch.no_grad():
        target = extractor.responses(image, [layer])
    objective = Objective(target, {}, {}, alpha=1 / target[layer].numel(), beta=0)
    return optimise(_noise(image, seed), extractor, objective, steps=steps, optimizer=optimizer, on_step=on_step)


def reconstruct_style(
    extractor: Extractor,
    image: Tensor,
    layers: Sequence[str],
    *,
    steps: int,
    seed: int = 0,
    optimizer: Optimizer = "lbfgs",
    on_step: Callable[[int, Loss], None] | None = None,
) -> Optimised:
    """A texture with the Gram matrices of `image`, RGB `[1,3,H,W]`, 0..1, in all `layers`, equally weighted. The rows
    of the paper's figure use the first layer, the first two, and so on."""
    with torch.no_grad():
        responses = extractor.responses(image, layers)
    targets = {name: StyleTarget.of(response) for name, response in responses.items()}
    objective = Objective({}, targets, dict.fromkeys(layers, 1 / len(layers)), alpha=0, beta=1)
    return optimise(_noise(image, seed), extractor, objective, steps=steps, optimizer=optimizer, on_step=on_step)


def _noise(image: Tensor, seed: int) -> Tensor:
    return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
