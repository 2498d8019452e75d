"""Optimise the pixels of an image for its targets by L-BFGS, as in the paper, or Adam."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.style_transfer.extractors import Extractor
from gaussian_yolo_node.lab.style_transfer.losses import Objective, total_variation

Optimizer = Literal["lbfgs", "adam"]
HISTORY = 20  # steps in L-BFGS's curvature estimate
MOST_EVALUATIONS = 26  # per L-BFGS step: the current point and the line search
ADAM_RATE = 0.02  # for pixels 0..1


class OptimisationError(GaussianYoloError):
    """The loss is not finite."""


@dataclass(frozen=True)
class Loss:
    """The loss of one image: content, style and total variation, weighted."""

    content: float
    style: float
    variation: float = 0.0

    @property
    def total(self) -> float:
        return self.content + self.style + self.variation


@dataclass(frozen=True, eq=False)
class Optimised:
    """Result of an optimisation.

    Attributes:
        image: 0..1, with the channels of the start.
        losses: of the start and after each step; L-BFGS ends early if no step decreases the loss.
    """

    image: Tensor
    losses: Sequence[Loss]


def optimise(
    start: Tensor,
    extractor: Extractor,
    objective: Objective,
    *,
    steps: int,
    optimizer: Optimizer = "lbfgs",
    on_step: Callable[[int, Loss], None] | None = None,
) -> Optimised:
    """Minimise the objective over the pixels, from `start`.

    L-BFGS uses a line search with the strong Wolfe conditions, so no step increases the loss.

    Args:
        start: RGB `[1,3,H,W]` or grey `[1,1,H,W]`, 0..1; not changed.
        steps: of the optimizer; an L-BFGS step evaluates the loss once or several times.
        on_step: called with the number of finished steps and the loss.

    Raises:
        OptimisationError: the loss became NaN or infinite.
    """
    pixels = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
    latest: list[Loss] = []
    scale: float | None = None

    def evaluate() -> Tensor:
        nonlocal scale
        content, style = objective(extractor.responses(pixels.expand(-1, 3, -1, -1), objective.layers))
        variation = objective.variation * total_variation(pixels)
        total = content + style + variation
        loss = Loss(content.item(), style.item(), variation.item())
        if not math.isfinite(loss.total):
            raise OptimisationError(
                f"the loss became {loss.total} (content {loss.content:g}, style {loss.style:g}) at step {len(losses)}: "
                "take a smaller beta or alpha, or --start content"
            )
        gradient = torch.autograd.grad(total, pixels)[0].contiguous()
        if scale is None:
            # The gradient per pixel of a large frame is 1e-8 or less, below the tolerance of both optimizers.
            scale = 1 / (gradient.abs().mean().item() or 1.0)
        pixels.grad = gradient * scale
        latest[:] = [loss]
        return total.detach() * scale

    losses: list[Loss] = []
    step = _lbfgs_step(pixels, evaluate) if optimizer == "lbfgs" else _adam_step(pixels, evaluate)
    evaluate()
    losses.append(latest[0])
    for number in range(1, steps + 1):
        before = pixels.detach().clone()
        step()
        losses.append(latest[0])
        if on_step is not None:
            on_step(number, losses[-1])
        if torch.equal(before, pixels.detach()):
            break
    return Optimised(pixels.detach().clamp(0, 1), losses)


def _lbfgs_step(pixels: Tensor, evaluate: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.LBFGS(
        [pixels],
        lr=1,
        max_iter=1,
        max_eval=MOST_EVALUATIONS,
        history_size=HISTORY,
        line_search_fn="strong_wolfe",
        tolerance_grad=0,
        tolerance_change=0,
    )
    known = _Remembered(pixels, evaluate)

    def step() -> None:
        optimizer.step(known)
        known()  # the last point of the line search may not be the accepted one

    return step


class _Remembered:
    """Caches the last evaluation, because torch's L-BFGS evaluates the current point again."""

    def __init__(self, pixels: Tensor, evaluate: Callable[[], Tensor]) -> None:
        self._pixels, self._evaluate = pixels, evaluate
        self._at: Tensor | None = None
        self._loss = torch.zeros(())
        self._gradient: Tensor | None = None

    def __call__(self) -> Tensor:
        if self._at is None or not torch.equal(self._at, self._pixels.detach()):
            self._loss = self._evaluate()
            self._at = self._pixels.detach().clone()
            assert self._pixels.grad is not None
            self._gradient = self._pixels.grad.clone()
        self._pixels.grad = self._gradient
        return self._loss


def _adam_step(pixels: Tensor, evaluate: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.Adam([pixels], lr=ADAM_RATE)

    def step() -> None:
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0, 1)
        evaluate()

    return step
