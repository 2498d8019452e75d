from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.average_precision import (
    PrecisionRecall,
    all_point_ap,
    eleven_point_ap,
    forty_point_ap,
)


def curve(correct: list[bool], truths: int) -> PrecisionRecall:
    return PrecisionRecall.of(np.linspace(1, 0.1, len(correct)), np.array(correct, bool), truths)


def exact_best_precision(correct: list[bool], truths: int, recall: Fraction) -> Fraction:
    """The definition in exact fractions: the best precision of any prefix that reaches the recall."""
    found, best = 0, Fraction(0)
    for count, right in enumerate(correct, start=1):
        found += right
        if Fraction(found, truths) >= recall:
            best = max(best, Fraction(found, count))
    return best


def exact_all_point(correct: list[bool], truths: int) -> Fraction:
    """Each matched object adds a step of width 1/truths, as high as the best precision from there on."""
    steps = range(1, sum(correct) + 1)
    return sum((exact_best_precision(correct, truths, Fraction(k, truths)) for k in steps), Fraction(0)) / truths


@pytest.mark.parametrize(
    ("correct", "truths", "all_point", "eleven", "forty"),
    [
        ([True, True], 2, 1, 1, 1),
        ([False, False], 2, 0, 0, 0),
        ([], 2, 0, 0, 0),  # no detections
        ([True], 2, 1 / 2, 6 / 11, 1 / 2),  # recalls 0 .. 0.5; 1/40 .. 20/40
        ([False, True], 1, 1 / 2, 1 / 2, 1 / 2),
        ([True, False, True], 2, (1 + 2 / 3) / 2, (6 + 5 * 2 / 3) / 11, (20 + 20 * 2 / 3) / 40),
        ([True, True, True] + [False] * 7, 10, 0.3, 4 / 11, 0.3),  # a recall of 3/10 reaches 0.3
    ],
)
def test_known_values(correct: list[bool], truths: int, all_point: float, eleven: float, forty: float) -> None:
    of_case = curve(correct, truths)

    assert all_point_ap(of_case) == pytest.approx(all_point, abs=1e-15)
    assert eleven_point_ap(of_case) == pytest.approx(eleven, abs=1e-15)
    assert forty_point_ap(of_case) == pytest.approx(forty, abs=1e-15)


@pytest.mark.parametrize("ap", [all_point_ap, eleven_point_ap, forty_point_ap])
@pytest.mark.parametrize("correct", [[], [False, False]])
def test_without_truths_there_is_no_average_precision(
    ap: Callable[[PrecisionRecall], float], correct: list[bool]
) -> None:
    assert math.isnan(ap(curve(correct, 0)))


@pytest.mark.parametrize("seed", range(20))
def test_agrees_with_the_definition_in_exact_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    correct = (rng.random(rng.integers(1, 60)) < rng.random()).tolist()
    truths = sum(correct) + int(rng.integers(1, 20))

    of_case = curve(correct, truths)

    assert all_point_ap(of_case) == pytest.approx(float(exact_all_point(correct, truths)), abs=1e-13)
    for ap, recalls in (
        (eleven_point_ap, [Fraction(k, 10) for k in range(11)]),
        (forty_point_ap, [Fraction(k, 40) for k in range(1, 41)]),
    ):
        exact = sum((exact_best_precision(correct, truths, recall) for recall in recalls), Fraction(0)) / len(recalls)
        assert ap(of_case) == pytest.approx(float(exact), abs=1e-13)


def test_scores_order_the_detections_and_ties_keep_their_order() -> None:
    of_case = PrecisionRecall.of(np.array([0.2, 0.9, 0.5, 0.5]), np.array([True, False, True, False]), 2)

    np.testing.assert_allclose(of_case.scores, [0.9, 0.5, 0.5, 0.2])
    np.testing.assert_allclose(of_case.recall, [0, 0.5, 0.5, 1])
    np.testing.assert_allclose(of_case.precision, [0, 1 / 2, 1 / 3, 1 / 2])
