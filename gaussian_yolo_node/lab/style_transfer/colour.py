"""Keeping the content's colours (Gatys, Bethge, Hertzmann, Shechtman, "Preserving Color in Neural Artistic Style
Transfer", 2016). Images are RGB tensors `[1,3,H,W]`, 0..1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

PreserveColour = Literal["none", "histogram", "luminance"]

# Y of YIQ. I and Q do not change if R, G and B change by the same amount.
_LUMINANCE = (0.299, 0.587, 0.114)
# Variance of byte rounding, (1/255)^2 / 12; a colour direction below it contains only noise.
_ROUNDING = 1 / 255**2 / 12


def match_colours(style: Tensor, content: Tensor) -> Tensor:
    """The style image with the mean and covariance of the content's colours (section 3, "color histogram matching").

    Also used with the roles exchanged. `A x + b` with `A = Sc^1/2 Ss^-1/2`, the paper's "image analogies" form; its
    symmetric roots keep the axes of the colour distribution. Not clipped: the network accepts colours beyond 0..1, and
    clipping would spoil the match.
    """
    of_style, of_content = (image[0].flatten(1).double() for image in (style, content))
    style_mean, content_mean = of_style.mean(1, keepdim=True), of_content.mean(1, keepdim=True)
    transform = _root(_covariance(of_content), 0.5) @ _root(_covariance(of_style), -0.5)
    return (transform @ (of_style - style_mean) + content_mean).view(style.shape).to(style)


def luminance(image: Tensor) -> Tensor:
    """Y of YIQ, `[1,1,H,W]`."""
    return (image * image.new_tensor(_LUMINANCE).view(3, 1, 1)).sum(1, keepdim=True)


def match_luminance(style: Tensor, content: Tensor) -> Tensor:
    """The style's luminance `[1,1,H,W]` with the content's mean and standard deviation (section 4); flat stays flat."""
    deviation = style.std().clamp_min(_ROUNDING**0.5)
    return (style - style.mean()) * (content.std() / deviation) + content.mean()


def with_luminance(image: Tensor, wanted: Tensor) -> Tensor:
    """The image with another luminance `[1,1,H,W]` and its own I and Q, clipped to 0..1."""
    return (image + wanted - luminance(image)).clamp(0, 1)


def _covariance(colours: Tensor) -> Tensor:
    centred = colours - colours.mean(1, keepdim=True)
    return centred @ centred.T / colours.shape[1]


def _root(covariance: Tensor, power: float) -> Tensor:
    """A symmetric power of a covariance matrix; handles directions without variance (grey and flat images)."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(_ROUNDING) ** power) @ vectors.T
