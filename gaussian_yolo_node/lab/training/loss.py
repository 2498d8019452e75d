"""The loss of Gaussian YOLOv3 (Choi et al., ICCV 2019) and, for comparison, of YOLOv3.

See docs/paper_facts.md, section 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.assign import Positives, assign
from gaussian_yolo_node.lab.training.box_losses import (
    MAX_ENTRY,
    MAX_LOG_SIZE,
    bounded,
    complete_iou,
    focal_cross_entropy,
    gaussian_box_loss,
    plain_box_loss,
)
from gaussian_yolo_node.labels import IGNORE
from gaussian_yolo_node.settings import NotNegative, Probability, check

OBJECTNESS = 8

# Images per box comparison, default the whole batch: a GPU is limited by kernel launches, a CPU by its cache.
IMAGES_AT_ONCE = {"cpu": 1}

# [P,9+C] raw entries, [P,4] targets, [P,4] weights -> [P]
BoxLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
BOX_LOSSES: dict[str, BoxLoss] = {"gaussian": gaussian_box_loss, "yolov3": plain_box_loss}


class LossConfigError(GaussianYoloError):
    """A loss option is out of range; the message names it."""


@dataclass(frozen=True)
class LossConfig:
    """Options of the loss, with the official defaults.

    Attributes:
        kind: "gaussian", or "yolov3" with the same heads and unused sigma entries.
        ignore_iou: cells whose box has a larger IoU with a truth do not count as background.
        ignore_region_share: share of a predicted box in an ignore region that exempts it from objectness training.
        positive_iou: see `assign`.
        box_weight, objectness_weight, class_weight: factors of the terms.
        iou_weight: factor of 1 - complete IoU of each matched box, added to the box term; 0 disables it.
        focal_gamma: of the objectness, see `focal_cross_entropy`.
        label_smoothing: class targets are label_smoothing / 2 and 1 - label_smoothing / 2.
    """

    kind: Literal["gaussian", "yolov3"] = "gaussian"
    ignore_iou: Probability = 0.5
    ignore_region_share: Probability = 0.5
    positive_iou: Probability = 1.0
    box_weight: NotNegative = 1.0
    objectness_weight: NotNegative = 1.0
    class_weight: NotNegative = 1.0
    iou_weight: NotNegative = 0.0
    focal_gamma: NotNegative = 0.0
    label_smoothing: Probability = 0.0

    def __post_init__(self) -> None:
        """Raises LossConfigError for the first value out of range."""
        check(self, LossConfigError, "loss.{}".format)


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


class YoloLoss:
    """Loss of raw heads against truths.

    Args:
        anchors: `[S,A,2]` w, h in canvas px, in the order of `strides` (coarsest first).
        num_classes: C.
    """

    def __init__(
        self, anchors: Sequence[Sequence[Sequence[float]]], strides: Sequence[int], num_classes: int, config: LossConfig
    ) -> None:
        self.anchors = torch.as_tensor(anchors, dtype=torch.float32)
        self.strides = tuple(strides)
        self.num_classes = num_classes
        self.config = config

    def __call__(
        self,
        heads: Sequence[Tensor],
        boxes: Sequence[Tensor],
        class_ids: Sequence[Tensor],
        box_weights: Sequence[Tensor] | None = None,
    ) -> Losses:
        """Loss of raw heads `[B, A*(9+C), h, w]` against per-image boxes `[N,4]` (canvas px) and class ids `[N]`.

        `box_weights`, `[N,4]` per image, are the weights of the errors of centre x, centre y, width and height of each
        box: default 1, less for coordinates with an uncertain teacher. Class id `IGNORE` marks a region without
        objectness training. Computed in float32, or float64 for float64 heads. Loss and gradients are finite for all
        heads, including infinities, but not for NaN.
        """
        config = self.config
        size = (heads[0].shape[2] * self.strides[0], heads[0].shape[3] * self.strides[0])
        # Half precision would lose the tail of the likelihood.
        dtype = torch.promote_types(heads[0].dtype, torch.float32)
        anchors = self.anchors.to(heads[0].device, dtype)
        boxes = [truth.to(anchors) for truth in boxes]
        assigned = assign(boxes, class_ids, anchors, self.strides, size, config.positive_iou, box_weights)
        box = objectness = classification = anchors.new_zeros(())
        for scale, (head, positives) in enumerate(zip(heads, assigned, strict=True)):
            batch, _, rows, columns = head.shape
            entries = bounded(head, MAX_ENTRY, dtype)
            entries = entries.view(batch, len(anchors[scale]), BOX_ENTRIES + self.num_classes, rows, columns)
            weight = self._objectness_weight(entries, scale, boxes, class_ids)
            target = torch.zeros_like(weight)
            where = (positives.image, positives.anchor, positives.row, positives.column)
            target[where] = 1.0
            weight[where] = 1.0
            cost = focal_cross_entropy(entries[:, :, OBJECTNESS], target, config.focal_gamma)
            objectness = objectness + (cost * weight).sum()
            picked = entries[positives.image, positives.anchor, :, positives.row, positives.column]
            box = box + self._box_loss(picked, positives, scale)
            one_hot = F.one_hot(positives.class_id, self.num_classes).to(dtype)
            smooth = one_hot * (1 - config.label_smoothing) + config.label_smoothing / 2
            classification = classification + F.binary_cross_entropy_with_logits(
                picked[:, BOX_ENTRIES:], smooth, reduction="sum"
            )
        count = sum(len(positives.image) for positives in assigned)
        share = 1.0 / max(count, 1)
        return Losses(
            box * share,
            objectness * (share * config.objectness_weight),
            classification * (share * config.class_weight),
            count,
        )

    def _box_loss(self, picked: Tensor, positives: Positives, scale: int) -> Tensor:
        """Picked entries `[P, 9+C]` against their targets, summed."""
        weight = positives.weight[:, None] * positives.coordinates
        loss = self.config.box_weight * BOX_LOSSES[self.config.kind](picked, positives.box, weight).sum()
        if self.config.iou_weight:
            mean = picked[:, 0:8:2]
            predicted = self._to_canvas(torch.cat([mean[:, :2].sigmoid(), mean[:, 2:]], 1), positives, scale)
            truth = self._to_canvas(positives.box, positives, scale)
            # The IoU depends on all four coordinates, so it gets their mean weight.
            share = positives.coordinates.mean(1)
            loss = loss + self.config.iou_weight * (share * (1 - complete_iou(predicted, truth))).sum()
        return loss

    def _to_canvas(self, t: Tensor, positives: Positives, scale: int) -> Tensor:
        """Boxes `[P,4]` (centre x, centre y, w, h; canvas px) of t_x t_y t_w t_h."""
        cells = torch.stack([positives.column, positives.row], 1)
        anchors = self.anchors[scale].to(t)[positives.anchor]
        return torch.cat([(cells + t[:, :2]) * self.strides[scale], bounded(t[:, 2:], MAX_LOG_SIZE).exp() * anchors], 1)

    @torch.no_grad()
    def _objectness_weight(
        self, entries: Tensor, scale: int, boxes: Sequence[Tensor], class_ids: Sequence[Tensor]
    ) -> Tensor:
        """`[B,A,h,w]`: 1 for background cells, 0 for cells whose box overlaps a truth or an ignore region."""
        corners = self._decode(entries, scale)
        weight = entries.new_ones(*entries.shape[:2], *entries.shape[3:])
        at_once = IMAGES_AT_ONCE.get(entries.device.type, len(boxes))
        for first in range(0, len(boxes), at_once):
            images = slice(first, first + at_once)
            # Padding boxes have no area, so nothing overlaps them.
            truth = pad_sequence(list(boxes[images]), batch_first=True)
            ids = pad_sequence([own.to(entries.device) for own in class_ids[images]], batch_first=True)
            if not truth.shape[1]:
                continue
            # One plane per coordinate and one row per truth: twice as fast as pairs of boxes.
            x1, y1, x2, y2 = (plane[images].flatten(1)[:, None] for plane in corners)
            left, top, right, bottom = (side[..., None] for side in truth.unbind(2))
            across = (torch.minimum(x2, right) - torch.maximum(x1, left)).clamp(min=0)
            inner = across * (torch.minimum(y2, bottom) - torch.maximum(y1, top)).clamp(min=0)
            area, other = (x2 - x1) * (y2 - y1), ((right - left) * (bottom - top)).clamp(min=0)
            met = inner > self.config.ignore_iou * (area + other - inner)
            region = (inner > self.config.ignore_region_share * area) & (ids == IGNORE)[..., None]
            weight[images] = (~(met | region).any(1)).to(weight.dtype).view(weight[images].shape)
        return weight

    def _decode(self, entries: Tensor, scale: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """x1, y1, x2, y2 `[B,A,h,w]` of the mean boxes, canvas px."""
        stride = self.strides[scale]
        rows, columns = entries.shape[3:]
        x = (torch.arange(columns, device=entries.device) + entries[:, :, 0].sigmoid()) * stride
        y = (torch.arange(rows, device=entries.device)[:, None] + entries[:, :, 2].sigmoid()) * stride
        half = self.anchors[scale].to(entries).view(-1, 2, 1, 1) / 2
        w = entries[:, :, 4].clamp(max=MAX_LOG_SIZE).exp() * half[:, 0]
        h = entries[:, :, 6].clamp(max=MAX_LOG_SIZE).exp() * half[:, 1]
        return x - w, y - h, x + w, y + h
