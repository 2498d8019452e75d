"""Gaussian YOLOv3's loss (Choi et al., ICCV 2019, eq. 5-6; SPEC section 1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from gaussian_yolo_node.training.assign import Positives, assign
from gaussian_yolo_node.training.datasets import IGNORE

SIGMA_OFFSET = 0.3  # in the normaliser only: keeps the likelihood of a confident box bounded
LIKELIHOOD_FLOOR = 1e-9
# exp(mu) is taken to the canvas to find ignored cells; beyond this it only overflows.
MAX_LOG_SIZE = 8.0


@dataclass(frozen=True)
class LossConfig:
    """ignore_iou: cells whose box meets a truth better than this are no background; positive_iou: see `assign`."""

    ignore_iou: float = 0.5
    ignore_region_share: float = 0.5  # share of a predicted box inside an ignore region that exempts it
    positive_iou: float = 1.0
    box_weight: float = 1.0
    objectness_weight: float = 1.0
    class_weight: float = 1.0


@dataclass(frozen=True)
class Losses:
    """Loss terms, each a scalar per matched truth entry."""

    box: Tensor
    objectness: Tensor
    classification: Tensor
    positives: int

    @property
    def total(self) -> Tensor:
        return self.box + self.objectness + self.classification


def gaussian_nll(target: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """`-ln(N(target | mean, sigma) + 1e-9)`, elementwise, without the `1/2 (2 - w*h)` factor.

    `N = exp(-z^2/2) / (sqrt(2 pi) (sigma + 0.3))`, z = (target - mean) / sigma. The division is by a sigma no less
    than 1e-3 and z is bounded, so that neither value nor gradient is NaN for any input.
    """
    z = ((target - mean) / sigma.clamp(min=1e-3)).clamp(-1e3, 1e3)
    likelihood = torch.exp(-0.5 * z * z) / (math.sqrt(2 * math.pi) * (sigma + SIGMA_OFFSET))
    return -torch.log(likelihood + LIKELIHOOD_FLOOR)


class GaussianYoloLoss:
    """Loss of raw heads against truths.

    Args:
        anchors: `[S,A,2]` canvas px, in the order of `strides` (coarsest first).
    """

    def __init__(self, anchors: Tensor, strides: Sequence[int], num_classes: int, config: LossConfig) -> None:
        self.anchors = anchors
        self.strides = tuple(strides)
        self.num_classes = num_classes
        self.config = config

    def __call__(self, heads: Sequence[Tensor], boxes: Sequence[Tensor], class_ids: Sequence[Tensor]) -> Losses:
        """Loss of raw heads `[B, A*(9+C), h, w]` against per-image boxes `[N,4]` (canvas px) and class ids `[N]`.

        Class id `IGNORE` marks a region where objectness is not trained.
        """
        config = self.config
        size = (heads[0].shape[2] * self.strides[0], heads[0].shape[3] * self.strides[0])
        assigned = assign(boxes, class_ids, self.anchors, self.strides, size, config.positive_iou)
        zero = heads[0].new_zeros((), dtype=torch.float32)
        box, objectness, classification = zero, zero, zero
        count = 0
        for scale, (head, positives) in enumerate(zip(heads, assigned, strict=True)):
            batch, _, rows, columns = head.shape
            # Half precision would lose the likelihood's tail.
            entries = head.float().view(batch, len(self.anchors[scale]), 9 + self.num_classes, rows, columns)
            count += len(positives.image)
            weight = self._objectness_weight(entries, scale, size, boxes, class_ids)
            target = torch.zeros_like(weight)
            where = (positives.image, positives.anchor, positives.row, positives.column)
            target[where] = 1.0
            weight[where] = 1.0
            objectness = objectness + F.binary_cross_entropy_with_logits(
                entries[:, :, 8], target, weight, reduction="sum"
            )
            picked = entries[positives.image, positives.anchor, :, positives.row, positives.column]
            box = box + self._box_loss(picked, positives)
            one_hot = F.one_hot(positives.class_id, self.num_classes).float()
            classification = classification + F.binary_cross_entropy_with_logits(
                picked[:, 9:], one_hot, reduction="sum"
            )
        share = 1.0 / max(count, 1)
        return Losses(
            box * (share * config.box_weight),
            objectness * (share * config.objectness_weight),
            classification * (share * config.class_weight),
            count,
        )

    def _box_loss(self, picked: Tensor, positives: Positives) -> Tensor:
        """Picked entries `[P, 9+C]` against their targets."""
        raw_mean, sigma = picked[:, 0:8:2], picked[:, 1:8:2].sigmoid()
        mean = torch.cat([raw_mean[:, :2].sigmoid(), raw_mean[:, 2:]], 1)
        nll = gaussian_nll(positives.box, mean, sigma)
        return (0.5 * positives.weight[:, None] * nll).sum()

    @torch.no_grad()
    def _objectness_weight(
        self,
        entries: Tensor,
        scale: int,
        size: tuple[int, int],
        boxes: Sequence[Tensor],
        class_ids: Sequence[Tensor],
    ) -> Tensor:
        """`[B,A,h,w]`: 1 where an empty cell is background, 0 where its box meets a truth or an ignore region."""
        predicted = self._decode(entries, scale)
        weight = torch.ones(entries.shape[0], entries.shape[1], *entries.shape[3:])
        for index, (truth, ids) in enumerate(zip(boxes, class_ids, strict=True)):
            if not len(truth):
                continue
            flat = predicted[index].reshape(-1, 4)
            inner = _intersection(flat, truth)
            area = (flat[:, 2:] - flat[:, :2]).prod(1)[:, None]
            other = (truth[:, 2:] - truth[:, :2]).prod(1)[None]
            met = inner / (area + other - inner).clamp(min=1e-6) > self.config.ignore_iou
            region = (inner / area.clamp(min=1e-6) > self.config.ignore_region_share) & (ids == IGNORE)[None]
            weight[index] = (~(met | region).any(1)).float().view(weight.shape[1:])
        return weight

    def _decode(self, entries: Tensor, scale: int) -> Tensor:
        """Mean boxes `[B,A,h,w,4]`, x1 y1 x2 y2 in canvas px."""
        stride = self.strides[scale]
        rows, columns = entries.shape[3:]
        x = (torch.arange(columns) + entries[:, :, 0].sigmoid()) * stride
        y = (torch.arange(rows)[:, None] + entries[:, :, 2].sigmoid()) * stride
        anchors = self.anchors[scale]
        w = entries[:, :, 4].clamp(max=MAX_LOG_SIZE).exp() * anchors[:, 0].view(1, -1, 1, 1)
        h = entries[:, :, 6].clamp(max=MAX_LOG_SIZE).exp() * anchors[:, 1].view(1, -1, 1, 1)
        return torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Areas `[N,M]` of the intersections of boxes `[N,4]` and `[M,4]`."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    return (high - low).clamp(min=0).prod(2)
