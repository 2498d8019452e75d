from __future__ import annotations

import numpy as np
import pytest
from factories import make_detections
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, corners_to_centres
from gaussian_yolo_node.detector.nms import iou_matrix, nms

A = [0.0, 0.0, 10.0, 10.0]
A_SHIFTED = [1.0, 0.0, 11.0, 10.0]  # IoU with A 9/11
A_HALF = [0.0, 0.0, 10.0, 5.0]  # IoU with A exactly 0.5
FAR = [50.0, 50.0, 60.0, 60.0]
POINT = [5.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (A, A, 1.0),
        (A, A_HALF, 0.5),
        (A, A_SHIFTED, 9 / 11),
        (A, [10, 0, 20, 10], 0.0),  # share an edge
        (A, FAR, 0.0),
        (A, POINT, 0.0),
        (POINT, POINT, 0.0),  # no area, no overlap, no division by zero
        ([0, 0, 1e-30, 1e-30], [0, 0, 1e-30, 1e-30], 0.0),  # an area that underflows to 0
    ],
)
def test_iou(a: list[float], b: list[float], expected: float) -> None:
    result = iou_matrix(np.array([a], np.float32), np.array([b], np.float32))

    np.testing.assert_allclose(result, [[expected]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_iou_has_a_row_for_each_of_a_and_a_column_for_each_of_b(shape: tuple[int, int]) -> None:
    a, b = (np.tile(np.array(A, np.float32), (count, 1)) for count in shape)

    assert iou_matrix(a, b).shape == shape


@pytest.mark.parametrize(
    ("boxes", "scores", "class_ids", "kept"),
    [
        ([], [], [], []),
        ([A], [0.5], [0], [0]),
        ([A, A_SHIFTED], [0.5, 0.9], [0, 0], [1]),  # the better one is kept
        ([A, A_SHIFTED], [0.5, 0.9], [0, 1], [1, 0]),  # different classes: both are kept, best first
        ([A, A], [0.5, 0.5], [0, 0], [0]),  # a tie: the lower index
        ([FAR, A, FAR, A], [0.5] * 4, [0] * 4, [0, 1]),
        ([A, A_HALF], [0.9, 0.8], [0, 0], [0, 1]),  # IoU equal to the threshold is not above it
        ([A, FAR], [0.5, 0.5], [1, 0], [0, 1]),  # a tie between classes: the lower index first
        ([POINT, POINT, A], [0.9, 0.8, 0.7], [0, 0, 0], [0, 1, 2]),  # boxes without area never overlap
        # A chain: the middle box is suppressed, so it suppresses nothing.
        ([A, [3, 0, 13, 10], [6, 0, 16, 10]], [0.9, 0.8, 0.7], [0, 0, 0], [0, 2]),
    ],
)
def test_keeps(boxes: list[list[float]], scores: list[float], class_ids: list[int], kept: list[int]) -> None:
    detections = make_detections(boxes, scores, class_ids)

    result = nms(detections, iou_threshold=0.5)

    np.testing.assert_array_equal(result.boxes, detections.boxes[kept])
    np.testing.assert_array_equal(result.scores, detections.scores[kept])
    np.testing.assert_array_equal(result.class_ids, detections.class_ids[kept])


def test_keeps_the_best_of_too_many() -> None:
    detections = make_detections([[20 * i, 0, 20 * i + 10, 10] for i in range(5)], [0.1, 0.5, 0.3, 0.5, 0.9])

    np.testing.assert_array_equal(nms(detections, max_detections=3).boxes, detections.boxes[[4, 1, 3]])


def _crowd(seed: int, count: int = 200) -> Detections:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 100, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0, 60, (count, 2))], axis=1)
    scores = rng.integers(1, 20, count) / 20  # many ties
    return make_detections(boxes, scores, rng.integers(0, 3, count), rng.uniform(0.5, 9, (count, 4)))


def _by_the_book(detections: Detections, iou_threshold: float) -> tuple[list[int], dict[int, list[int]]]:
    """Kept rows, and for each the rows that it suppresses including itself, computed one box at a time."""
    iou = iou_matrix(detections.boxes, detections.boxes)
    order = sorted(range(len(detections)), key=lambda row: (-detections.scores[row], row))
    voters: dict[int, list[int]] = {}
    for row in order:
        for winner, members in voters.items():
            if detections.class_ids[winner] == detections.class_ids[row] and iou[winner, row] > iou_threshold:
                members.append(row)
                break
        else:
            voters[row] = [row]
    return list(voters), voters


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("iou_threshold", [0.0, 0.45, 0.9])
def test_agrees_with_suppression_by_the_book(seed: int, iou_threshold: float) -> None:
    detections = _crowd(seed)
    kept, _ = _by_the_book(detections, iou_threshold)

    np.testing.assert_array_equal(nms(detections, iou_threshold).boxes, detections.boxes[kept])


def test_votes_of_two_boxes() -> None:
    """Centre x computed by hand: IoU 9/11, sigmas 1 and 2 px."""
    detections = make_detections([A, A_SHIFTED], [0.9, 0.8], sigmas=[[1, 1, 1, 1], [2, 2, 2, 2]])
    weight = np.exp(-((1 - 9 / 11) ** 2) / 0.05) / 4

    result = nms(detections, variance_vote=True)

    np.testing.assert_allclose(result.boxes[0, 0], weight / (1 + weight), rtol=1e-5)
    np.testing.assert_allclose(result.boxes[0, 2] - result.boxes[0, 0], 10, rtol=1e-6)
    np.testing.assert_allclose(result.sigmas[0], np.sqrt(1 / (1 + weight)), rtol=1e-5)
    np.testing.assert_array_equal(result.scores, detections.scores[:1])


@pytest.mark.parametrize("seed", range(3))
def test_votes_agree_with_the_formula_box_by_box(seed: int) -> None:
    detections = _crowd(seed)
    iou = iou_matrix(detections.boxes, detections.boxes)
    kept, voters = _by_the_book(detections, 0.45)
    centres = corners_to_centres(detections.boxes).astype(np.float64)

    result = nms(detections, 0.45, variance_vote=True)

    for row, winner in enumerate(kept):
        members = voters[winner]
        weights = np.exp(-((1 - iou[winner, members]) ** 2) / 0.05)[:, np.newaxis] / detections.sigmas[members] ** 2
        expected: NDArray[np.float64] = (weights * centres[members]).sum(axis=0) / weights.sum(axis=0)
        np.testing.assert_allclose(result.centres_sizes[row], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(result.sigmas[row], 1 / np.sqrt(weights.sum(axis=0)), rtol=1e-5)
        assert (result.sigmas[row] <= detections.sigmas[winner] * (1 + 1e-6)).all()
    np.testing.assert_array_equal(result.class_ids, detections.class_ids[kept])


@pytest.mark.parametrize(
    ("boxes", "sigmas"),
    [
        ([], 1.0),
        ([A], 1.0),  # a single box is unchanged
        ([A, FAR], 1.0),
        ([POINT, POINT], 1.0),
        ([A, A], 0.0),  # a model without uncertainty
        ([A], [[0, 1, 0, 1]]),
    ],
)
def test_a_vote_changes_nothing_where_there_is_nothing_to_say(boxes: list[list[float]], sigmas: object) -> None:
    detections = make_detections(boxes, sigmas=sigmas)  # type: ignore[arg-type]

    voted, plain = nms(detections, variance_vote=True), nms(detections)

    np.testing.assert_allclose(voted.boxes, plain.boxes, atol=1e-5)
    np.testing.assert_allclose(voted.sigmas, plain.sigmas, rtol=1e-6)


def test_boxes_without_uncertainty_vote_by_overlap() -> None:
    result = nms(make_detections([A, A_SHIFTED], [0.9, 0.8], sigmas=0.0), variance_vote=True)

    assert 0 < result.boxes[0, 0] < 0.5
    assert (result.sigmas == 0).all()
