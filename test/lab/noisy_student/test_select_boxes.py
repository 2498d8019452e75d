"""Selection of pseudo labels and ignore regions, and weights of coordinates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gaussian_yolo_node.evaluation.uncertainty import relative_sigmas
from gaussian_yolo_node.lab.noisy_student.select_boxes import (
    BoxRules,
    PseudoLabels,
    SelectionError,
    select_boxes,
)
from gaussian_yolo_node.labels.labelled_frames import FramePredictions

SIDES = (40.0, 20.0)


def found(*rows: tuple[str, float, float]) -> FramePredictions:
    """Boxes of 40 x 20 px in a row, given as (class, score, sigma of all coordinates relative to the side)."""
    corners = [[50.0 * i, 10, 50.0 * i + SIDES[0], 10 + SIDES[1]] for i in range(len(rows))]
    sigmas = [[relative * side for side in SIDES * 2] for *_, relative in rows]
    boxes, scores = np.array(corners, np.float32).reshape(-1, 4), [score for _, score, _ in rows]
    return FramePredictions.of("a.jpg", boxes, scores, [name for name, *_ in rows], sigmas)


def only(rules: BoxRules, *rows: tuple[str, float, float]) -> PseudoLabels:
    (labels,) = select_boxes([found(*rows)], rules)
    return labels


@pytest.mark.parametrize(
    ("score", "sigma", "expected"),
    [
        (0.9, 0.1, "label"),
        (0.5, 0.1, "label"),  # on the threshold
        (0.49, 0.1, "ignored"),
        (0.1, 0.1, "ignored"),
        (0.09, 0.1, "background"),
        (0.9, 0.2, "label"),  # on the limit
        (0.9, 0.21, "ignored"),  # high score, uncertain position
        (0.3, 0.9, "ignored"),
        (0.05, 0.9, "background"),
    ],
)
def test_score_and_sigma_decide(score: float, sigma: float, expected: str) -> None:
    rules = BoxRules(positive=0.5, ignore=0.1, max_sigma=0.2001, keep_empty=True)
    labels = only(rules, ("car", score, sigma))
    state = "background" if not len(labels.boxes) else "ignored" if labels.ignored[0] else "label"
    assert state == expected


def test_one_unsure_coordinate_is_enough() -> None:
    for coordinate in range(4):
        case = found(("car", 0.9, 0.05))
        case.detections.sigmas[0, coordinate] = 30
        (labels,) = select_boxes([case], BoxRules(max_sigma=0.2, keep_empty=True))
        assert labels.ignored.tolist() == [True]


def test_weights_are_inverse_squares_against_the_median() -> None:
    sigmas = (0.05, 0.1, 0.1, 0.2, 0.4)
    labels = only(BoxRules(least_weight=0.1), *(("car", 0.9, sigma) for sigma in sigmas))
    assert labels.weights[:, 0] == pytest.approx([1, 1, 1, 0.25, 0.1], rel=1e-5)
    assert (labels.weights == labels.weights[:, :1]).all()


def test_each_coordinate_has_its_own_median() -> None:
    case = found(("car", 0.9, 0.1), ("car", 0.9, 0.1), ("car", 0.9, 0.1))
    case.detections.sigmas[:, 3] *= [1, 2, 4]
    (labels,) = select_boxes([case], BoxRules())
    assert labels.weights[:, 3] == pytest.approx([1, 1, 0.25], rel=1e-5)
    assert (labels.weights[:, :3] == 1).all()


def test_ignore_regions_have_no_say_in_the_median() -> None:
    rows = (("car", 0.9, 0.1), ("car", 0.9, 0.2), ("car", 0.9, 0.2), ("car", 0.2, 0.01), ("car", 0.2, 0.01))
    labels = only(BoxRules(), *rows)
    assert labels.weights[~labels.ignored, 0] == pytest.approx([1, 1, 1])
    assert (labels.weights[labels.ignored] == 1).all()


def test_without_weights_all_count_the_same() -> None:
    labels = only(BoxRules(weights="none"), ("car", 0.9, 0.01), ("car", 0.9, 0.5))
    assert (labels.weights == 1).all()


@pytest.mark.parametrize(("keep_empty", "copies"), [(False, [1, 0, 0]), (True, [1, 1, 1])])
def test_images_without_a_label(keep_empty: bool, copies: list[int]) -> None:
    images = [found(("car", 0.9, 0.1)), found(("car", 0.2, 0.1)), found()]
    labels = select_boxes(images, BoxRules(keep_empty=keep_empty))
    assert [one.copies for one in labels] == copies
    assert labels[2].boxes.shape == labels[2].weights.shape == (0, 4)


def test_classes_are_balanced_and_an_image_serves_the_one_that_needs_it_most() -> None:
    """Five images of cars and one of a cyclist beside a car, with a target of two per class."""
    images = [found(("car", 0.6 + index / 100, 0.1)) for index in range(5)]
    images.append(found(("car", 0.5, 0.1), ("cyclist", 0.8, 0.1)))
    copies = [one.copies for one in select_boxes(images, BoxRules(per_class=2))]
    assert copies == [0, 0, 0, 1, 1, 2]


def test_no_images_and_no_labels() -> None:
    assert select_boxes([], BoxRules()) == []
    (labels,) = select_boxes([found()], BoxRules(per_class=3))
    assert labels.copies == 0


def test_a_box_without_area_is_unsure() -> None:
    boxes = np.array([[5, 5, 5, 5]], np.float32)
    assert (relative_sigmas(boxes, np.ones((1, 4), np.float32)) > 1e5).all()


def test_the_record_is_plain() -> None:
    record = only(BoxRules(), ("car", 0.9, 0.1), ("car", 0.2, 0.1)).to_dict("a.png")
    assert record == {
        "path": "a.png",
        "copies": 1,
        "boxes": [[0.0, 10.0, 40.0, 30.0], [50.0, 10.0, 90.0, 30.0]],
        "classes": ["car", "car"],
        "weights": [[1.0] * 4] * 2,
        "ignored": [False, True],
    }


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"positive": 1.5}, "positive must be a number at least 0 and at most 1, not 1.5"),
        ({"ignore": -0.1}, "ignore must be a number at least 0 and at most 1, not -0.1"),
        ({"ignore": 0.6}, "ignore, 0.6, is above positive, 0.5: exchange them"),
        ({"max_sigma": 0}, "max_sigma must be a number above 0, not 0"),
        ({"max_sigma": math.nan}, "max_sigma must be a number above 0, not nan"),
        ({"weights": "all"}, "weights must be one of sigma, none, not 'all'"),
        ({"per_class": 0}, "per_class must be a whole number at least 1, not 0"),
        ({"least_weight": 2}, "least_weight must be a number at least 0 and at most 1, not 2"),
    ],
)
def test_rules_that_cannot_be(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        BoxRules(**rules)
