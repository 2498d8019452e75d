"""Sigmas against boxes: hand-worked, degenerate, and for errors that really are Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.sigma_curves import (
    Likelihood,
    Sharpness,
    Spread,
    coverage_curve,
    gaussian_nll,
    iou_against_sigma,
    likelihoods,
    sharpness,
)
from gaussian_yolo_node.evaluation.uncertainty import box_uncertainty

# 100 px wide and 80 px high.
TRUTH = np.array([[100.0, 100, 200, 180]])
COORDINATES = ["cx", "cy", "w", "h"]


def matched(boxes: NDArray[np.float64], sigmas: NDArray[np.float64] | None) -> MatchedBoxes:
    """Boxes that all match the same object."""
    count = len(boxes)
    return MatchedBoxes(
        boxes, np.repeat(TRUTH, count, axis=0), sigmas, np.array(["car"] * count), np.zeros(count, np.intp)
    )


def shifted(shifts: list[float], relative: list[float]) -> MatchedBoxes:
    """Boxes shifted by px in x, with sigmas as a share of width and height."""
    boxes = TRUTH + np.array(shifts, float).reshape(-1, 1) * np.array([1, 0, 1, 0])
    return matched(boxes, np.array(relative, float).reshape(-1, 1) * np.array([100, 80, 100, 80]))


def drawn(count: int, seed: int, claimed: float = 1.0) -> MatchedBoxes:
    """Boxes with Gaussian errors, each with its own sigma; the boxes claim `claimed` times that sigma."""
    rng = np.random.default_rng(seed)
    sigmas = rng.uniform(0.5, 8, (count, 4))
    errors = rng.standard_normal((count, 4)) * sigmas
    centre, half = errors[:, :2], errors[:, 2:] / 2
    return matched(TRUTH + np.concatenate([centre - half, centre + half], axis=1), sigmas * claimed)


@pytest.mark.parametrize("function", [iou_against_sigma, coverage_curve, sharpness, likelihoods])
@pytest.mark.parametrize(
    "boxes",
    [matched(np.empty((0, 4)), np.empty((0, 4))), matched(TRUTH, None), matched(np.empty((0, 4)), None)],
    ids=["no boxes", "no sigmas", "neither"],
)
def test_nothing_to_say(function, boxes: MatchedBoxes) -> None:  # type: ignore[no-untyped-def]
    assert function(boxes) is None


class TestIouAgainstSigma:
    def test_hand_worked(self) -> None:
        # IoU 1, 0.6, and 1/3 for boxes that share 50 of 150 columns
        figure = iou_against_sigma(shifted([0, 25, 50, 50], [0.1, 0.2, 0.3, 0.4]), bins=2)

        assert figure is not None
        np.testing.assert_allclose(figure.sigmas, [0.1, 0.2, 0.3, 0.4])
        np.testing.assert_allclose(figure.ious, [1, 0.6, 1 / 3, 1 / 3])
        sure, unsure = figure.by_sigma
        assert sure == pytest_spread(Spread(2, 0.1, 0.2, 0.15, 0.8, 0.2, 0.64, 0.8, 0.96))
        assert unsure == pytest_spread(Spread(2, 0.3, 0.4, 0.35, 1 / 3, 0, 1 / 3, 1 / 3, 1 / 3))
        assert [(each.boxes, round(each.low, 3)) for each in figure.by_iou] == [(2, 0.333), (1, 0.6), (1, 1)]
        assert figure.by_iou[0] == pytest_spread(Spread(2, 1 / 3, 1 / 3, 1 / 3, 0.35, 0.05, 0.31, 0.35, 0.39))

    @pytest.mark.parametrize(
        ("relative", "counts"),
        [
            ([0.1], [1]),
            ([0.2] * 7, [7]),  # equal sigmas cannot be told apart
            ([0.0, 0.0], [2]),
            ([0.1, 0.2, 0.3], [1, 1, 1]),
            ([0.3, 0.1, 0.2, 0.4, 0.6, 0.5], [2, 2, 2]),
            ([0.1, 0.1, 0.1, 0.1, 0.2, 0.3], [4, 2]),
            ([0.1, 0.2, 0.3, 0.3, 0.3, 0.3], [2, 4]),
        ],
    )
    def test_bins_hold_as_many_boxes_but_equal_sigmas_together(self, relative: list[float], counts: list[int]) -> None:
        figure = iou_against_sigma(shifted([5.0] * len(relative), relative), bins=3)

        assert figure is not None
        assert [each.boxes for each in figure.by_sigma] == counts
        assert all(a.high < b.low for a, b in zip(figure.by_sigma, figure.by_sigma[1:], strict=False))

    @pytest.mark.parametrize("count", [1, 9, 10, 11, 500])
    def test_every_box_is_in_one_bin_each_way(self, count: int) -> None:
        figure = iou_against_sigma(drawn(count, seed=count))

        assert figure is not None
        for bins in (figure.by_sigma, figure.by_iou):
            assert sum(each.boxes for each in bins) == count
            for each in bins:
                assert each.low <= each.centre <= each.high + 1e-12 and each.p10 <= each.p50 <= each.p90
        assert len(figure.by_sigma) == min(count, 10)
        weighted = sum(each.boxes * each.mean for each in figure.by_sigma) / count
        assert weighted == pytest.approx(figure.ious.mean())

    def test_a_box_without_area_is_very_unsure_and_finite(self) -> None:
        flat = np.array([[100.0, 100, 100, 180]])
        assert 1e3 < box_uncertainty(flat, np.ones((1, 4)))[0] < np.inf
        assert np.isfinite(iou_against_sigma(matched(flat, np.ones((1, 4)))).sigmas).all()  # type: ignore[union-attr]
        assert np.isfinite(sharpness(matched(flat, np.ones((1, 4))))["cx"].mean_relative)  # type: ignore[index]


class TestCoverage:
    @pytest.mark.parametrize(
        ("sigma", "from_level"),
        [
            (3.0, 69),  # an error of 1 sigma: 68.3 % of a Gaussian
            (1.5, 96),  # 2 sigma
            (1.0, 100),  # 3 sigma: 99.7 %
            (0.0, 100),  # a claim of perfection
            (1e9, 1),
        ],
    )
    def test_one_box_is_inside_from_a_level_on(self, sigma: float, from_level: int) -> None:
        curve = coverage_curve(matched(TRUTH + np.array([[3.0, 0, 3, 0]]), np.full((1, 4), sigma)))

        assert curve is not None
        np.testing.assert_allclose(curve.expected, np.arange(1, 100) / 100)
        assert list(curve.observed) == [*COORDINATES, "all"]
        np.testing.assert_array_equal(curve.observed["cx"], np.arange(1, 100) >= from_level)
        # an error of 0 is inside even with sigma 0
        np.testing.assert_array_equal(curve.observed["cy"], 1)
        np.testing.assert_allclose(curve.observed["all"], np.where(np.arange(1, 100) >= from_level, 1, 0.75))

    @pytest.mark.parametrize("seed", range(3))
    def test_is_near_nominal_for_gaussian_errors(self, seed: int) -> None:
        curve = coverage_curve(drawn(4000, seed))

        assert curve is not None
        for observed in curve.observed.values():
            # By the Dvoretzky-Kiefer-Wolfowitz inequality, one in 10,000 samples of 4,000 deviates by more than 0.035.
            assert np.abs(observed - curve.expected).max() < 0.035

    @pytest.mark.parametrize(("claimed", "sign"), [(0.5, -1), (2.0, 1)])
    def test_too_small_sigmas_lie_below_the_diagonal_and_too_large_above(self, claimed: float, sign: int) -> None:
        curve = coverage_curve(drawn(4000, 0, claimed))

        assert curve is not None
        for observed in curve.observed.values():
            assert (np.diff(observed) >= 0).all()
            assert (sign * (observed - curve.expected))[9:90].min() > 0.03


class TestSharpness:
    def test_hand_worked(self) -> None:
        wide = np.array([[0.0, 0, 200, 40], [0, 0, 100, 80], [0, 0, 50, 160]])
        sigmas = np.array([[2.0, 4, 10, 8], [4, 4, 20, 8], [6, 4, 60, 8]])

        found = sharpness(matched(wide, sigmas))

        assert found is not None and list(found) == COORDINATES
        assert found["cx"] == sharpness_near(4, 4, math.sqrt(56 / 3), (0.01 + 0.04 + 0.12) / 3, 0.04)
        assert found["cy"] == sharpness_near(4, 4, 4, (0.1 + 0.05 + 0.025) / 3, 0.05)
        assert found["w"] == sharpness_near(30, 20, math.sqrt(4100 / 3), (0.05 + 0.2 + 1.2) / 3, 0.2)

    def test_sigmas_of_zero(self) -> None:
        found = sharpness(shifted([0, 1], [0, 0]))
        assert found is not None
        assert set(found.values()) == {Sharpness(0, 0, 0, 0, 0)}


class TestLikelihoods:
    def test_hand_worked(self) -> None:
        # errors of 3 and 4 px, with sigmas to match
        found = likelihoods(shifted([3, -4], [0.03, 0.04]))

        assert found is not None and list(found) == [*COORDINATES, "all"]
        log = math.log(2 * math.pi) / 2
        assert found["cx"].nll == pytest.approx(math.log(math.sqrt(12)) + 0.5 + log)
        assert found["cx"].constant == pytest.approx(math.log(math.sqrt(12.5)) + 0.5 + log)
        # the boxes have one width, so a share of it is a constant
        assert found["cx"].proportional == pytest.approx(found["cx"].constant)
        # all errors in y are 0, so the best sigma would be 0, which has no likelihood
        assert found["cy"] == Likelihood(pytest.approx(math.log(math.sqrt(2.4 * 3.2)) + log), None, None)
        assert found["all"].constant is None

    def test_a_sigma_of_zero_has_no_likelihood(self) -> None:
        found = likelihoods(shifted([1, 2], [0, 0.1]))
        assert found is not None and found["cx"].nll is None and found["cx"].constant is not None

    def test_no_single_sigma_is_better_than_the_constant(self) -> None:
        boxes = drawn(200, 1)
        found = likelihoods(boxes)
        assert found is not None
        errors = boxes.errors[:, 0]
        others = [gaussian_nll(errors, np.full(200, sigma)) for sigma in np.linspace(0.5, 10, 40)]
        assert found["cx"].constant is not None and found["cx"].constant <= min(filter(None, others))

    def test_true_sigmas_are_worth_something(self) -> None:
        found = likelihoods(drawn(4000, 2))
        assert found is not None
        for figures in found.values():
            assert figures.nll is not None and figures.constant is not None
            assert figures.nll < figures.constant - 0.1


def pytest_spread(expected: Spread) -> Spread:
    return Spread(expected.boxes, *(pytest.approx(value) for value in list(vars(expected).values())[1:]))


def sharpness_near(*values: float) -> Sharpness:
    return Sharpness(*map(pytest.approx, values))
