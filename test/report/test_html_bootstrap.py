from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.average_precision import PrecisionRecall, all_point_ap
from gaussian_yolo_node.report.bootstrap import (
    Estimate,
    Resampling,
    block_length,
    weighted_ap,
    weighted_quantile,
    weighted_ratio,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([], 1),
        ([5.0], 1),
        ([0.0, 0.1], 1),
        (np.arange(91) / 10, 20),  # two seconds at 10 Hz
        (np.arange(18_000) / 30, 60),
        (np.arange(40) / 30, 10),  # at most a quarter
        (np.zeros(64), 4),  # no times: cube root
        (np.full(1000, NAN), 10),
        (np.arange(100) * 60.0, 1),  # one frame per minute
    ],
)
def test_block_length(stamps: list[float], expected: int) -> None:
    assert block_length(np.asarray(stamps, np.float64)) == expected


@pytest.mark.parametrize("frames", [1, 2, 3, 7, 91])
def test_resamples_hold_as_many_frames_as_there_are(frames: int) -> None:
    resampling = Resampling.of(np.arange(frames) / 10, resamples=50)

    assert resampling.weights.shape == (50, frames)
    assert (resampling.weights.sum(axis=1) == frames).all()
    assert (resampling.weights >= 0).all()


def test_frames_come_equally_often_and_in_stretches() -> None:
    resampling = Resampling.of(np.arange(100) / 10, resamples=4000)

    assert resampling.block == 20
    mean = resampling.weights.mean(axis=0)
    assert np.abs(mean - 1).max() < 0.1  # the ends, too
    neighbours = np.corrcoef(resampling.weights[:, 50], resampling.weights[:, 51])[0, 1]
    assert neighbours > 0.9
    far = np.corrcoef(resampling.weights[:, 10], resampling.weights[:, 60])[0, 1]
    assert far < 0


def test_the_same_seed_draws_the_same() -> None:
    stamps = np.arange(30) / 10
    first, second, other = (Resampling.of(stamps, 20, seed).weights for seed in (3, 3, 4))
    assert (first == second).all()
    assert (first != other).any()


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=2000)
    resampling = Resampling.of(np.arange(2000) * 10.0, resamples=1000)  # independent frames: a block is one frame

    estimate = resampling.estimates(lambda weights: {"mean": weights @ values / 2000})["mean"]

    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low is not None and estimate.high is not None
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(2000), rel=0.1)


def test_correlated_frames_widen_the_interval() -> None:
    values = np.repeat(np.random.default_rng(1).normal(size=100), 20)  # twenty equal frames
    alone = Resampling.of(np.arange(2000) * 10.0, resamples=500)
    stretches = Resampling.of(np.arange(2000) / 10, resamples=500)
    widths = []
    for resampling in (alone, stretches):
        estimate = resampling.estimates(lambda weights: {"mean": weights @ values / 2000})["mean"]
        assert estimate.low is not None and estimate.high is not None
        widths.append(estimate.high - estimate.low)
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(
    ("values", "whole", "frames", "expected"),
    [
        ([1.0] * 3, [1.0] * 3, 3, Estimate(1.0)),  # too few frames for an interval
        ([0.0] * 8, [0.0] * 8, 8, Estimate(None)),  # nothing to measure
        ([1.0] * 8, [1.0] * 8, 8, Estimate(1.0, 1.0, 1.0)),
        # half of the resamples have nothing to measure
        ([1.0] + [0.0] * 39, [1.0] + [0.0] * 39, 40, Estimate(1.0)),
    ],
)
def test_what_there_is_no_interval_for(
    values: list[float], whole: list[float], frames: int, expected: Estimate
) -> None:
    resampling = Resampling.of(np.arange(frames) / 10, resamples=200)
    estimates = resampling.estimates(
        lambda weights: {"ratio": weighted_ratio(np.array(values), np.array(whole), weights)}
    )
    assert estimates == {"ratio": expected}


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(0.0, 0.0, 0.0), False),
        (Estimate(1.0), False),
        (Estimate(None), False),
        (Estimate(1.0, -0.1, 2.0), False),
        (Estimate(1.0, 0.1, 2.0), True),
        (Estimate(-1.0, -2.0, -0.1), True),
    ],
)
def test_beyond_chance(estimate: Estimate, expected: bool) -> None:
    assert estimate.excludes_zero is expected


def random_detections(seed: int, frames: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores (with ties), correct or not, frames, objects per frame."""
    generator = np.random.default_rng(seed)
    count = int(generator.integers(0, 60))
    of_frame = generator.integers(0, frames, count)
    correct = generator.random(count) < 0.5
    truths = np.bincount(of_frame[correct], minlength=frames) + generator.integers(0, 3, frames)
    return np.round(generator.random(count), 1), correct, of_frame, truths


@pytest.mark.parametrize("seed", range(20))
def test_weighted_ap_is_the_ap_of_repeated_frames(seed: int) -> None:
    scores, correct, frames, truths = random_detections(seed)
    weights = np.random.default_rng(seed + 100).integers(0, 4, (3, 12)).astype(np.int32)
    weights[0] = 1

    weighted = weighted_ap(scores, correct, frames, truths, weights)

    for weight, ap in zip(weights, weighted, strict=True):
        # Copies of a detection are adjacent: at equal scores, copies of the first come first.
        rows = np.repeat(np.arange(len(scores)), weight[frames])
        expected = all_point_ap(PrecisionRecall.of(scores[rows], correct[rows], int(weight @ truths)))
        assert ap == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("scores", "correct", "truths", "expected"),
    [
        ([], [], [0, 0], NAN),
        ([], [], [1, 0], 0.0),
        ([0.9], [False], [1, 0], 0.0),
        ([0.9], [True], [1, 0], 1.0),
        ([0.9], [False], [0, 0], NAN),
    ],
)
def test_weighted_ap_of_little(scores: list[float], correct: list[bool], truths: list[int], expected: float) -> None:
    ap = weighted_ap(
        np.array(scores, np.float64),
        np.array(correct, bool),
        np.zeros(len(scores), np.intp),
        np.array(truths, np.intp),
        np.ones((1, 2), np.int32),
    )
    assert ap.tolist() == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
def test_weighted_quantile_is_the_quantile_of_repeated_values(share: float, count: int) -> None:
    generator = np.random.default_rng(count)
    values = np.round(generator.random(count), 1)
    weights = np.stack([np.ones(count, np.int32), generator.integers(0, 3, count).astype(np.int32)])
    weights[:, 0] = np.maximum(weights[:, 0], 1)

    quantiles = weighted_quantile(values, share, weights)

    for weight, quantile in zip(weights, quantiles, strict=True):
        assert quantile == np.quantile(np.repeat(values, weight), share, method="inverted_cdf")


@pytest.mark.parametrize(
    ("values", "weights", "expected"),
    [([], [], NAN), ([NAN, NAN], [1, 1], NAN), ([NAN, 3.0], [5, 1], 3.0), ([2.0, 3.0], [0, 0], NAN)],
)
def test_weighted_quantile_of_little(values: list[float], weights: list[int], expected: float) -> None:
    quantile = weighted_quantile(np.array(values, np.float64), 0.5, np.array([weights], np.int32))
    assert quantile.tolist() == pytest.approx([expected], nan_ok=True)
