"""Assignment of truths to cells and anchors (docs/paper_facts.md, section 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Positives:
    """Assigned (image, anchor, cell) entries of one head; all tensors have length P.

    image, anchor, row, column: int64 indices; class_id: int64.
    box: `[P,4]` targets t_x t_y t_w t_h; weight: `[P]` `2 - w*h` with the truth's relative size; coordinates: `[P,4]`
    weight of each target's error. All in the anchors' dtype.
    """

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    class_id: Tensor
    box: Tensor
    weight: Tensor
    coordinates: Tensor


def assign(
    boxes: Sequence[Tensor],
    class_ids: Sequence[Tensor],
    anchors: Tensor,
    strides: Sequence[int],
    size: tuple[int, int],
    positive_iou: float = 1.0,
    box_weights: Sequence[Tensor] | None = None,
) -> list[Positives]:
    """Assign each truth to the anchor with the best shape IoU over all scales, in the cell of its centre.

    Args:
        boxes: per image `[N,4]` x1 y1 x2 y2 in canvas px; class_ids: per image `[N]`, negative ids are skipped. Truths
            without area, with non-finite values or with a centre outside the canvas are skipped too.
        anchors: `[S,A,2]` canvas px, in the order of `strides`.
        size: canvas height and width, px.
        positive_iou: further anchors whose shape IoU exceeds this are assigned too; 1 is the official rule.
        box_weights: per image `[N,4]`, weights of the errors of centre x, centre y, width and height; default 1.

    Returns:
        one `Positives` per head. If two truths share an entry, the later one wins, as in the official code; but a
        further anchor never replaces a truth at its best anchor.
    """
    per_scale = anchors.shape[1]
    device = anchors.device
    height, width = size
    counts = torch.tensor([len(b) for b in boxes], device=device)
    image = torch.repeat_interleave(torch.arange(len(boxes), device=device), counts)
    truth = torch.cat(list(boxes)).to(anchors)
    ids = torch.cat(list(class_ids)).to(device).long()
    coordinates = torch.ones_like(truth) if box_weights is None else torch.cat(list(box_weights)).to(truth)
    canvas = torch.tensor([width, height], device=device)
    centre, sides = (truth[:, :2] + truth[:, 2:]) / 2, truth[:, 2:] - truth[:, :2]
    answerable = (sides > 0) & torch.isfinite(sides) & (centre >= 0) & (centre <= canvas)
    keep = (ids >= 0) & answerable.all(1)
    image, centre, sides, ids, coordinates = image[keep], centre[keep], sides[keep], ids[keep], coordinates[keep]
    overlap = shape_iou(sides, anchors.reshape(-1, 2))
    best = torch.zeros_like(overlap, dtype=torch.bool)
    if len(ids):
        best[torch.arange(len(ids), device=device), overlap.argmax(1)] = True
    chosen = best | (overlap > positive_iou)
    weight = 2 - (sides.prod(1) / (height * width)).clamp(max=1)
    heads = []
    for scale, stride in enumerate(strides):
        own = slice(scale * per_scale, (scale + 1) * per_scale)
        index, anchor = chosen[:, own].nonzero(as_tuple=True)
        order = best[:, own][index, anchor].to(torch.uint8).argsort(stable=True)
        index, anchor = index[order], anchor[order]
        position = centre[index] / stride
        rows, columns = height // stride, width // stride
        cell = position.floor().long().minimum(torch.tensor([columns - 1, rows - 1], device=device))
        target = torch.cat([position - cell, (sides[index] / anchors[scale, anchor]).log()], 1)
        last = _last_of_each(((image[index] * per_scale + anchor) * rows + cell[:, 1]) * columns + cell[:, 0])
        index, anchor, cell, target = index[last], anchor[last], cell[last], target[last]
        heads.append(
            Positives(
                image[index], anchor, cell[:, 1], cell[:, 0], ids[index], target, weight[index], coordinates[index]
            )
        )
    return heads


def shape_iou(sides: Tensor, anchors: Tensor) -> Tensor:
    """IoU `[N,K]` of boxes `[N,2]` and anchors `[K,2]` (w, h), aligned at one corner."""
    inner = torch.minimum(sides[:, None], anchors[None]).prod(2)
    return inner / (sides.prod(1)[:, None] + anchors.prod(1)[None] - inner)


def _last_of_each(keys: Tensor) -> Tensor:
    """Indices of the last occurrence of every distinct key, ascending by key."""
    _, inverse = keys.unique(return_inverse=True)
    count = int(inverse.max()) + 1 if len(keys) else 0
    last = torch.zeros(count, dtype=torch.int64, device=keys.device)
    places = torch.arange(len(keys), device=keys.device)
    return last.scatter_reduce(0, inverse, places, "amax", include_self=False)
