from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Kind, Truths

BOX = [1.0, 2.0, 3.0, 4.0]


def test_objects_are_fully_visible_unless_given_otherwise() -> None:
    plain, other = Truths.of([BOX], ["Car"]), Truths.of([BOX], ["Van"], [True], [0.5], [2])
    together = Truths.concatenate([plain, Truths.of([], []), other])

    assert len(together) == 2 and together.boxes.tolist() == [BOX, BOX]
    assert together.categories.tolist() == ["Car", "Van"] and together.ignored.tolist() == [False, True]
    assert (together.truncation.tolist(), together.occlusion.tolist()) == ([0, 0.5], [0, 2])
    assert len(Truths.concatenate([])) == 0 and Truths.of([], []).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("kind", "categories", "kitti"),
    [
        ("kitti", ["Car"], True),
        ("bag", ["Car", "DontCare"], True),
        ("bag", [], True),
        ("bag", ["Car", "bus"], False),
        ("bdd", ["Car"], False),
    ],
)
def test_bags_of_kitti_s_types_are_kitti_s(kind: Kind, categories: list[str], kitti: bool) -> None:
    frames = [FrameTruths("a", Truths.of([BOX] * len(categories), categories)), FrameTruths("b", Truths.of([], []))]
    assert GroundTruth.of(frames, kind).is_kitti == kitti


def test_two_frames_of_one_name_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"labels\.json has two frames of the name a: remove one"):
        GroundTruth.of([FrameTruths("a", Truths.of([], []))] * 2, "bdd", "labels.json")


@pytest.mark.parametrize(
    ("boxes", "kind"),
    [([BOX] * 3, np.float64), (np.array([BOX] * 3, np.float32), np.float32), (np.array([BOX] * 3, int), np.float64)],
)
def test_class_names_become_ids_and_back(boxes: Any, kind: type) -> None:
    record = FramePredictions.of("a.jpg", boxes, [0.1, 0.2, 0.3], ["van", "car", "van"], np.ones((3, 4)))

    assert record.classes == ("car", "van") and record.detections.class_ids.tolist() == [1, 0, 1]
    assert record.class_names.tolist() == ["van", "car", "van"] and record.has_sigmas
    assert record.detections.boxes.dtype == record.detections.scores.dtype == record.detections.sigmas.dtype == kind


def test_unknown_sigmas_are_zero() -> None:
    record = FramePredictions.of(3, [BOX], [0.1], ["car"], places=[7])
    assert not record.has_sigmas and record.detections.sigmas.tolist() == [[0, 0, 0, 0]]
    assert record.places is not None and record.places.tolist() == [7]


@pytest.mark.parametrize("sigmas", [None, []])
def test_a_frame_without_detections(sigmas: list[float] | None) -> None:
    record = FramePredictions.of("a", [], [], [], sigmas)
    assert len(record.detections) == 0 and record.classes == () and record.class_names.tolist() == []
    assert record.has_sigmas == (sigmas is not None)


@pytest.mark.parametrize(
    ("boxes", "scores", "names"),
    [([BOX], [0.1, 0.2], ["car"]), ([BOX], [0.1], []), ([BOX], [2.0], ["car"]), ([BOX[::-1]], [0.1], ["car"])],
)
def test_what_is_no_detection_is_refused(boxes: Any, scores: list[float], names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"shape|scores must|boxes must"):
        FramePredictions.of("a", boxes, scores, names)
