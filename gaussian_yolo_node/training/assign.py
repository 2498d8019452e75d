"""Which cell and anchor answers for which truth (SPEC section 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """Assigned (image, anchor, cell) entries of one head; all tensors have length P.

    image, anchor, row, column: int64 indices; class_id: int64.
    box: float32 `[P,4]` targets t_x t_y t_w t_h; weight: float32, `2 - w*h` with the truth's relative size.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    class_id: Tensor
    box: Tensor
    weight: Tensor


def assign(
    boxes: Sequence[Tensor],
    class_ids: Sequence[Tensor],
    anchors: Tensor,
    strides: Sequence[int],
    size: tuple[int, int],
    positive_iou: float = 1.0,
) -> list[Positives]:
    """Give each truth to the anchor, of all scales, with the best shape IoU, and to the cell of its centre.

    Args:
        boxes: per image `[N,4]` x1 y1 x2 y2 in canvas px; class_ids: per image `[N]`, negative ones are skipped.
        anchors: `[S,A,2]` canvas px, in the order of `strides`.
        size: canvas height and width, px.
        positive_iou: every further anchor whose shape IoU exceeds this answers too; 1 is the official rule.

    Returns:
        one `Positives` a head. Two truths on one entry: the later one wins, as in the official code.
    """
    scales, per_scale = anchors.shape[:2]
    image = torch.cat([torch.full((len(b),), i, dtype=torch.int64) for i, b in enumerate(boxes)])
    truth = torch.cat(list(boxes)).float()
    ids = torch.cat(list(class_ids)).long()
    keep = ids >= 0
    image, truth, ids = image[keep], truth[keep], ids[keep]
    centre, sides = (truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]
    overlap = shape_iou(sides, anchors.reshape(-1, 2))
    chosen = overlap > positive_iou
    if len(truth):
        chosen[torch.arange(len(truth)), overlap.argmax(1)] = True
    height, width = size
    weight = 2 - sides.prod(1) / (height * width)
    heads = []
    for scale in range(scales):
        index, anchor = chosen[:, scale * per_scale : (scale + 1) * per_scale].nonzero(as_tuple=True)
        stride = strides[scale]
        position = centre[index] / stride
        limit = torch.tensor([width // stride - 1, height // stride - 1])
        cell = position.floor().long().clamp(min=torch.zeros(2, dtype=torch.int64), max=limit)
        target = torch.cat([position - cell, (sides[index] / anchors[scale, anchor]).log()], 1)
        last = _last_of_each(
            ((image[index] * per_scale + anchor) * (height // stride) + cell[:, 1]) * (width // stride) + cell[:, 0]
        )
        index, anchor, cell, target = index[last], anchor[last], cell[last], target[last]
        heads.append(Positives(image[index], anchor, cell[:, 1], cell[:, 0], ids[index], target, weight[index]))
    return heads


def shape_iou(sides: Tensor, anchors: Tensor) -> Tensor:
    """IoU `[N,K]` of boxes `[N,2]` and anchors `[K,2]` (w, h) laid on one corner."""
    inner = torch.minimum(sides[:, None], anchors[None]).prod(2)
    return inner / (sides.prod(1)[:, None] + anchors.prod(1)[None] - inner)


def _last_of_each(keys: Tensor) -> Tensor:
    """Indices of the last occurrence of every distinct key, ascending by key."""
    _, inverse = keys.unique(return_inverse=True)
    last = torch.zeros(int(inverse.max()) + 1 if len(keys) else 0, dtype=torch.int64)
    return last.scatter_reduce(0, inverse, torch.arange(len(keys)), "amax", include_self=False)
