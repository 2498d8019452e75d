from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from factories import make_detections

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners, corners_to_centres

THREE = make_detections([[0, 0, 4, 2], [1, 1, 1, 1], [5, 5, 9, 9]], class_ids=[0, 1, 0])


def test_empty_has_no_rows_and_the_right_shapes() -> None:
    empty = Detections.empty()

    assert len(empty) == 0
    assert empty.boxes.shape == empty.sigmas.shape == (0, 4)


def test_values_become_the_documented_types() -> None:
    detections = Detections([[0, 0, 1, 1]], [1], [2], [[0, 0, 0, 0]])  # type: ignore[arg-type]

    assert [detections.boxes.dtype, detections.scores.dtype] == [np.float32, np.float32]
    assert [detections.class_ids.dtype, detections.sigmas.dtype] == [np.int32, np.float32]


def test_float64_of_a_file_keeps_its_digits() -> None:
    detections = Detections(np.array([[0.1, 0, 1, 1]]), [0.9], [2], [[0.3, 0, 0, 0]])  # type: ignore[arg-type]

    assert (detections.boxes[0, 0], detections.scores[0], detections.sigmas[0, 0]) == (0.1, 0.9, 0.3)
    assert detections.class_ids.dtype == np.int32 and detections[:0].boxes.dtype == np.float64


@pytest.mark.parametrize("parts", [[], [THREE], [THREE[:0], THREE, THREE[1:]]])
def test_concatenates_to_float64(parts: list[Detections]) -> None:
    together = Detections.concatenate(parts)

    assert len(together) == sum(map(len, parts)) and together.boxes.dtype == together.scores.dtype == np.float64
    np.testing.assert_array_equal(together.boxes, np.concatenate([np.empty((0, 4)), *(part.boxes for part in parts)]))
    np.testing.assert_array_equal(together.class_ids, [number for part in parts for number in part.class_ids])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (np.array([True, False, True]), [0, 2]),  # mask
        (np.array([2, 0]), [2, 0]),  # indices, order kept
        (slice(1, None), [1, 2]),
        (np.zeros(3, bool), []),  # no row
        (np.array([], np.intp), []),
    ],
)
def test_selects_rows(rows: Any, expected: list[int]) -> None:
    selected = THREE[rows]

    np.testing.assert_array_equal(selected.boxes, THREE.boxes[expected])
    np.testing.assert_array_equal(selected.class_ids, THREE.class_ids[expected])
    assert len(selected) == len(expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[0, 0, 1]]}, "boxes has shape"),
        ({"boxes": []}, "boxes has shape"),  # one row too few
        ({"scores": [[0.5]]}, "scores has shape"),
        ({"sigmas": [1, 1, 1, 1]}, "sigmas has shape"),
        ({"boxes": [[2, 0, 1, 1]]}, "x1 <= x2"),  # inverted
        ({"boxes": [[0, 0, np.nan, 1]]}, "boxes must be finite"),
        ({"boxes": [[0, 0, np.inf, 1]]}, "boxes must be finite"),
        ({"sigmas": [[1, 1, 1, -1]]}, "sigmas must be"),
        ({"sigmas": [[1, 1, 1, np.nan]]}, "sigmas must be"),
        ({"scores": [1.1]}, "scores must"),
        ({"scores": [np.nan]}, "scores must"),
        ({"class_ids": [-1]}, "class_ids must"),
    ],
)
def test_refuses_what_is_no_detection(change: dict[str, Any], message: str) -> None:
    fields = {"boxes": [[0, 0, 1, 1]], "scores": [0.5], "class_ids": [0], "sigmas": [[1, 1, 1, 1]]} | change

    with pytest.raises(ValueError, match=message):
        Detections(**fields)  # type: ignore[arg-type]


def test_corners_and_centres_are_inverse() -> None:
    boxes = np.array([[0, 0, 4, 2], [1, 1, 1, 1]], np.float32)

    np.testing.assert_array_equal(corners_to_centres(boxes), [[2, 1, 4, 2], [1, 1, 0, 0]])
    np.testing.assert_array_equal(centres_to_corners(corners_to_centres(boxes)), boxes)
