"""Standardised errors: what counts as within a sigma, and what a detector with true sigmas gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.evaluation import LabelError
from gaussian_yolo_node.evaluation.calibration import MatchedBoxes, sigma_coverage
from gaussian_yolo_node.evaluation.kitti import FrameLabels, evaluate
from gaussian_yolo_node.evaluation.predictions import FramePredictions, read_predictions

TRUTH = np.array([[100.0, 100, 200, 180]])
SHIFTED = TRUTH + np.array([[3.0, 0, 3, 0]])  # centre x is off by 3 px, all else is right


@pytest.mark.parametrize(
    ("sigma_x", "within"),
    [
        (3.0, (1.0, 1.0, 1.0)),  # an error of exactly one sigma is within
        (2.0, (0.75, 1.0, 1.0)),
        (1.2, (0.75, 0.75, 1.0)),
        (0.0, (0.75, 0.75, 0.75)),  # claims to be perfect and is not
    ],
)
def test_shares_within_one_two_three_sigma(sigma_x: float, within: tuple[float, float, float]) -> None:
    coverage = sigma_coverage([MatchedBoxes(SHIFTED, TRUTH, np.array([[sigma_x, 1, 1, 1]]))])
    assert coverage is not None
    assert (coverage.boxes, coverage.within) == (1, within)


def test_true_sigmas_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    truths = rng.uniform(0, 100, (20000, 4))
    truths[:, 2:] += truths[:, :2] + 50
    sigmas = rng.uniform(0.5, 8, (20000, 4))
    error = rng.standard_normal((20000, 4)) * sigmas
    centre, half = error[:, :2], error[:, 2:] / 2
    boxes = truths + np.concatenate([centre - half, centre + half], axis=1)
    coverage = sigma_coverage([MatchedBoxes(boxes, truths, sigmas)])
    assert coverage is not None
    assert coverage.within == pytest.approx((0.683, 0.954, 0.997), abs=0.005)
    assert coverage.rms == pytest.approx((1, 1, 1, 1), abs=0.02)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [MatchedBoxes(np.empty((0, 4)), np.empty((0, 4)), np.empty((0, 4)))],  # nothing found
        [MatchedBoxes(SHIFTED, TRUTH, None)],  # another program's boxes
    ],
)
def test_nothing_to_say(frames: list[MatchedBoxes]) -> None:
    assert sigma_coverage(frames) is None


def test_only_boxes_on_objects_of_their_class_count() -> None:
    labels = {"000000": FrameLabels(np.concatenate([TRUTH, TRUTH + 300]), np.array(["Car", "Van"]))}
    boxes = np.concatenate([TRUTH + 300, SHIFTED, SHIFTED])
    record = FramePredictions(
        "000000", boxes, np.array([0.9, 0.8, 0.7]), np.array(["car", "car", "pedestrian"]), np.full((3, 4), 3.0)
    )
    sigma = evaluate(labels, [record]).sigma
    assert sigma is not None
    assert (sigma.boxes, sigma.within[0]) == (1, 1.0)
    assert sigma.rms == pytest.approx((1, 0, 0, 0))


@pytest.mark.parametrize(("sigma", "kept"), [([1, 2, 3, 4], True), (None, False)])
def test_sigmas_are_read(tmp_path: Path, sigma: list[float] | None, kept: bool) -> None:
    path = tmp_path / "found.json"
    detection = {"class": "car", "score": 0.5, "box": [0, 0, 1, 1], **({"sigma": sigma} if sigma else {})}
    path.write_text(json.dumps([{"frame": 0, "detections": [detection]}]))
    (frame,) = read_predictions(path)
    assert (frame.sigmas is not None) == kept


@pytest.mark.parametrize("sigma", [[1, 2, 3], [1, 2, 3, -4], [1, 2, 3, "4"], 3])
def test_a_wrong_sigma_is_refused(tmp_path: Path, sigma: object) -> None:
    path = tmp_path / "found.json"
    detection = {"class": "car", "score": 0.5, "box": [0, 0, 1, 1], "sigma": sigma}
    path.write_text(json.dumps([{"frame": 0, "detections": [detection]}]))
    with pytest.raises(LabelError, match="record 0: detection 0"):
        read_predictions(path)
