"""Decoding and suppression against outputs of the official C implementation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from darknet_golden import (
    ANCHORS,
    CANVAS,
    EVERYTHING,
    IOU_THRESHOLD,
    STRIDES,
    THRESHOLD,
    Golden,
    assert_official,
    load_golden,
    official,
)
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return load_golden(golden_dir)


def _decoded(golden: Golden, dtype: type) -> Detections:
    heads = [head.astype(dtype) for head in golden.heads]
    return decode(heads, ANCHORS, STRIDES, THRESHOLD, max_candidates=EVERYTHING)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_decode_gives_the_official_boxes_scores_and_uncertainties(golden: Golden, dtype: type) -> None:
    assert_official(_decoded(golden, dtype), official(golden.raw), golden)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nms_keeps_the_official_set(golden: Golden, dtype: type) -> None:
    kept = nms(_decoded(golden, dtype), IOU_THRESHOLD, max_detections=EVERYTHING)

    assert_official(kept, official(golden.suppressed), golden)
    assert len(kept) == 2653
    assert len(np.unique(kept.boxes, axis=0)) == len(golden.suppressed["x"]) == 916


def test_the_align_corners_letterbox_gives_the_official_input(golden: Golden) -> None:
    """The tolerance is the rounding to 8 bits: 0.5/255 = 1.96e-3."""
    letterbox = Letterbox.fit(golden.image.shape[:2], CANVAS, "align_corners")

    ours = letterbox.to_canvas(golden.image)[:, :, ::-1].transpose(2, 0, 1) / 255

    np.testing.assert_allclose(ours, golden.input, rtol=0, atol=2e-3)


def test_letterbox_places_the_frame_where_the_official_code_does(golden: Golden) -> None:
    """The frame, resampled with align-corners in float as in Darknet, matches the golden input at our position."""
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
