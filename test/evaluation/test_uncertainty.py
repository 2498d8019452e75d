"""Errors against sigmas: what counts as within one sigma, and the figures of a detector with true sigmas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.all_objects import evaluate
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.tables import sigma_table, uncertainty_lines
from gaussian_yolo_node.evaluation.uncertainty import rank_correlation, sigma_figures, sigma_quality
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.predictions import read_predictions

TRUTH = np.array([[100.0, 100, 200, 180]])
SHIFTED = TRUTH + np.array([[3.0, 0, 3, 0]])  # centre x is off by 3 px, everything else is exact
GAUSSIAN = (0.6827, 0.9545, 0.9973)


def matched(
    boxes: NDArray[np.float64], truths: NDArray[np.float64], sigmas: NDArray[np.float64] | None
) -> MatchedBoxes:
    return MatchedBoxes(boxes, truths, sigmas, np.array(["car"] * len(boxes)), np.arange(len(boxes)))


@pytest.mark.parametrize(
    ("sigma_x", "within"),
    [
        (3.0, (1.0, 1.0, 1.0)),  # an error of exactly one sigma is within
        (2.0, (0.75, 1.0, 1.0)),
        (1.2, (0.75, 0.75, 1.0)),
        (0.0, (0.75, 0.75, 0.75)),  # claims to be perfect but is not
    ],
)
def test_shares_within_one_two_three_sigma(sigma_x: float, within: tuple[float, float, float]) -> None:
    quality = sigma_quality(matched(SHIFTED, TRUTH, np.array([[sigma_x, 1, 1, 1]])))
    assert quality is not None
    assert (quality.boxes, quality.overall.within) == (1, within)
    assert quality.coordinates["cx"].within[0] == (sigma_x == 3.0)
    assert quality.coordinates["w"].within == (1, 1, 1)
    assert quality.classes == {"car": quality.overall}


def test_errors_are_of_centres_and_sizes() -> None:
    box = matched(TRUTH + np.array([[-2.0, 1, 4, 7]]), TRUTH, None)
    assert box.errors.tolist() == [[1, 4, 6, 6]]
    assert box.sizes.tolist() == [[106, 86, 106, 86]]
    assert box.ious == pytest.approx([79 * 100 / (100 * 80 + 106 * 86 - 79 * 100)])


def test_the_likelihood_is_a_gaussians() -> None:
    figures = sigma_figures(np.array([0.0, 2.0]), np.array([1.0, 4.0]))
    densities = [1 / math.sqrt(2 * math.pi), math.exp(-((2 / 4) ** 2) / 2) / (4 * math.sqrt(2 * math.pi))]
    assert figures.nll == pytest.approx(-np.log(densities).mean())
    assert figures.rms == pytest.approx(math.sqrt((0 + 0.25) / 2))


@pytest.mark.parametrize(
    ("factor", "within", "calibration_error", "ence"),
    [
        (1.0, GAUSSIAN, 0.0, 0.0),
        (2.0, (0.9545, 0.9999, 1.0), 0.205, 0.5),  # underconfident
        (0.5, (0.3829, 0.6827, 0.8664), 0.205, 1.0),  # overconfident
    ],
)
def test_sigmas_that_are_true_or_off_by_a_factor(
    factor: float, within: tuple[float, float, float], calibration_error: float, ence: float
) -> None:
    rng = np.random.default_rng(0)
    sigmas = rng.uniform(0.5, 8, 40000)
    figures = sigma_figures(rng.standard_normal(40000) * sigmas, sigmas * factor)
    assert figures.within == pytest.approx(within, abs=0.01)
    assert figures.rms == pytest.approx(1 / factor, rel=0.02)
    assert figures.calibration_error == pytest.approx(calibration_error, abs=0.01)
    assert figures.ence == pytest.approx(ence, abs=0.03)


def test_the_same_sigma_for_all_hides_nothing_from_ence() -> None:
    """Correct on average but wrong for each box: coverage alone would miss it."""
    rng = np.random.default_rng(1)
    true = np.repeat([1.0, 3.0], 5000)
    errors = rng.standard_normal(10000) * true
    claimed = np.repeat([3.0, 1.0], 5000)
    assert sigma_figures(errors, true).ence == pytest.approx(0, abs=0.05)
    ence = sigma_figures(errors, claimed).ence
    assert ence is not None and ence > 1


@pytest.mark.parametrize(
    ("count", "measured"),
    [(1, False), (39, False), (40, True)],
)
def test_few_boxes_have_no_ence(count: int, measured: bool) -> None:
    assert (sigma_figures(np.ones(count), np.ones(count)).ence is not None) == measured


def test_a_sigma_of_zero_has_no_likelihood() -> None:
    figures = sigma_figures(np.array([1.0, 1.0]), np.array([0.0, 1.0]))
    assert (figures.nll, figures.rms, figures.ence) == (None, None, None)
    assert figures.within == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    "boxes",
    [
        matched(np.empty((0, 4)), np.empty((0, 4)), np.empty((0, 4))),  # nothing matched
        matched(SHIFTED, TRUTH, None),  # another program's boxes
    ],
)
def test_nothing_to_say(boxes: MatchedBoxes) -> None:
    assert sigma_quality(boxes) is None


def ladder(sigmas: list[float], shifts: list[float]) -> MatchedBoxes:
    """Boxes shifted from their objects, with the same sigma for all coordinates."""
    count = len(sigmas)
    boxes = np.repeat(TRUTH, count, axis=0) + np.array(shifts)[:, None] * np.array([1, 0, 1, 0])
    return matched(boxes, np.repeat(TRUTH, count, axis=0), np.repeat(np.array(sigmas)[:, None], 4, axis=1))


@pytest.mark.parametrize(
    ("sigmas", "shifts", "rho"),
    [
        ([1, 2, 3, 4], [0, 10, 20, 30], -1),  # less certain, lower IoU
        ([1, 2, 3, 9], [0, 10, 20, 30], -1),  # only ranks count
        ([4, 3, 2, 1], [0, 10, 20, 30], 1),
        ([1, 1, 2, 2], [0, 10, 20, 30], -0.894427),  # ties share their rank
        ([1, 2, 2, 3], [0, 10, 10, 30], -1),
        ([1, 2, 3], [10, 0, 20], -0.5),
        ([1, 2], [0, 10], None),  # two points always agree
        ([1], [0], None),
        ([], [], None),
        ([2, 2, 2], [0, 10, 20], None),  # one sigma for all
        ([1, 2, 3], [5, 5, 5], None),  # one IoU for all
        ([0, 0, 0], [0, 10, 20], None),
    ],
)
def test_rank_correlation(sigmas: list[float], shifts: list[float], rho: float | None) -> None:
    correlation = rank_correlation(ladder(sigmas, shifts), 0.1)
    assert correlation.boxes == len(sigmas)
    assert correlation.rho == (None if rho is None else pytest.approx(rho, abs=1e-6))


def test_uncertainty_is_relative_to_the_box() -> None:
    """Twice the sigma on a box twice as large is the same uncertainty."""
    small, large = np.array([[0.0, 0, 50, 40]]), np.array([[0.0, 0, 100, 80]])
    truths = np.concatenate([small, large, large])
    boxes = truths + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [30, 0, 30, 0]])
    sigmas = np.array([[5, 4, 5, 4], [10, 8, 10, 8], [15.0, 12, 15, 12]])
    assert rank_correlation(matched(boxes, truths, sigmas), 0.5).rho == pytest.approx(-1)


def test_only_boxes_on_objects_of_their_class_and_of_the_least_score_count() -> None:
    labels = GroundTruth.of([FrameTruths("000000", Truths.of(np.concatenate([TRUTH, TRUTH + 300]), ["Car", "Van"]))])
    boxes = np.concatenate([TRUTH + 300, SHIFTED, SHIFTED, SHIFTED])
    record = FramePredictions.of(
        "000000",
        boxes,
        [0.9, 0.8, 0.7, 0.01],
        ["car", "car", "pedestrian", "car"],
        np.full((4, 4), 3.0),
    )
    result = evaluate(pair(labels, [record]))
    assert result.sigma is not None
    assert (result.sigma.boxes, result.sigma.overall.within[0]) == (1, 1.0)
    assert [of.rms for of in result.sigma.coordinates.values()] == pytest.approx([1, 0, 0, 0])
    assert [each.boxes for each in result.sigma.correlations] == [1, 1]
    # the box on the van does not count, the one with score 0.01 is below the minimum, the pedestrian is wrong
    assert {name: scores.detections for name, scores in result.scores.items()} == {
        "car": 1, "pedestrian": 1, "cyclist": 0, "all": 2,
    }  # fmt: skip
    assert evaluate(pair(labels, [record]), least_score=0.85).sigma is None


@pytest.mark.parametrize("shift", [45.0, 100.0])
def test_worse_boxes_count_for_the_correlation_only(shift: float) -> None:
    """IoU 0.38 and 0: the second is on no object at all."""
    labels = GroundTruth.of([FrameTruths("000000", Truths.of(TRUTH, ["Car"]))])
    boxes = TRUTH + np.array([[shift, 0, shift, 0]])
    record = FramePredictions.of("000000", boxes, [0.9], ["car"], np.full((1, 4), 3.0))
    result = evaluate(pair(labels, [record]))
    assert result.sigma is None
    report = result.to_dict()
    assert report["sigma"] is None and json.dumps(report, allow_nan=False)


def test_the_report_is_plain_json_and_a_dash_is_what_is_unknown() -> None:
    labels = GroundTruth.of([FrameTruths("000000", Truths.of(TRUTH, ["Car"]))])
    record = FramePredictions.of("000000", SHIFTED, [0.9], ["car"], np.zeros((1, 4)))
    result = evaluate(pair(labels, [record]))
    assert result.sigma is not None

    report = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert report["sigma"]["coordinates"]["cx"]["nll"] is None
    assert report["sigma"]["coordinates"]["cx"]["within"] == [0, 0, 0]
    assert report["sigma"]["correlations"][1] == {"least_iou": 0.1, "boxes": 1, "rho": None}
    assert report["scores"]["car"]["bins"] == [{"detections": 1, "score": 0.9, "precision": 1.0}]
    assert sigma_table({"predicted": result.sigma.rows}).row_count == 5
    score, boxes, _, spearman = uncertainty_lines(result)
    assert "of 1 detections from score 0.05: car 10.00, pedestrian -, cyclist -, all 10.00" in score
    assert "of 1 boxes" in boxes and boxes.endswith("1 car")
    assert "- (1 boxes from IoU 0.5)" in spearman


def test_predictions_without_sigmas_say_so() -> None:
    labels = GroundTruth.of([FrameTruths("000000", Truths.of(TRUTH, ["Car"]))])
    result = evaluate(pair(labels, [FramePredictions.of("000000", SHIFTED, [0.9], ["car"])]))
    assert result.sigma is None
    assert uncertainty_lines(result)[-1].startswith("sigma: the predictions have none")


@pytest.mark.parametrize(("sigma", "kept"), [([1, 2, 3, 4], True), (None, False)])
def test_sigmas_are_read(tmp_path: Path, sigma: list[float] | None, kept: bool) -> None:
    path = tmp_path / "found.json"
    detection = {"class": "car", "score": 0.5, "box": [0, 0, 1, 1], **({"sigma": sigma} if sigma else {})}
    path.write_text(json.dumps([{"frame": 0, "detections": [detection]}]))
    (frame,) = read_predictions(path)
    assert frame.has_sigmas == kept


@pytest.mark.parametrize("sigma", [[1, 2, 3], [1, 2, 3, -4], [1, 2, 3, "4"], 3])
def test_a_wrong_sigma_is_refused(tmp_path: Path, sigma: object) -> None:
    path = tmp_path / "found.json"
    detection = {"class": "car", "score": 0.5, "box": [0, 0, 1, 1], "sigma": sigma}
    path.write_text(json.dumps([{"frame": 0, "detections": [detection]}]))
    with pytest.raises(DatasetError, match="record 0: detection 0"):
        read_predictions(path)
