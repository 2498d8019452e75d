"""The kernels on the official C implementation's own heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from darknet_golden import (
    ANCHORS,
    IOU_THRESHOLD,
    STRIDES,
    THRESHOLD,
    Golden,
    assert_official,
    load_golden,
    official,
)
from plugin_kernels import Call, Kernels
from postprocessing_cases import Options

MOST = 8192  # more than the 2,835 pairs there are


@pytest.fixture(scope="module")
def golden(golden_dir: Path) -> Golden:
    return load_golden(golden_dir)


@pytest.mark.parametrize(("iou_threshold", "count"), [(1.0, None), (IOU_THRESHOLD, 2653)])
def test_gives_the_official_detections(
    iou_threshold: float, count: int | None, golden: Golden, kernels: Kernels
) -> None:
    """An IoU is never above 1, so that threshold lets all candidates through."""
    heads = [head.astype(np.float32) for head in golden.heads]
    options = Options(THRESHOLD, iou_threshold, max_candidates=MOST, max_detections=MOST)

    found = kernels.detect(Call(heads, ANCHORS, STRIDES, options), seed=1).image(0)

    assert_official(found, official(golden.raw if count is None else golden.suppressed), golden)
    assert count in (None, len(found))
