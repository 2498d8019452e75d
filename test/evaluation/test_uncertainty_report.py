"""The whole report about scores and sigmas: complete, plain JSON, and with parts missing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.all_objects import evaluate
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.evaluation.uncertainty_report import uncertainty_report
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths

FRAMES = 40


def drive(seed: int = 0) -> tuple[GroundTruth, list[FramePredictions]]:
    """Cars and pedestrians with errors that follow their sigmas, and as many false positives with lower scores."""
    rng = np.random.default_rng(seed)
    labels, records = [], []
    for number in range(FRAMES):
        corners = np.array([[0.0, 50], [300, 50], [600, 50]]) + rng.uniform(0, 50, (3, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(60, 150, (3, 2))], axis=1)
        labels.append(FrameTruths(str(number), Truths.of(boxes, ["Car", "Car", "Pedestrian"])))
        sigmas = rng.uniform(1, 10, (6, 4))
        errors = rng.standard_normal((3, 4)) * sigmas[:3]
        moved = boxes + np.concatenate([errors[:, :2] - errors[:, 2:] / 2, errors[:, :2] + errors[:, 2:] / 2], axis=1)
        below = np.array([0.0, 300, 0, 300])
        scores = np.concatenate([rng.uniform(0.5, 1, 3), rng.uniform(0.01, 0.6, 3)])
        classes = np.array(["car", "car", "pedestrian"] * 2)
        records.append(
            FramePredictions.of(str(number), np.concatenate([moved, moved + below]), scores, classes, sigmas)
        )
    return GroundTruth.of(labels), records


def paired(has_sigmas: bool = True, **changes: Any) -> Paired:
    truths, records = drive()
    changed = [replace(each, has_sigmas=has_sigmas, detections=replace(each.detections, **changes)) for each in records]
    return pair(truths, changed)


def plain(paired: Paired, **options: Any) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(json.dumps(uncertainty_report(paired, **options).to_dict(), allow_nan=False))
    return report


def test_says_what_the_evaluation_says() -> None:
    truths, records = drive()
    result = evaluate(pair(truths, records))

    report = uncertainty_report(pair(truths, records))

    assert report.sigma is not None and result.sigma is not None
    assert report.sigma.rows == result.sigma.rows
    assert report.sigma.correlations == result.sigma.correlations
    assert report.score.detections == result.scores["all"].detections
    assert report.score.calibration_error == pytest.approx(result.scores["all"].calibration_error)
    assert report.boxes == result.sigma.boxes


def test_is_complete() -> None:
    report = plain(paired(), without_term=paired())

    assert all(value not in (None, {}, []) for value in report.values())
    assert report["least_score"] == LEAST_SCORE
    assert list(report["thresholds"]) == ["car", "pedestrian", "cyclist", "all"]
    assert report["thresholds"]["all"]["truths"] == 3 * FRAMES
    assert len(report["coverage"]["expected"]) == len(report["coverage"]["observed"]["w"]) == 99
    assert sum(each["boxes"] for each in report["sigma_by_iou"]) >= report["boxes"]
    # the sigmas are true
    assert report["box_risks"]["centre error"]["sigma"]["gain"] > 0.2
    nll = report["likelihoods"]["all"]
    assert nll["nll"] < min(nll["constant"], nll["proportional"])
    # false positives have low scores
    curves = report["detection_risks"]
    assert curves["score"]["area"] < curves["sigma"]["area"] <= curves["score"]["random_area"] * 1.1
    assert curves["score"]["boxes"] == report["score"]["detections"]
    # identical runs, so the term has no effect
    for effects in report["term_effects"].values():
        assert all(effect["with_term"] == effect["without_term"] for effect in effects)


@pytest.mark.parametrize(
    ("changes", "sigma"),
    [({"has_sigmas": False}, False), ({"sigmas": np.zeros((6, 4))}, True), ({"sigmas": np.full((6, 4), 3.0)}, True)],
    ids=["no sigmas", "zero sigmas", "equal sigmas"],
)
def test_sigmas_that_tell_nothing(changes: dict[str, Any], sigma: bool) -> None:
    report = plain(paired(**changes))

    for name in ("sigma", "coverage", "sharpness", "likelihoods", "iou_by_sigma", "sigma_by_iou"):
        assert (report[name] is not None) == sigma
    assert bool(report["box_risks"]) == sigma
    assert ("sigma" in report["detection_risks"]) == sigma
    if sigma:
        assert report["box_risks"]["centre error"]["sigma"]["gain"] == pytest.approx(0)
        assert (report["likelihoods"]["cx"]["nll"] is None) == (not changes["sigmas"].any())
    assert report["thresholds"]["all"]["true_positives"][0] == report["boxes"]


@pytest.mark.parametrize("least_score", [LEAST_SCORE, 2.0])
def test_nothing_found(least_score: float) -> None:
    truths, records = drive()
    none = FramePredictions.of("0", [], [], [], [])
    # a minimum score above all scores, or no detections
    report = plain(pair(truths, records if least_score > 1 else [none]), least_score=least_score)

    assert report["boxes"] == 0
    assert report["score"]["calibration_error"] is None
    assert report["sigma"] is report["coverage"] is report["iou_by_sigma"] is None
    assert report["box_risks"] == report["detection_risks"] == {}
    assert report["term_effects"] is None


def test_one_box() -> None:
    truths = GroundTruth.of([FrameTruths("0", Truths.of([[0.0, 0, 100, 100]], ["Car"]))])
    record = FramePredictions.of("0", [[3.0, 0, 103, 100]], [0.9], ["car"], np.ones((1, 4)))

    report = plain(pair(truths, [record]))

    assert report["boxes"] == 1
    assert len(report["iou_by_sigma"]) == len(report["sigma_by_iou"]) == 1
    assert report["box_risks"]["centre error"]["sigma"]["area"] == 3
    assert report["box_risks"]["centre error"]["sigma"]["gain"] is None


def test_a_threshold_above_all_scores_is_null() -> None:
    low = paired(scores=np.full(6, 0.2))
    report = plain(low, without_term=low)
    last = report["term_effects"]["common"][-1]
    assert last["equal"]["threshold"] is None
    assert last["equal"]["true_positives"] == 0


def test_what_the_term_is_worth_depends_on_how_well_a_box_must_lie() -> None:
    """A box with IoU 0.6 is correct at 0.5 and wrong at a car's 0.7: only at 0.7 does a lower score help."""
    truths = GroundTruth.of([FrameTruths("0", Truths.of([[0.0, 0, 100, 100], [300, 0, 400, 100]], ["Car", "Car"]))])
    boxes, names = np.array([[0.0, 0, 100, 100], [325, 0, 425, 100]]), np.array(["car", "car"])
    with_term = FramePredictions.of("0", boxes, [0.7, 0.4], names)
    without_term = FramePredictions.of("0", boxes, [0.8, 0.9], names)

    effects = uncertainty_report(pair(truths, [with_term]), without_term=pair(truths, [without_term])).term_effects

    assert effects is not None
    at_half = {iou: next(each for each in of if each.with_term.threshold == 0.5) for iou, of in effects.items()}
    found = {
        iou: [(each.true_positives, each.false_positives) for each in (of.with_term, of.without_term, of.equal) if each]
        for iou, of in at_half.items()
    }
    assert found == {"common": [(1, 0), (2, 0), (1, 0)], "class": [(1, 0), (1, 1), (1, 1)]}
