from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.paired import Paired, candidates, covers_any, match_greedily, pair
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths

A = [0.0, 0.0, 10.0, 10.0]
FAR = [50.0, 50.0, 60.0, 60.0]


def low(share: float) -> list[float]:
    """A with its height times `share`, so that IoU with it is `share`."""
    return [0.0, 0.0, 10.0, 10.0 * share]


def one_frame(boxes: list[list[float]], scores: list[float], truths: list[list[float]]) -> Paired:
    labels = FrameTruths("a", Truths.of(truths, ["car"] * len(truths)))
    return pair(GroundTruth.of([labels], "bdd"), [FramePredictions.of("a", boxes, scores, ["car"] * len(boxes))])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([], [], []),
        ([0, 1], [], []),
        ([], [0], []),
        ([0, 1, 0], [0, 0, 1], [(0, 0), (0, 1), (1, 2), (2, 0), (2, 1)]),
        ([5, 2], [2, 2, 7], [(1, 0), (1, 1)]),
    ],
)
def test_candidates(first: list[int], second: list[int], expected: list[tuple[int, int]]) -> None:
    rows, others = candidates(np.array(first, np.intp), np.array(second, np.intp))
    assert list(zip(rows.tolist(), others.tolist(), strict=True)) == expected


@pytest.mark.parametrize(
    ("boxes", "scores", "truths", "expected"),
    [
        ([low(0.8), low(0.9)], [0.9, 0.8], [A], [0, -1]),  # the first takes it, although the second fits better
        ([low(0.9), low(0.8)], [0.8, 0.9], [A], [-1, 0]),  # by score, not by index
        ([A, A], [0.5, 0.5], [A], [0, -1]),  # the first of equal scores
        ([A, low(0.9)], [0.9, 0.8], [A, low(0.8)], [0, 1]),  # takes the object that the first left
        ([A], [0.9], [A, A], [0]),  # the first of equal overlaps
        ([low(0.5)], [0.9], [A], [0]),  # at the threshold
        ([low(0.49)], [0.9], [A], [-1]),
        ([], [], [A], []),
        ([A], [0.9], [], [-1]),
    ],
)
def test_match_greedily(
    boxes: list[list[float]], scores: list[float], truths: list[list[float]], expected: list[int]
) -> None:
    of = one_frame(boxes, scores, truths)
    assert match_greedily(of, np.arange(len(boxes)), np.arange(len(truths)), 0.5).tolist() == expected


def test_matches_are_indices_of_all_objects() -> None:
    of = one_frame([FAR, A], [0.9, 0.8], [FAR, low(0.4), A])
    assert match_greedily(of, np.array([1]), np.array([1, 2]), 0.5).tolist() == [2]


def test_an_object_of_another_frame_is_not_taken() -> None:
    frames = [FrameTruths(name, Truths.of(boxes, ["car"] * len(boxes))) for name, boxes in (("a", [A]), ("b", []))]
    detections = [FramePredictions.of("a", [], [], []), FramePredictions.of("b", [A], [0.9], ["car"])]
    of = pair(GroundTruth.of(frames, "bdd"), detections)
    every = np.zeros(1, np.intp)
    assert match_greedily(of, every, every, 0.5).tolist() == [-1]
    assert not covers_any(of, every, every, 0.5, by_iou=True).any()


@pytest.mark.parametrize(
    ("box", "by_iou", "covered"),
    [(A, True, True), (low(0.5), False, True), (low(0.4), True, False), (FAR, False, False), ([1.0] * 4, False, False)],
)
def test_covers_any(box: list[float], by_iou: bool, covered: bool) -> None:
    of = one_frame([box], [0.9], [low(0.5) if not by_iou else A])
    every = np.zeros(1, np.intp)
    assert covers_any(of, every, every, 0.5, by_iou=by_iou).tolist() == [covered]


def record(frame: str | int, stamp_ns: int | None = None) -> FramePredictions:
    return FramePredictions.of(frame, [A], [0.9], ["car"], np.ones((1, 4)), stamp_ns=stamp_ns)


def truth(frame: str, stamp_ns: int | None = None) -> FrameTruths:
    return FrameTruths(frame, Truths.of([A, FAR], ["Car", "Van"]), stamp_ns)


@pytest.mark.parametrize(
    ("labels", "records"),
    [
        (truth("000012"), record("000012.png")),
        (truth("000012.png"), record("000012.png")),
        (truth("000012.png"), record("000012")),
        (truth("000012"), record(12)),
        (truth("000012.png", 7), record("7", 7)),
    ],
)
def test_frames_find_each_other(labels: FrameTruths, records: FramePredictions) -> None:
    paired = pair(GroundTruth.of([labels]), [records])
    assert paired.names == (labels.frame,)
    assert paired.truth_classes.tolist() == ["car", ""] and paired.classes == ("car",)


def test_frames_of_one_side_only() -> None:
    truths = [truth("a"), truth("b")]
    paired = pair(GroundTruth.of(truths, "bdd"), [record("b"), record("c")])
    assert (paired.names, paired.unlabelled, paired.unpredicted) == (("b",), ("c",), ("a",))
    assert paired.truth_classes.tolist() == ["Car", "Van"] and set(paired.detection_classes.tolist()) == {"Car"}

    # a list of objects does not name frames without objects
    paired = pair(GroundTruth.of(truths, "list"), [record("b"), record("c")])
    assert (paired.names, paired.unlabelled) == (("b", "c"), ()) and paired.detection_frames.tolist() == [0, 1]


def test_sigmas_of_some_frames_only_are_none() -> None:
    without = FramePredictions.of("b", [A], [0.9], ["car"])
    assert not pair(GroundTruth.of([truth("a"), truth("b")]), [record("a"), without]).has_sigmas


def test_two_truths_of_one_frame_are_refused() -> None:
    with pytest.raises(DatasetError, match="labels has two frames of the name a"):
        GroundTruth.of([truth("a"), truth("a")])
