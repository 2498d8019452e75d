"""Outputs of the official C implementation, and the comparison with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.detector.letterbox import Letterbox

STRIDES = (32, 16, 8)
ANCHORS = [
    np.array(row, np.float32)
    for row in (
        [(66, 45), (90, 70), (120, 88)],
        [(24, 22), (40, 30), (33, 61)],
        [(7, 10), (14, 12), (12, 27)],
    )
]
CANVAS = (96, 160)
THRESHOLD, IOU_THRESHOLD = 0.02, 0.45
EVERYTHING = 1_000_000  # the official code does not limit candidates or detections


@dataclass
class Golden:
    """Outputs of the official C implementation of a small network: heads before the activation, and detections."""

    image: NDArray[np.uint8]
    input: NDArray[np.float32]
    heads: list[NDArray[np.float64]]
    raw: dict[str, NDArray[np.float32]]
    suppressed: dict[str, NDArray[np.float32]]

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox.fit(self.image.shape[:2], CANVAS)


def load_golden(golden_dir: Path) -> Golden:
    """Load from the folder of all golden outputs."""
    stored = np.load(golden_dir / "darknet_tiny" / "expected.npz")
    columns = [str(name) for name in stored["columns"]]
    return Golden(
        image=cv2.imread(str(golden_dir / "darknet_tiny" / "image.png")),
        input=stored["input"],
        heads=[_before_activation(stored[f"head{index}"]) for index in range(3)],
        raw=dict(zip(columns, stored["detections_raw"].T, strict=True)),
        suppressed=dict(zip(columns, stored["detections_nms"].T, strict=True)),
    )


def _before_activation(head: NDArray[np.float32]) -> NDArray[np.float64]:
    logits = head.astype(np.float64)
    activated = [entry for entry in range(head.shape[1]) if entry not in (4, 6)]
    p = logits[:, activated]
    logits[:, activated] = np.log(p) - np.log1p(-p)
    return logits.reshape(1, -1, *head.shape[2:])


def official(columns: dict[str, NDArray[np.float32]]) -> Detections:
    """The official rows as detections: image px, one row per class; scores of 0 were below the threshold.

    The official uncertainties are the four s, without unit. Converting those of the centre to px needs the stride,
    which the rows lack, so `sigmas` contains s unchanged.
    """
    boxes = centres_to_corners(np.stack([columns[name] for name in ("x", "y", "w", "h")], axis=1))
    probabilities = np.stack([columns[f"prob{index}"] for index in range(3)], axis=1)
    rows, class_ids = np.nonzero(probabilities)
    s = np.stack([columns[f"uc_{name}"] for name in ("x", "y", "w", "h")], axis=1)
    return Detections(boxes[rows], probabilities[rows, class_ids], class_ids.astype(np.int32), s[rows])


def partners(ours: Detections, boxes: NDArray[np.float32], theirs: Detections) -> NDArray[np.intp]:
    """For each of our rows, with its box in px of theirs, their nearest row over box, score and class; one to one."""
    # By coordinate, because a maximum over a short last axis takes several times as long.
    difference = np.zeros((len(ours), len(theirs)), np.float32)
    for one, other in zip(boxes.T, theirs.boxes.T, strict=True):
        np.maximum(difference, np.abs(one[:, np.newaxis] - other), out=difference)
    difference += 1000 * np.abs(ours.scores[:, np.newaxis] - theirs.scores)
    difference[ours.class_ids[:, np.newaxis] != theirs.class_ids] = np.inf
    nearest = difference.argmin(axis=1)
    assert len(np.unique(nearest)) == len(theirs), "not one to one"
    return nearest


def assert_official(ours: Detections, theirs: Detections, golden: Golden) -> None:
    """Assert a one-to-one match: our boxes (canvas px) within 2e-3 px, scores and s within 1e-5."""
    boxes = golden.letterbox.boxes_to_frame(ours.boxes)
    assert len(ours) == len(theirs)
    partner = partners(ours, boxes, theirs)
    np.testing.assert_allclose(boxes, theirs.boxes[partner], rtol=0, atol=2e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores[partner], rtol=0, atol=1e-5)
    # Width and height: sigma / size is s. Centre: sigma / s is the stride, on the canvas.
    np.testing.assert_allclose(
        ours.sigmas[:, 2:] / ours.centres_sizes[:, 2:], theirs.sigmas[partner][:, 2:], rtol=0, atol=1e-5
    )
    strides = ours.sigmas[:, :2] / theirs.sigmas[partner][:, :2]
    nearest = np.array(STRIDES)[np.abs(strides[:, :1] - np.array(STRIDES)).argmin(axis=1)]
    np.testing.assert_allclose(strides, np.repeat(nearest[:, np.newaxis], 2, axis=1), rtol=1e-4)
