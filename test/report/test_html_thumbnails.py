from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.report.thumbnails import annotate, data_uris

NONE = np.empty((0, 4))
BOX = np.array([[100.0, 60.0, 180.0, 120.0]])
GREY = np.full((200, 300, 3), 90, np.uint8)


def predictions(boxes: np.ndarray, sigmas: bool = True, name: str = "car") -> FramePredictions:
    count = len(boxes)
    return FramePredictions.of(
        "a", boxes, np.full(count, 0.9), np.array([name] * count, np.str_), np.ones((count, 4)) if sigmas else None
    )


def decoded(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert head == "data:image/jpeg;base64"
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture


def test_each_kind_of_box_leaves_its_colour() -> None:
    empty = predictions(NONE)
    found = annotate(GREY, empty, BOX, NONE, NONE, NONE)
    missed = annotate(GREY, empty, NONE, BOX, NONE, NONE)
    ignored = annotate(GREY, empty, NONE, NONE, BOX, NONE)
    wrong = annotate(GREY, empty, NONE, NONE, NONE, BOX)

    def has(picture: np.ndarray, colour: tuple[int, int, int]) -> bool:
        return bool((picture == colour).all(axis=2).any())

    white, red, black = (255, 255, 255), (40, 40, 235), (0, 0, 0)
    assert [has(found, each) for each in (white, red, black)] == [True, False, True]
    assert [has(missed, each) for each in (white, red)] == [True, True]
    assert [has(ignored, each) for each in (white, red, (170, 170, 170))] == [False, False, True]
    assert has(wrong, red) and not has(wrong, white)


@pytest.mark.parametrize("sigmas", [True, False])
@pytest.mark.parametrize("name", ["car", "日本", "<b>", "\x00"])
def test_detections_of_any_class_are_drawn_on_a_copy(sigmas: bool, name: str) -> None:
    before = GREY.copy()
    picture = annotate(GREY, predictions(BOX, sigmas, name), NONE, NONE, NONE, NONE)
    assert (before == GREY).all() and (picture != GREY).any()


@pytest.mark.parametrize(
    "box", [[-50.0, -50.0, 20.0, 20.0], [290.0, 190.0, 5e3, 5e3], [1e12, 0.0, 2e12, 1.0], [5.0, 5.0, 5.0, 5.0]]
)
def test_boxes_outside_or_without_area(box: list[float]) -> None:
    annotate(GREY, predictions(NONE), np.array([box]), np.array([box]), np.array([box]), np.array([box]))


def test_pictures_become_jpegs_of_a_bounded_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 2400, 3), np.uint8)
    generous = data_uris({"a": noise})
    tight = data_uris({"a": noise, "b": noise}, budget=60_000)

    assert decoded(generous["a"]).shape[1] == 960
    assert list(tight) == ["a", "b"]
    assert decoded(tight["a"]).shape[1] < 960
    assert sum(len(uri) for uri in tight.values()) < 60_000 * 4 / 3 + 100


@pytest.mark.parametrize("shape", [(1, 1, 3), (2000, 10, 3), (10, 2000, 3), (100, 200, 3)])
def test_shapes(shape: tuple[int, int, int]) -> None:
    picture = decoded(data_uris({"a": np.zeros(shape, np.uint8)})["a"])
    assert max(picture.shape[:2]) <= 960


def test_no_pictures() -> None:
    assert data_uris({}) == {}
