"""Losses of a matched box as functions of raw head entries, finite for any input.

Gaussian negative log likelihood (Choi et al., "Gaussian YOLOv3", ICCV 2019, eq. 5-6; docs/paper_facts.md, section 1),
the squared and logistic errors of YOLOv3 (Redmon & Farhadi, 2018), and complete IoU (Zheng et al., "Distance-IoU Loss",
AAAI 2020).
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMA_OFFSET = 0.3  # only in the normaliser; bounds the likelihood of a confident box
LIKELIHOOD_FLOOR = 1e-9
LEAST_SIGMA = 1e-3  # minimum divisor of errors
# At this z the likelihood is zero even in float64, so the limit affects neither value nor gradient.
GREATEST_Z = 100.0
# Sizes beyond exp(+-8) anchors would overflow.
MAX_LOG_SIZE = 8.0
# Maximum magnitude of a raw head entry; its square, summed over a batch, is far below the float32 maximum.
MAX_ENTRY = 1e6

MEANS = slice(0, 8, 2)
SIGMAS = slice(1, 8, 2)


class _Bounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, limit: float, dtype: torch.dtype) -> Tensor:
        ctx.dtype = value.dtype
        return value.to(dtype).clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        # The half-precision maximum is 65504; a clamped gradient keeps its direction.
        largest = torch.finfo(ctx.dtype).max
        return gradients[0].clamp(-largest, largest).to(ctx.dtype), None, None


def bounded(value: Tensor, limit: float, dtype: torch.dtype | None = None) -> Tensor:
    """`value` clamped to +-limit, in another dtype if given; the gradient passes through unchanged.

    A diverged entry therefore still gets a gradient, unlike with `clamp`.
    """
    return cast(Tensor, _Bounded.apply(value, limit, dtype or value.dtype))


def gaussian_nll(target: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """`-ln(N(target | mean, sigma) + 1e-9)`, elementwise, without the `1/2 (2 - w*h)` factor.

    `N = exp(-z^2/2) / (sqrt(2 pi) (sigma + 0.3))`, z = (target - mean) / sigma; computed in logarithms, so that no
    gradient is 0 times infinity. z divides by a sigma of at least 1e-3; below that, sigma keeps the gradient of
    this limit, so it can grow if the error requires it. As in the official code, a box more than about 6 sigma from
    its target has no gradient, because the floor of 1e-9 exceeds its likelihood.

    Args:
        log_sigma: natural logarithms of the standard deviations, at most 0.
    """
    z = (target - mean) * torch.exp(-bounded(log_sigma, -math.log(LEAST_SIGMA)))
    z = z.clamp(-GREATEST_Z, GREATEST_Z)
    log_likelihood = -0.5 * z * z - torch.log(math.sqrt(2 * math.pi) * (log_sigma.exp() + SIGMA_OFFSET))
    return -torch.logaddexp(log_likelihood, torch.full_like(log_likelihood, math.log(LIKELIHOOD_FLOOR)))


def gaussian_box_loss(entries: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Gaussian YOLOv3's box loss `[P]` of matched boxes.

    Args:
        entries: raw `[P, 9+C]`.
        target: t_x t_y t_w t_h `[P,4]`; weight: `2 - w*h`, times the weight of each coordinate, `[P,4]`.
    """
    means = entries[:, MEANS]
    means = torch.cat([means[:, :2].sigmoid(), means[:, 2:]], 1)
    return 0.5 * (weight * gaussian_nll(target, means, F.logsigmoid(entries[:, SIGMAS]))).sum(1)


def plain_box_loss(entries: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """YOLOv3's box loss `[P]` of matched boxes: cross-entropy of the centre, half the squared error of the log size.

    The arguments are those of `gaussian_box_loss`; the sigma entries are ignored.
    """
    means = entries[:, MEANS]
    centre = F.binary_cross_entropy_with_logits(means[:, :2], target[:, :2], reduction="none")
    size = 0.5 * (target[:, 2:] - means[:, 2:]).square()
    return (weight * torch.cat([centre, size], 1)).sum(1)


def complete_iou(boxes: Tensor, truths: Tensor) -> Tensor:
    """Complete IoU `[P]`, -1.5 to 1, of boxes and truths `[P,4]` (centre x, centre y, w, h; px).

    IoU minus the squared distance of the centres divided by the squared diagonal of the enclosing box, minus a penalty
    for different aspect ratios. Here the gradient includes the weight of this penalty; in the paper the weight is
    constant. The value is the same, and a larger IoU never increases the loss. Boxes without area have IoU 0.
    """
    tiny = 1e-7
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    truth_low, truth_high = truths[:, :2] - truths[:, 2:] / 2, truths[:, :2] + truths[:, 2:] / 2
    inner = (torch.minimum(high, truth_high) - torch.maximum(low, truth_low)).clamp(min=0).prod(1)
    iou = inner / (boxes[:, 2:].prod(1) + truths[:, 2:].prod(1) - inner).clamp(min=tiny)
    enclosing = (torch.maximum(high, truth_high) - torch.minimum(low, truth_low)).square().sum(1)
    distance = (boxes[:, :2] - truths[:, :2]).square().sum(1) / enclosing.clamp(min=tiny)
    angles = torch.atan2(boxes[:, 2], boxes[:, 3]) - torch.atan2(truths[:, 2], truths[:, 3])
    shape = (2 / math.pi * angles).square()
    return iou - distance - shape.square() / (1 - iou + shape).clamp(min=tiny)


def focal_cross_entropy(logits: Tensor, targets: Tensor, gamma: float) -> Tensor:
    """Cross-entropy of logits and targets 0 or 1, times `|target - p|^gamma` (Lin et al., ICCV 2017), elementwise.

    gamma 0 is plain cross-entropy.
    """
    wrong = (1 - 2 * targets) * logits  # the logit of the probability of the wrong answer
    loss = F.softplus(wrong)
    # In log space, because a power of the probability has an infinite slope at 0.
    return loss * torch.exp(gamma * F.logsigmoid(wrong)) if gamma else loss
