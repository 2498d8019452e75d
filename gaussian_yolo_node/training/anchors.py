"""Anchors by k-means with the distance 1 - IoU (Redmon & Farhadi, YOLO9000, CVPR 2017, section 2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def kmeans_anchors(
    sizes: NDArray[np.float64], count: int = 9, *, seed: int = 0, restarts: int = 5, iterations: int = 300
) -> tuple[NDArray[np.float64], float]:
    """Cluster box sizes `[N,2]` (w, h; px).

    Returns:
        anchors `[count,2]` by ascending area, and the mean IoU of the boxes with their nearest anchor; of
        `restarts` seeded starts the best one.

    Raises:
        ValueError: fewer distinct sizes than anchors.
    """
    if len(np.unique(sizes, axis=0)) < count:
        raise ValueError(f"{count} anchors need at least {count} distinct box sizes, got {len(sizes)} boxes")
    rng = np.random.default_rng(seed)
    best, best_iou = np.empty((0, 2)), -1.0
    for _ in range(restarts):
        anchors = _cluster(sizes, count, iterations, rng)
        iou = float(shape_iou(sizes, anchors).max(1).mean())
        if iou > best_iou:
            best, best_iou = anchors, iou
    return best[np.argsort(best.prod(1))], best_iou


def _cluster(sizes: NDArray[np.float64], count: int, iterations: int, rng: np.random.Generator) -> NDArray[np.float64]:
    anchors = np.unique(sizes, axis=0)
    anchors = anchors[rng.choice(len(anchors), count, replace=False)]
    assigned = np.full(len(sizes), -1)
    for _ in range(iterations):
        nearest = shape_iou(sizes, anchors).argmax(1)
        if (nearest == assigned).all():
            break
        assigned = nearest
        for index in range(count):
            members = sizes[assigned == index]
            # An anchor nobody chose moves to a random box rather than staying dead.
            anchors[index] = np.median(members, axis=0) if len(members) else sizes[rng.integers(len(sizes))]
    return anchors


def shape_iou(sizes: NDArray[np.float64], anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU `[N,K]` of sizes `[N,2]` and anchors `[K,2]` laid on one corner."""
    inner = np.minimum(sizes[:, None], anchors[None]).prod(2)
    return inner / (sizes.prod(1)[:, None] + anchors.prod(1)[None] - inner)
