"""FGSM (Goodfellow et al., ICLR 2015) and PGD (Madry et al., ICLR 2018), with an L-infinity bound.

See docs/paper_facts.md, section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gaussian_yolo_node.lab.robustness import RobustnessError

Loss = Callable[[Tensor], Tensor]  # pixels [B,3,H,W], 0..255 -> loss per image [B]


def fgsm(pixels: Tensor, loss: Loss, epsilon: float) -> Tensor:
    """`pixels + epsilon * sign(gradient)`, clipped to 0..255; epsilon 0 returns an exact copy.

    Args:
        pixels: float [B,3,H,W], 0..255.
        epsilon: in pixel values.
    """
    _check(epsilon)
    if not epsilon:
        return pixels.clone()
    return (pixels + epsilon * _gradient(pixels, loss).sign()).clamp(0, 255)


def pgd(
    pixels: Tensor, loss: Loss, epsilon: float, *, steps: int = 10, generator: torch.Generator | None = None
) -> Tensor:
    """`steps` FGSM steps of 2.5 epsilon / steps with projection, from a random start; keeps the worst step per image.

    The arguments are those of `fgsm`; `generator` draws the start.
    """
    _check(epsilon)
    if steps < 1:
        raise RobustnessError(f"PGD with {steps} steps is not possible: give 1 or more")
    if not epsilon:
        return pixels.clone()
    noise = torch.rand(pixels.shape, generator=generator, dtype=pixels.dtype).to(pixels.device)
    at = (pixels + epsilon * (2 * noise - 1)).clamp(0, 255)
    worst = at
    with torch.no_grad():
        greatest = loss(at)
    for _ in range(steps):
        at = at + 2.5 * epsilon / steps * _gradient(at, loss).sign()
        at = torch.minimum(torch.maximum(at, pixels - epsilon), pixels + epsilon).clamp(0, 255)
        with torch.no_grad():
            now = loss(at)
        better = now > greatest
        worst = torch.where(better[:, None, None, None], at, worst)
        greatest = torch.where(better, now, greatest)
    return worst


def _gradient(pixels: Tensor, loss: Loss) -> Tensor:
    leaf = pixels.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(leaf).sum(), leaf)
    return gradient


def _check(epsilon: float) -> None:
    if not 0 <= epsilon <= 255:
        raise RobustnessError(f"epsilon {epsilon} is not possible: give 0 to 255")


ATTACKS = ("fgsm", "pgd")


def attacked(kind: str, pixels: Tensor, loss: Loss, epsilon: float, generator: torch.Generator | None = None) -> Tensor:
    """`pixels` after an attack of `ATTACKS`."""
    return fgsm(pixels, loss, epsilon) if kind == "fgsm" else pgd(pixels, loss, epsilon, generator=generator)


def check_attacks(kinds: Sequence[str], epsilons: Sequence[float]) -> None:
    """Raises RobustnessError for an unknown attack or an invalid epsilon."""
    for kind in kinds:
        if kind not in ATTACKS:
            raise RobustnessError(f"there is no attack {kind!r}: known are {', '.join(ATTACKS)}")
    if kinds and not epsilons:
        raise RobustnessError("an attack needs epsilons, such as 0,2,4")
    for epsilon in epsilons:
        _check(epsilon)
