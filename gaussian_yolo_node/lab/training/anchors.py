"""Sizes of labelled boxes, and anchors by k-means with the distance 1 - IoU (YOLO9000, CVPR 2017, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.labels import DatasetError, image_size
from gaussian_yolo_node.labels.annotations import Fault, FaultKind
from gaussian_yolo_node.labels.classes import is_region
from gaussian_yolo_node.labels.convert import classified, refuse
from gaussian_yolo_node.labels.sources import Source

SCALES = 3  # number of heads that share the anchors
# Resizing to the canvas: with the aspect ratio kept, or each side independently, as in darknet's anchor tool.
Resize = Literal["letterbox", "stretch"]
Sizes = NDArray[np.float64]


class AnchorError(GaussianYoloError):
    """Anchors cannot be computed for these boxes."""


@dataclass(frozen=True)
class AnchorFit:
    """Anchors and how well they fit.

    Attributes:
        anchors: `[S][A]` w, h in canvas px, the largest at the coarsest stride, in the order of the heads.
        mean_iou: mean IoU of the boxes with their nearest anchor, aligned at one corner.
        boxes: number of boxes.
    """

    anchors: tuple[tuple[tuple[float, float], ...], ...]
    mean_iou: float
    boxes: int


def box_sizes(
    sources: Iterable[Source], classes: Sequence[str] | None, default_size: tuple[int, int] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Widths and heights `[N,2]` of the truths of `sources`, and heights and widths `[N,2]` of their images; px.

    Args:
        classes: to include; None for all except ignore regions.
        default_size: height and width in px of missing images whose labels do not contain the size.

    Raises:
        DatasetError: a label is malformed, or the size of an image is unknown.
    """
    boxes: list[tuple[float, float]] = []
    images: list[tuple[int, int]] = []
    for source in sources:
        class_map = source.class_map(classes or ())
        for annotated in source.reader.read(_without_images):
            sizes = []
            for annotation, class_id, fault in classified(annotated, class_map):
                wanted = class_id >= 0 if classes else not (annotation.ignored or is_region(annotation.name))
                if wanted and fault is None:
                    x1, y1, x2, y2 = annotation.box
                    sizes.append((x2 - x1, y2 - y1))
            if not sizes:
                continue
            size = annotated.size or (None if annotated.image is None else image_size(annotated.image)) or default_size
            if size is None:
                raise DatasetError(
                    f"{source.name}: {annotated.labels} does not tell the size of its image: give images"
                )
            boxes += sizes
            images += [size] * len(sizes)
    return np.array(boxes, np.float64).reshape(-1, 2), np.array(images, np.float64).reshape(-1, 2)


def _without_images(fault: Fault) -> None:
    """Ignore missing images; box sizes do not need them."""
    if fault.kind is not FaultKind.MISSING_IMAGE:
        refuse(fault)


def anchors_for(
    sizes: NDArray[Any],
    image_sizes: NDArray[Any],
    input_size: tuple[int, int],
    *,
    resize: Resize = "letterbox",
    count: int = 9,
    seed: int = 0,
    restarts: int = 5,
) -> AnchorFit:
    """Anchors for boxes resized to a network's `input_size`.

    Args:
        sizes: `[N,2]` w, h of the boxes in px of their images.
        image_sizes: `[N,2]` height, width of each box's image, or one pair for all.
        input_size: height and width of the canvas, px.
        count: number of anchors, a multiple of 3.
        seed: the same boxes and seed give the same anchors.

    Raises:
        AnchorError: too few distinct boxes, a box without area, or a count that is not a multiple of the heads.
    """
    if count < SCALES or count % SCALES:
        raise AnchorError(f"the number of anchors must be a multiple of {SCALES}, one share a head, not {count}")
    on_canvas = sizes_on_canvas(sizes, image_sizes, input_size, resize)
    anchors, fit = kmeans_anchors(on_canvas, count, seed=seed, restarts=restarts)
    rows = anchors.reshape(SCALES, -1, 2)[::-1].tolist()
    return AnchorFit(tuple(tuple((w, h) for w, h in row) for row in rows), fit, len(on_canvas))


def sizes_on_canvas(
    sizes: NDArray[Any], image_sizes: NDArray[Any], input_size: tuple[int, int], resize: Resize = "letterbox"
) -> Sizes:
    """Box sizes `[N,2]` in canvas px; for the arguments see `anchors_for`."""
    factors = np.asarray(input_size, np.float64)[::-1] / np.asarray(image_sizes, np.float64).reshape(-1, 2)[:, ::-1]
    if resize == "letterbox":
        factors = factors.min(axis=1, keepdims=True)
    on_canvas: Sizes = np.asarray(sizes, np.float64).reshape(-1, 2) * factors
    return on_canvas


def kmeans_anchors(
    sizes: Sizes, count: int = 9, *, seed: int = 0, restarts: int = 5, iterations: int = 300
) -> tuple[Sizes, float]:
    """Cluster box sizes `[N,2]` (w, h; px).

    Returns:
        anchors `[count,2]` by ascending area, and the mean IoU of the boxes with their nearest anchor; the best of
        `restarts` seeded starts.

    Raises:
        AnchorError: fewer distinct sizes than anchors, or a size that is not positive.
    """
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise AnchorError("a box without width or height fits no anchor: leave it out")
    distinct = np.unique(sizes, axis=0)
    if len(distinct) < count:
        raise AnchorError(f"{count} anchors need at least {count} distinct box sizes, got {len(distinct)}")
    rng = np.random.default_rng(seed)
    best, best_iou = np.empty((0, 2)), -1.0
    for _ in range(restarts):
        start = distinct[rng.choice(len(distinct), count, replace=False)]
        anchors = _cluster(sizes, start, iterations, rng)
        iou = mean_iou(sizes, anchors)
        if iou > best_iou:
            best, best_iou = anchors, iou
    return best[np.argsort(best.prod(1))], best_iou


def _cluster(sizes: Sizes, anchors: Sizes, iterations: int, rng: np.random.Generator) -> Sizes:
    assigned = np.full(len(sizes), -1)
    for _ in range(iterations):
        nearest = shape_iou(sizes, anchors).argmax(1)
        if (nearest == assigned).all():
            break
        assigned = nearest
        for index in range(len(anchors)):
            members = sizes[assigned == index]
            # An anchor without members moves to a random box.
            anchors[index] = np.median(members, axis=0) if len(members) else sizes[rng.integers(len(sizes))]
    return anchors


def mean_iou(sizes: NDArray[Any], anchors: NDArray[Any]) -> float:
    """Mean over the boxes `[N,2]` of the IoU with the nearest of the anchors `[K,2]`, both w, h in the same px."""
    return float(shape_iou(np.asarray(sizes, np.float64), np.asarray(anchors, np.float64)).max(1).mean())


def shape_iou(sizes: Sizes, anchors: Sizes) -> Sizes:
    """IoU `[N,K]` of sizes `[N,2]` and anchors `[K,2]`, aligned at one corner."""
    inner: Sizes = np.minimum(sizes[:, None, 0], anchors[:, 0]) * np.minimum(sizes[:, None, 1], anchors[:, 1])
    return inner / (sizes.prod(1)[:, None] + anchors.prod(1) - inner)
