"""Non-maximum suppression with variance voting (He et al., "Bounding Box Regression with Uncertainty", CVPR 2019)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners, corners_to_centres

VOTE_TEMPERATURE = 0.05  # sigma_t of the paper: how fast the weight of a vote falls with 1 - IoU
_LEAST_SIGMA = 1e-3  # px; keeps weights finite if a model outputs no uncertainty


def nms(
    detections: Detections,
    iou_threshold: float = 0.45,
    max_detections: int = 300,
    variance_vote: bool = False,
) -> Detections:
    """Greedy non-maximum suppression per class, by score.

    Args:
        detections: candidates in px; of equal scores, the lower index comes first.
        iou_threshold: a box is suppressed if its IoU with a kept box is strictly above this.
        max_detections: maximum number of kept detections over all classes.
        variance_vote: replace each kept box by the mean of itself and the boxes that it suppresses, weighted per
            coordinate by `exp(-(1 - IoU)^2 / 0.05) / sigma^2`. Its variance becomes the reciprocal of the sum of the
            weights.

    Returns:
        The kept detections, by descending score.
    """
    if not len(detections):
        return detections
    order = np.lexsort((-detections.scores, detections.class_ids))  # stable
    class_starts = np.flatnonzero(np.diff(detections.class_ids[order])) + 1
    kept: list[NDArray[np.intp]] = []
    voted: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for members in np.split(order, class_starts):
        boxes = detections.boxes[members]
        iou = iou_matrix(boxes, boxes)
        overlaps = iou > iou_threshold
        winners = _greedy(overlaps)
        kept.append(members[winners])
        if variance_vote:
            voted.append(_vote(corners_to_centres(boxes), detections.sigmas[members], iou, overlaps, winners))
    rows = np.concatenate(kept)
    best = np.lexsort((rows, -detections.scores[rows]))[:max_detections]
    result = detections[rows[best]]
    if not variance_vote:
        return result
    means = np.concatenate([mean for mean, _ in voted])[best]
    sigmas = np.concatenate([sigma for _, sigma in voted])[best]
    return Detections(
        centres_to_corners(means.astype(np.float32)),
        result.scores,
        result.class_ids,
        sigmas.astype(np.float32),
    )


def iou_matrix(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU [N, M] of corner boxes [N, 4] and [M, 4]; 0 if both have no area."""
    ax1, ay1, ax2, ay2 = np.ascontiguousarray(a.T)[:, :, np.newaxis]
    bx1, by1, bx2, by2 = np.ascontiguousarray(b.T)
    # Per coordinate and in place, because memory traffic dominates the time for a few hundred boxes.
    overlap: NDArray[np.float32] = np.minimum(ax2, bx2)
    overlap -= np.maximum(ax1, bx1)
    np.maximum(overlap, 0, out=overlap)
    height: NDArray[np.float32] = np.minimum(ay2, by2)
    height -= np.maximum(ay1, by1)
    np.maximum(height, 0, out=height)
    overlap *= height
    union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1)
    union -= overlap
    np.maximum(union, np.finfo(np.float32).tiny, out=union)
    overlap /= union
    return overlap


def _greedy(overlaps: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices that greedy suppression keeps, of boxes sorted by score.

    Each row becomes an integer with one bit per box, so suppression is one `or` per kept box and the time is bounded
    for any input. A fixed-point iteration in numpy would need as many passes as the longest chain of overlaps.
    """
    width = -(-len(overlaps) // 8)
    bits = np.packbits(overlaps, axis=1, bitorder="little").tobytes()
    kept = []
    suppressed = 0
    for index in range(len(overlaps)):
        if not suppressed >> index & 1:
            kept.append(index)
            suppressed |= int.from_bytes(bits[index * width : (index + 1) * width], "little")
    return np.array(kept, np.intp)


def _vote(
    boxes: NDArray[np.float32],
    sigmas: NDArray[np.float32],
    iou: NDArray[np.float32],
    overlaps: NDArray[np.bool_],
    winners: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and standard deviations [K, 4] of the winners after the vote: centre x, centre y, width, height."""
    # A box votes for the winner that suppressed it, the first that it overlaps.
    candidates = overlaps[winners]
    columns = np.arange(len(boxes))
    suppressor = candidates.argmax(axis=0)
    suppressor[winners] = np.arange(len(winners))
    weights = np.zeros(candidates.shape, np.float64)
    weights[suppressor, columns] = np.exp(-((1.0 - iou[winners[suppressor], columns]) ** 2) / VOTE_TEMPERATURE)
    # Set explicitly: a box without area has IoU 0 with itself.
    weights[np.arange(len(winners)), winners] = 1.0
    precision = 1.0 / np.maximum(sigmas.astype(np.float64), _LEAST_SIGMA) ** 2
    total = weights @ precision
    means = (weights @ (precision * boxes)) / total
    return means, np.where(sigmas[winners] > 0, 1.0 / np.sqrt(total), 0.0)
