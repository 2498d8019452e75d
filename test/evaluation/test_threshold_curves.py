"""Counts at a score threshold: hand-worked, with ties, and empty."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.evaluation.all_objects import Judged
from gaussian_yolo_node.evaluation.threshold_curves import (
    AtThreshold,
    ThresholdCurve,
    false_positives_by_threshold,
    term_effects,
    threshold_curve,
)


def curve(scores: list[float], correct: list[bool], truths: int = 10) -> ThresholdCurve:
    return threshold_curve(np.array(scores, float), np.array(correct, bool), truths)


MIXED = curve([0.3, 0.9, 0.5, 0.5, 0.9], [False, True, True, False, True])


@pytest.mark.parametrize(
    ("threshold", "right", "wrong"),
    [
        (0.0, 3, 2),
        (0.3, 3, 2),  # a score of exactly the threshold passes
        (0.31, 3, 1),
        (0.5, 3, 1),  # equal scores pass together
        (0.51, 2, 0),
        (0.9, 2, 0),
        (0.91, 0, 0),
        (1.0, 0, 0),
    ],
)
def test_counts_at_a_threshold(threshold: float, right: int, wrong: int) -> None:
    assert MIXED.at(threshold) == AtThreshold(threshold, right, wrong, 10 - right)


def test_steps_are_the_scores_that_occur() -> None:
    np.testing.assert_array_equal(MIXED.thresholds, [0.9, 0.5, 0.3])
    np.testing.assert_array_equal(MIXED.true_positives, [2, 3, 3])
    np.testing.assert_array_equal(MIXED.false_positives, [0, 1, 2])


def test_no_detections() -> None:
    nothing = curve([], [], 4)
    assert len(nothing.thresholds) == 0
    assert nothing.at(0.3) == AtThreshold(0.3, 0, 0, 4)
    assert nothing.finding(1) is None
    assert nothing.to_dict()["true_positives"] == [0] * 19


@pytest.mark.parametrize(
    ("wanted", "threshold", "right", "wrong"),
    [(0, math.inf, 0, 0), (1, 0.9, 2, 0), (2, 0.9, 2, 0), (3, 0.5, 3, 1)],
)
def test_the_threshold_that_finds_as_many(wanted: int, threshold: float, right: int, wrong: int) -> None:
    assert MIXED.finding(wanted) == AtThreshold(threshold, right, wrong, 10 - right)


def test_more_than_any_threshold_finds() -> None:
    assert MIXED.finding(4) is None


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()), max_size=30))
def test_as_counted_one_by_one(rows: list[tuple[float, bool]]) -> None:
    found = curve([score for score, _ in rows], [right for _, right in rows], 30)

    assert (np.diff(found.true_positives) >= 0).all() and (np.diff(found.false_positives) >= 0).all()
    for threshold in (0.0, 0.1, 0.3, 0.5, 1.0):
        passed = [right for score, right in rows if score >= threshold]
        assert found.at(threshold).true_positives == sum(passed)
        assert found.at(threshold).false_positives == len(passed) - sum(passed)


def judged(scores: list[float], correct: list[bool], truths: int) -> Judged:
    rows, matches = np.arange(len(scores)), np.where(correct, 0, -1)
    return Judged(rows, np.array(scores), matches, np.zeros_like(rows), np.array([truths]), 0)


def test_classes_together() -> None:
    cars, people = judged([0.9, 0.4], [True, False], 3), judged([0.8], [False], 2)

    together = false_positives_by_threshold([cars, people])

    assert together.truths == 5
    assert together.at(0.5) == AtThreshold(0.5, 1, 1, 4)
    assert false_positives_by_threshold([cars]).at(0.5) == AtThreshold(0.5, 1, 0, 2)
    assert false_positives_by_threshold([]).at(0.5) == AtThreshold(0.5, 0, 0, 0)


class TestTermEffects:
    def test_a_term_that_tells_right_from_wrong(self) -> None:
        without = curve([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
        with_term = curve([0.85, 0.4, 0.6, 0.3], [True, False, True, False])

        (effect,) = term_effects(with_term, without, [0.5])

        assert effect.with_term == AtThreshold(0.5, 2, 0, 8)
        assert effect.without_term == AtThreshold(0.5, 2, 2, 8)
        assert effect.equal == AtThreshold(0.7, 2, 1, 8)

    def test_a_term_that_only_lowers_scores_is_not_worth_anything(self) -> None:
        without = curve([0.9, 0.8, 0.7, 0.6], [True, False, True, False])
        with_term = curve([0.45, 0.4, 0.35, 0.3], [True, False, True, False])

        for effect in term_effects(with_term, without, [0.31, 0.36, 0.41]):
            assert effect.equal is not None
            assert effect.equal.true_positives == effect.with_term.true_positives
            assert effect.without_term.false_positives == 2
        effects = term_effects(with_term, without, [0.44, 0.34])
        assert [(each.with_term.false_positives, each.equal and each.equal.false_positives) for each in effects] == [
            (0, 0),
            (1, 1),
        ]

    def test_as_many_are_never_found(self) -> None:
        (effect,) = term_effects(curve([0.9, 0.8], [True, True]), curve([0.9], [True]), [0.5])
        assert effect.equal is None

    def test_nothing_passes(self) -> None:
        (effect,) = term_effects(curve([0.4], [True]), curve([0.9], [True]), [0.5])
        assert effect.equal == AtThreshold(math.inf, 0, 0, 10)


def test_the_table_is_json() -> None:
    table = json.loads(json.dumps(MIXED.to_dict(), allow_nan=False))
    assert table["thresholds"][5] == 0.3
    assert (table["true_positives"][5], table["false_positives"][5], table["truths"]) == (3, 2, 10)
