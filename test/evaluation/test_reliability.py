from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.reliability import ScoreBin, score_quality


@pytest.mark.parametrize(
    ("scores", "correct", "error"),
    [
        ([], [], None),
        ([0.9], [True], 0.1),
        ([0.9], [False], 0.9),
        ([1.0, 0.0], [True, False], 0.0),  # both ends of the scale have a bin
        ([0.75, 0.75, 0.75, 0.75], [True, True, True, False], 0.0),
        ([0.75, 0.75, 0.25, 0.25], [True, False, False, False], 0.25),  # off by 1/4 in both bins
        # 3 of 4 are in a bin that is off by 0.15, 1 in a bin that is off by 0.95
        ([0.85, 0.85, 0.85, 0.95], [True, True, True, False], 0.75 * 0.15 + 0.25 * 0.95),
    ],
)
def test_expected_calibration_error(scores: list[float], correct: list[bool], error: float | None) -> None:
    quality = score_quality(np.array(scores, float), np.array(correct, bool))

    assert quality.detections == len(scores)
    assert quality.calibration_error == (None if error is None else pytest.approx(error))


def test_bins_hold_their_edge_and_empty_ones_are_left_out() -> None:
    quality = score_quality(np.array([0.05, 0.1, 0.19, 0.95]), np.array([False, True, False, True]))

    assert quality.bins == (
        ScoreBin(1, 0.05, 0.0),
        ScoreBin(2, pytest.approx(0.145), 0.5),
        ScoreBin(1, 0.95, 1.0),
    )


def test_true_scores_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(50000)

    assert score_quality(scores, rng.random(50000) < scores).calibration_error == pytest.approx(0, abs=0.01)
    halved = score_quality(scores, rng.random(50000) < scores / 2)
    assert halved.calibration_error == pytest.approx(0.25, abs=0.01)
