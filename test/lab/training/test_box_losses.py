"""Losses of matched boxes: formulas, and gradients of diverged values."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.lab.training.box_losses import (  # noqa: E402
    bounded,
    complete_iou,
    focal_cross_entropy,
    gaussian_nll,
    plain_box_loss,
)


def nll_and_pulls(error: float, sigma_logit: float) -> tuple[float, float, float]:
    """The loss of a mean `error` below its target, and the negative gradients of mean and sigma logit."""
    mean = torch.tensor([-error], dtype=torch.float64, requires_grad=True)
    logit = torch.tensor([sigma_logit], dtype=torch.float64, requires_grad=True)
    loss = gaussian_nll(torch.zeros(1, dtype=torch.float64), mean, torch.nn.functional.logsigmoid(logit))
    loss.sum().backward()
    assert mean.grad is not None and logit.grad is not None
    return loss.item(), -mean.grad.item(), -logit.grad.item()


@pytest.mark.parametrize("error", [0.0, 0.01, 0.2, 1.5])
@pytest.mark.parametrize("sigma", [0.01, 0.25, 0.9])
def test_likelihood_matches_the_formula(error: float, sigma: float) -> None:
    density = math.exp(-0.5 * (error / sigma) ** 2) / (math.sqrt(2 * math.pi) * (sigma + 0.3))
    loss, _, _ = nll_and_pulls(error, math.log(sigma / (1 - sigma)))
    assert loss == pytest.approx(-math.log(density + 1e-9), rel=1e-9)


@pytest.mark.parametrize(
    ("error", "sigma_logit", "mean_moves", "sigma_moves"),
    [
        (0.1, 0.0, 1, -1),  # sigma 0.5 is too wide for the error
        (0.5, -2.0, 1, 1),  # sigma 0.12 is too narrow
        (0.004, -50.0, 1, 1),  # diverged sigma, small error: both recover
        (0.0, -50.0, 0, 0),
        (0.3, -50.0, 0, 0),  # as in the official code, no gradient for a hopeless box
        (1e6, 0.0, 0, -1),  # beyond the floor only the small gradient of the normaliser remains
    ],
)
def test_pulls_have_the_right_sign(error: float, sigma_logit: float, mean_moves: int, sigma_moves: int) -> None:
    _, mean, sigma = nll_and_pulls(error, sigma_logit)
    assert np.sign(mean) == mean_moves
    assert np.sign(sigma) == sigma_moves or abs(sigma) < 1e-6


@pytest.mark.parametrize(
    ("dtype", "gradient", "expected"),
    [
        (torch.float16, 1e6, 65504.0),  # the largest number of half precision
        (torch.float16, -1e6, -65504.0),
        (torch.bfloat16, 1e6, 999424.0),
        (torch.float32, 1e6, 1e6),
    ],
)
def test_a_bound_lets_the_gradient_pass(dtype: torch.dtype, gradient: float, expected: float) -> None:
    value = torch.tensor([-500.0, 2.0, 500.0], dtype=dtype, requires_grad=True)
    held = bounded(value, 100.0, torch.float32)
    assert held.tolist() == [-100.0, 2.0, 100.0] and held.dtype == torch.float32
    (held * gradient).sum().backward()
    assert value.grad is not None and value.grad.tolist() == [expected] * 3


@pytest.mark.parametrize(
    ("box", "truth", "expected"),
    [
        ([50, 50, 20, 10], [50, 50, 20, 10], 1.0),
        ([50, 50, 20, 20], [50, 50, 10, 10], 0.25),  # same shape and centre: only IoU
        ([10, 10, 10, 10], [30, 10, 10, 10], -(20**2) / (30**2 + 10**2)),  # disjoint: only the distance
        ([10, 10, 0, 0], [10, 10, 0, 0], 0.0),
    ],
)
def test_complete_iou(box: list[float], truth: list[float], expected: float) -> None:
    found = complete_iou(torch.tensor([box]).double(), torch.tensor([truth]).double())
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_complete_iou_penalises_the_shape() -> None:
    """Zheng et al.: v = 4/pi^2 (atan w/h - atan w'/h')^2, alpha = v / (1 - IoU + v)."""
    wide, tall = torch.tensor([[50.0, 50, 40, 10]]), torch.tensor([[50.0, 50, 10, 40]])
    iou = 100 / 700
    v = 4 / math.pi**2 * (math.atan(4) - math.atan(0.25)) ** 2
    assert complete_iou(wide, tall).item() == pytest.approx(iou - v**2 / (1 - iou + v), rel=1e-5)


def test_plain_loss_matches_the_formula() -> None:
    entries = torch.tensor([[0.3, 9, -0.4, 9, 0.2, 9, -0.1, 9, 0, 0]])
    target = torch.tensor([[0.6, 0.2, 0.5, -0.3]])
    x, y = 1 / (1 + math.exp(-0.3)), 1 / (1 + math.exp(0.4))
    cross = -(0.6 * math.log(x) + 0.4 * math.log(1 - x) + 0.2 * math.log(y) + 0.8 * math.log(1 - y))
    expected = 1.9 * (cross + 0.5 * (0.3**2 + 0.2**2))
    assert plain_box_loss(entries, target, torch.full((1, 4), 1.9)).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("logit", [-3.0, 0.0, 1.5])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_loss_matches_the_formula(gamma: float, logit: float, target: float) -> None:
    p = 1 / (1 + math.exp(-logit))
    right = p if target else 1 - p
    found = focal_cross_entropy(torch.tensor([logit]), torch.tensor([target]), gamma)
    assert found.item() == pytest.approx(-((1 - right) ** gamma) * math.log(right), rel=1e-5)
