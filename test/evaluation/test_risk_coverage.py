"""Risk against coverage: hand-worked, with ties, empty, and never better than the oracle's order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.evaluation.all_objects import class_ious, judge_class, match_boxes
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.evaluation.risk_coverage import (
    DetectionRisks,
    box_risks,
    detection_curves,
    detection_risks,
    risk_coverage,
)
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths

TRUTH = [100.0, 100, 200, 180]
pairs = st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("uncertainties", "risks", "curve", "oracle", "gain"),
    [
        ([1], [0.5], [0.5], [0.5], None),
        ([1, 2, 3, 4], [0, 1, 2, 3], [0, 0.5, 1, 1.5], [0, 0.5, 1, 1.5], 1.0),
        ([4, 3, 2, 1], [0, 1, 2, 3], [3, 2.5, 2, 1.5], [0, 0.5, 1, 1.5], -1.0),
        ([1, 1, 1, 1], [0, 1, 2, 3], [1.5, 1.5, 1.5, 1.5], [0, 0.5, 1, 1.5], 0.0),  # all equal: as at random
        ([0, 0], [1, 0], [0.5, 0.5], [0, 0.5], 0.0),
        ([1, 2, 2], [0, 3, 6], [0, 2.25, 3], [0, 1.5, 3], 1.25 / 1.5),  # either of the two equals may be kept
        ([1, 2, 3], [2, 2, 2], [2, 2, 2], [2, 2, 2], None),  # all the same risk
        ([1, 2, 3], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], None),
        ([1, 2], [0, 0], [0, 0], [0, 0], None),
        ([3, 1], [1, 0], [0, 0.5], [0, 0.5], 1.0),
    ],
)
def test_hand_worked(
    uncertainties: list[float], risks: list[float], curve: list[float], oracle: list[float], gain: float | None
) -> None:
    found = risk_coverage(np.array(uncertainties, float), np.array(risks, float))

    assert found is not None
    count = len(risks)
    np.testing.assert_allclose(found.coverage, np.arange(1, count + 1) / count)
    np.testing.assert_allclose(found.risk, curve)
    np.testing.assert_allclose(found.oracle, oracle)
    assert (found.area, found.oracle_area) == pytest.approx((np.mean(curve), np.mean(oracle)))
    assert found.random_area == pytest.approx(np.mean(risks))
    assert found.gain == (None if gain is None else pytest.approx(gain))


def test_nothing_to_keep() -> None:
    assert detection_curves(DetectionRisks(np.empty(0), np.empty(0), np.empty(0))) == {}


@pytest.mark.parametrize(
    ("coverage", "risk"),
    [(1.0, 1.5), (0.5, 0.5), (0.51, 1.0), (0.01, 0), (0.25, 0), (0.75, 1.0), (2.0, 1.5)],
)
def test_the_risk_at_a_coverage(coverage: float, risk: float) -> None:
    found = risk_coverage(np.arange(4.0), np.arange(4.0))
    assert found is not None
    assert found.at(coverage) == risk


def test_a_share_means_its_whole_number_of_boxes() -> None:
    found = risk_coverage(np.arange(100.0), np.arange(100.0))
    assert found is not None
    assert [found.at(percent / 100) for percent in range(1, 101)] == found.risk.tolist()
    assert found.to_dict()["risk"] == found.risk.tolist()


@settings(deadline=None, max_examples=60)
@given(pairs)
def test_between_the_oracle_and_its_reverse(values: list[tuple[int, float]]) -> None:
    uncertainties, risks = (np.array(column, float) for column in zip(*values, strict=True))
    found = risk_coverage(uncertainties, risks)
    worst = risk_coverage(-risks, risks)

    assert found is not None and worst is not None
    tolerance = 1e-9
    assert (found.oracle <= found.risk + tolerance).all()
    assert (found.risk <= worst.risk + tolerance).all()
    assert found.oracle_area - tolerance <= found.area <= worst.area + tolerance
    assert found.oracle_area - tolerance <= found.random_area <= worst.area + tolerance
    assert found.risk[-1] == pytest.approx(found.random_area)
    assert (np.diff(found.oracle) >= -tolerance).all()


@settings(deadline=None, max_examples=60)
@given(pairs)
def test_only_the_order_of_uncertainties_counts(values: list[tuple[int, float]]) -> None:
    uncertainties, risks = (np.array(column, float) for column in zip(*values, strict=True))
    found, other = risk_coverage(uncertainties, risks), risk_coverage(np.exp(uncertainties) * 7 - 3, risks)
    shuffled = risk_coverage(uncertainties[::-1], risks[::-1])

    assert found is not None and other is not None and shuffled is not None
    np.testing.assert_array_equal(found.risk, other.risk)
    np.testing.assert_allclose(found.risk, shuffled.risk, rtol=1e-9, atol=1e-9)


def test_ties_are_the_mean_over_all_orders() -> None:
    uncertainties, risks = np.array([1.0, 2, 2, 2, 3]), np.array([0.3, 0.9, 0.1, 0.4, 0.2])
    curves = []
    for order in permutations([1, 2, 3]):
        rows = [0, *order, 4]
        curves.append(np.cumsum(risks[rows]) / np.arange(1, 6))

    found = risk_coverage(uncertainties, risks)

    assert found is not None
    np.testing.assert_allclose(found.risk, np.mean(curves, axis=0))


def on_truth(shifts: list[float], sigmas: list[float] | None, width: float = 100) -> MatchedBoxes:
    """Boxes shifted by px in x, with the same sigma in px for all coordinates."""
    count = len(shifts)
    truths = np.tile([0.0, 0, width, 80], (count, 1))
    boxes = truths + np.array(shifts).reshape(-1, 1) * np.array([1, 0, 1, 0])
    given_sigmas = None if sigmas is None else np.repeat(np.array(sigmas).reshape(-1, 1), 4, axis=1)
    return MatchedBoxes(boxes, truths, given_sigmas, np.array(["car"] * count), np.zeros(count, np.intp))


@pytest.mark.parametrize("boxes", [on_truth([], []), on_truth([1, 2], None)], ids=["no boxes", "no sigmas"])
def test_no_risk_curves(boxes: MatchedBoxes) -> None:
    assert box_risks(boxes) == {}


def test_box_risks_hand_worked() -> None:
    found = box_risks(on_truth([0, 50, -25], [1, 3, 2]))

    assert list(found) == ["1 - IoU", "centre error", "size error"]
    assert all(list(curves) == ["sigma", "box size"] for curves in found.values())
    np.testing.assert_allclose(found["1 - IoU"]["sigma"].risk, [0, 0.2, (0.4 + 2 / 3) / 3])
    np.testing.assert_allclose(found["centre error"]["sigma"].risk, [0, 12.5, 25])
    assert found["centre error"]["sigma"].gain == pytest.approx(1)
    assert found["centre error"]["box size"].gain == pytest.approx(0)  # all of one size
    np.testing.assert_array_equal(found["size error"]["sigma"].risk, 0)


def test_the_size_of_a_box_is_what_a_sigma_must_beat() -> None:
    """Sigmas that are a tenth of the width tell no more than the width."""
    small, large = on_truth([1.0], [4.0], width=40), on_truth([9.0], [20.0], width=200)
    both = MatchedBoxes(
        *(np.concatenate([getattr(small, name), getattr(large, name)]) for name in ("boxes", "truths", "sigmas")),
        np.array(["car", "car"]),
        np.zeros(2, np.intp),
    )
    centre = box_risks(both)["centre error"]
    assert centre["sigma"].area == centre["box size"].area


def frame(name: str, boxes: list[list[float]], scores: list[float], sigmas: list[float] | None) -> FramePredictions:
    spread = None if sigmas is None else np.repeat(np.array(sigmas).reshape(-1, 1), 4, axis=1)
    return FramePredictions.of(name, np.array(boxes), np.array(scores), np.array(["car"] * len(boxes)), spread)


def scene(sigmas: bool = True) -> Paired:
    """Two frames: a car detected twice, one missed by far, a van, an unlabelled region, a car half covered."""
    van, nobody, off = [300.0, 100, 400, 180], [500.0, 0, 700, 200], [800.0, 100, 900, 180]
    half = [150.0, 100, 250, 180]
    truths = GroundTruth.of(
        [
            FrameTruths("0", Truths.of([TRUTH, van, nobody], ["Car", "Van", "DontCare"], [False, False, True])),
            FrameTruths("1", Truths.of([TRUTH], ["Car"])),
        ]
    )
    first = frame("0", [off, TRUTH, TRUTH, van, [550.0, 50, 650, 150]], [0.9, 0.8, 0.7, 0.6, 0.5], [30, 1, 2, 3, 4])
    second = frame("1", [half, [105.0, 100, 205, 180], off], [0.3, 0.95, 0.01], [5, 6, 7])
    records = [first, second]
    if not sigmas:
        records = [replace(each, has_sigmas=False) for each in records]
    return pair(truths, records)


def test_wrong_detections_cost_one_and_ignored_ones_do_not_count() -> None:
    risks = detection_risks(scene(), 0.5, 0.05)

    # by falling score: the shifted car, the false positive, the car, its duplicate, the half-covered car
    np.testing.assert_allclose(risks.scores, [0.95, 0.9, 0.8, 0.7, 0.3])
    np.testing.assert_allclose(risks.risks, [1 - 95 / 105, 1, 0, 1, 1])
    assert risks.uncertainties is not None
    np.testing.assert_allclose(risks.uncertainties, np.array([6, 30, 1, 2, 5]) * (1 / 100 + 1 / 80) / 2)
    curves = detection_curves(risks)
    assert list(curves) == ["score", "sigma"]
    np.testing.assert_allclose(curves["sigma"].risk[:2], [0, 0.5])
    np.testing.assert_allclose(curves["score"].risk[:2], [10 / 105, (1 + 10 / 105) / 2])


@pytest.mark.parametrize(
    ("iou", "least_score", "right"),
    [(0.5, 0.05, 2), (0.3, 0.05, 2), (0.95, 0.05, 1), (0.5, 0.9, 1), (0.5, 0.96, 0)],
)
def test_detection_risks_by_iou_and_least_score(iou: float, least_score: float, right: int) -> None:
    risks = detection_risks(scene(), iou, least_score)
    assert (risks.risks < 1).sum() == right
    assert (risks.scores >= least_score).all()


def test_detections_without_sigmas_are_ranked_by_score_alone() -> None:
    risks = detection_risks(scene(sigmas=False), 0.5, 0.05)
    assert risks.uncertainties is None
    assert list(detection_curves(risks)) == ["score"]
    assert detection_curves(detection_risks(scene(), 0.5, 0.99)) == {}


@pytest.mark.parametrize("seed", range(5))
def test_of_every_class_and_frame_with_equal_scores(seed: int) -> None:
    """Verdicts match the protocol, and the risk of a correct detection is that of its own box."""
    rng = np.random.default_rng(seed)
    types, classes = np.array(["Car", "Pedestrian", "Cyclist", "Van"]), np.array(["car", "pedestrian", "cyclist"])
    labels, records = [], []
    for number in range(6):
        corners = rng.uniform(0, 300, (8, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(30, 100, (8, 2))], axis=1)
        labels.append(FrameTruths(str(number), Truths.of(boxes, types[rng.integers(4, size=8)])))
        found = np.concatenate([boxes, boxes]) + rng.normal(0, 5, (16, 4))
        names, scores = classes[rng.integers(3, size=16)], rng.integers(1, 6, 16) / 5  # many equal scores
        records.append(FramePredictions.of(str(number), found, scores, names, rng.uniform(1, 9, (16, 4))))
    paired = pair(GroundTruth.of(labels), records)

    risks = detection_risks(paired, 0.5, 0.3)

    judged = [judge_class(paired, name, 0.5) for name in class_ious(paired)]
    kept = [of.scores >= 0.3 for of in judged]
    np.testing.assert_array_equal(
        risks.scores, np.concatenate([of.scores[rows] for of, rows in zip(judged, kept, strict=True)])
    )
    correct = np.concatenate([of.correct[rows] for of, rows in zip(judged, kept, strict=True)])
    assert correct.any()
    np.testing.assert_array_equal(risks.risks < 1, correct)
    matched = match_boxes(paired, 0.5, 0.3)
    assert matched.sigmas is not None and risks.uncertainties is not None
    mine = sorted(zip(risks.risks[correct], risks.uncertainties[correct], strict=True))
    uncertainties = (matched.sigmas / matched.sizes).mean(axis=1)
    np.testing.assert_allclose(mine, sorted(zip(1 - matched.ious, uncertainties, strict=True)))
