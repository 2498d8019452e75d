"""Decode and suppression against the official C implementation's own outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms

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
EVERYTHING = 1_000_000  # the official code caps neither candidates nor detections


@dataclass
class Golden:
    image: NDArray[np.uint8]
    input: NDArray[np.float32]
    heads: list[NDArray[np.float64]]
    raw: dict[str, NDArray[np.float32]]
    suppressed: dict[str, NDArray[np.float32]]

    @property
    def letterbox(self) -> Letterbox:
        return Letterbox.fit(self.image.shape[:2], CANVAS)


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
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


def _expected(columns: dict[str, NDArray[np.float32]]) -> Detections:
    """The official rows in our form: image px, a row per class; scores of 0 were below the threshold.

    The official uncertainties are the four s, without unit. Those of the centre say nothing in px without the
    stride, which the rows do not hold, so `sigmas` holds s as it is.
    """
    boxes = centres_to_corners(np.stack([columns[name] for name in ("x", "y", "w", "h")], axis=1))
    probabilities = np.stack([columns[f"prob{index}"] for index in range(3)], axis=1)
    rows, class_ids = np.nonzero(probabilities)
    s = np.stack([columns[f"uc_{name}"] for name in ("x", "y", "w", "h")], axis=1)
    return Detections(boxes[rows], probabilities[rows, class_ids], class_ids.astype(np.int32), s[rows])


def _decoded(golden: Golden, dtype: type) -> Detections:
    heads = [head.astype(dtype) for head in golden.heads]
    return decode(heads, ANCHORS, STRIDES, THRESHOLD, max_candidates=EVERYTHING)


def _partner(ours: Detections, boxes: NDArray[np.float32], theirs: Detections) -> NDArray[np.intp]:
    """For each of our rows, with its box in image px, the nearest of theirs over box, score and class."""
    difference = np.abs(boxes[:, np.newaxis] - theirs.boxes).max(axis=2)
    difference += 1000 * np.abs(ours.scores[:, np.newaxis] - theirs.scores)
    difference[ours.class_ids[:, np.newaxis] != theirs.class_ids] = np.inf
    return difference.argmin(axis=1)


def _assert_same(ours: Detections, theirs: Detections, golden: Golden) -> None:
    boxes = golden.letterbox.boxes_to_frame(ours.boxes)
    assert len(ours) == len(theirs)
    partner = _partner(ours, boxes, theirs)
    assert len(np.unique(partner)) == len(theirs), "not one to one"
    np.testing.assert_allclose(boxes, theirs.boxes[partner], rtol=0, atol=2e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores[partner], rtol=0, atol=1e-5)
    # Width and height: sigma / size is s. Centre: sigma / s is the stride, on the canvas.
    np.testing.assert_allclose(
        ours.sigmas[:, 2:] / ours.centres_sizes[:, 2:], theirs.sigmas[partner][:, 2:], rtol=0, atol=1e-5
    )
    strides = ours.sigmas[:, :2] / theirs.sigmas[partner][:, :2]
    nearest = np.array(STRIDES)[np.abs(strides[:, :1] - np.array(STRIDES)).argmin(axis=1)]
    np.testing.assert_allclose(strides, np.repeat(nearest[:, np.newaxis], 2, axis=1), rtol=1e-4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decode_gives_the_official_boxes_scores_and_uncertainties(golden: Golden, dtype: type) -> None:
    _assert_same(_decoded(golden, dtype), _expected(golden.raw), golden)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nms_keeps_the_official_set(golden: Golden, dtype: type) -> None:
    kept = nms(_decoded(golden, dtype), IOU_THRESHOLD, max_detections=EVERYTHING)

    _assert_same(kept, _expected(golden.suppressed), golden)
    assert len(kept) == 2653
    assert len(np.unique(kept.boxes, axis=0)) == len(golden.suppressed["x"]) == 916


def test_the_align_corners_letterbox_gives_the_official_input(golden: Golden) -> None:
    """Within the rounding to 8 bits: 0.5/255 is 1.96e-3."""
    letterbox = Letterbox.fit(golden.image.shape[:2], CANVAS, "align_corners")

    ours = letterbox.to_canvas(golden.image)[:, :, ::-1].transpose(2, 0, 1) / 255

    np.testing.assert_allclose(ours, golden.input, rtol=0, atol=2e-3)


def test_letterbox_places_the_frame_where_the_official_code_does(golden: Golden) -> None:
    """Resampled as Darknet does, align-corners and in float, the frame fits the golden input where we would put it."""
    letterbox = golden.letterbox
    height, width = letterbox.scaled_size
    rgb = golden.image[:, :, ::-1].astype(np.float64) / 255
    expected = np.full((*CANVAS, 3), 0.5)
    top, left = (CANVAS[0] - height) // 2, (CANVAS[1] - width) // 2
    expected[top : top + height, left : left + width] = _align_corners(rgb, height, width)

    np.testing.assert_allclose(golden.input.transpose(1, 2, 0), expected, rtol=0, atol=2e-3)
    ours = letterbox.to_canvas(golden.image)[:, :, ::-1] / 255
    padding = np.ones(CANVAS, bool)
    padding[top : top + height, left : left + width] = False
    np.testing.assert_allclose(ours[padding], expected[padding], rtol=0, atol=2e-3)


def _align_corners(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    def interpolated(lines: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        at = np.arange(count) * (len(lines) - 1) / (count - 1)
        low = np.minimum(at.astype(int), len(lines) - 2)
        part = (at - low)[:, np.newaxis, np.newaxis]
        return lines[low] * (1 - part) + lines[low + 1] * part

    return interpolated(interpolated(image, height).transpose(1, 0, 2), width).transpose(1, 0, 2)
