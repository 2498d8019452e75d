"""The losses of Gatys et al. (CVPR 2016, equations 1 to 7; docs/paper_facts.md, section 5), and total variation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


def gram_matrix(features: Tensor) -> Tensor:
    """`G_ij = sum_k F_ik F_jk` (equation 3) of responses `[1,N,H,W]`, positions k: `[N,N]`."""
    flat = features.flatten(2)[0]
    return flat @ flat.T


def content_loss(features: Tensor, target: Tensor) -> Tensor:
    """`1/2 sum (F - P)^2` (equation 1) of responses of equal shape: a scalar."""
    return (features - target).square().sum() / 2


@dataclass(frozen=True, eq=False)
class StyleTarget:
    """Style target of a layer: the Gram matrix of the style image.

    Attributes:
        gram: A, `[N,N]`.
        positions: M of the style image in this layer.
    """

    gram: Tensor
    positions: int

    @classmethod
    def of(cls, features: Tensor) -> StyleTarget:
        """From the style image's responses `[1,N,H,W]`."""
        return cls(gram_matrix(features), features.shape[2] * features.shape[3])


def style_loss(features: Tensor, target: StyleTarget) -> Tensor:
    """`E = sum (G - A)^2 / (4 N^2 M^2)` (equation 4) of responses `[1,N,H,W]`: a scalar.

    In the paper both images have the same size. The sums A of a style image with another M are scaled to the M of
    `features`; for equal M this changes nothing.
    """
    channels, positions = features.shape[1], features.shape[2] * features.shape[3]
    # Means instead of sums over positions: squared sums of 10^5 float32 products would lose digits or overflow.
    difference = gram_matrix(features) / positions - target.gram / target.positions
    return difference.square().sum() / (4 * channels**2)


def total_variation(image: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels of `[1,C,H,W]`: a scalar.

    The regulariser of Mahendran & Vedaldi ("Understanding Deep Image Representations by Inverting Them", CVPR 2015,
    section 3, beta = 2), which Johnson et al. (ECCV 2016) use in style transfer. They sum over positions; a mean holds
    at any size, as the style loss does.
    """
    down, right = image.diff(dim=2), image.diff(dim=3)
    return down.square().mean() + right.square().mean()


@dataclass(frozen=True, eq=False)
class Objective:
    """`L = alpha L_content + beta sum_l w_l E_l` (equation 7) with its targets, and the weight of the total variation.

    Attributes:
        content: P of each content layer.
        style: A of each style layer.
        style_weights: w_l of each style layer.
        alpha, beta: weights of content and style; 0 disables one.
        variation: weight of the total variation of the image.
    """

    content: Mapping[str, Tensor]
    style: Mapping[str, StyleTarget]
    style_weights: Mapping[str, float]
    alpha: float
    beta: float
    variation: float = 0.0

    @property
    def layers(self) -> list[str]:
        """The required layers."""
        return list(dict.fromkeys((*self.content, *self.style)))

    def __call__(self, responses: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """alpha L_content and beta sum_l w_l E_l, scalars; several content layers are summed."""
        zero = next(iter(responses.values())).new_zeros(())
        content = sum((content_loss(responses[layer], target) for layer, target in self.content.items()), start=zero)
        style = sum(
            (self.style_weights[layer] * style_loss(responses[layer], target) for layer, target in self.style.items()),
            start=zero,
        )
        return self.alpha * content, self.beta * style
