"""What the live view sends of a frame."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest
from factories import make_detections, make_image
from view.made_view import HOSTILE, made_frame

from gaussian_yolo_node.position.locate import Places
from gaussian_yolo_node.view.frame import PICTURE_WIDTH, ViewedFrame


def frame(count: int = 2, **fields: Any) -> ViewedFrame:
    found = make_detections([(10 * row, 5, 10 * row + 8, 25) for row in range(count)], class_ids=range(count))
    return ViewedFrame(make_image(), 12.5, "camera", found, ("car",), **fields)


def places(*rows: tuple[float, float]) -> Places:
    return Places(np.array(rows), np.stack([np.array([[4.0, 1.0], [1.0, 2.0]])] * len(rows)))


def test_boxes_sigmas_and_names() -> None:
    described = frame().describe()
    assert (described["frame"], described["stamp"], described["size"]) == ("camera", 12.5, [160, 48])
    assert not described["on_road"]
    # One sigma of an edge is sqrt(1 + 1/4) px; a class without a name is a number.
    car = {"box": [0.0, 5.0, 8.0, 25.0], "sigma": [1.12, 1.12], "score": 0.9, "class": 0, "label": "car"}
    assert described["objects"][0] == car
    assert described["objects"][1]["label"] == "1"


def test_what_a_tracker_and_a_position_add() -> None:
    velocities = np.array([(1.0, -2.0), (np.nan, np.nan)])
    described = frame(ids=np.array([7, -1]), places=places((10, 2), (20, 0)), velocities=velocities).describe()
    assert described["on_road"]
    first, second = described["objects"]
    assert (first["id"], first["place"], first["covariance"], first["velocity"]) == (7, [10, 2], [4, 1, 2], [1, -2])
    assert second["place"] == [20, 0] and not {"id", "velocity"} & second.keys()


@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_an_unknown_place_is_left_out(unknown: float) -> None:
    described = frame(places=places((unknown, 2), (20, 0)), velocities=np.ones((2, 2))).describe()
    assert not {"place", "covariance", "velocity"} & described["objects"][0].keys()
    assert json.dumps(described, allow_nan=False)


def test_no_objects() -> None:
    nothing = frame(0, ids=np.empty(0, int), places=Places(np.empty((0, 2)), np.empty((0, 2, 2)))).describe()
    assert nothing["objects"] == [] and nothing["on_road"]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"ids": np.array([1])}, "ids"),
        ({"places": places((1, 2), (3, 4), (5, 6))}, "places"),
        ({"velocities": np.ones((1, 2))}, "velocities"),
    ],
)
def test_rows_that_belong_to_no_detection(fields: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} has . rows for 2 detections"):
        frame(**fields)


def test_names_stay_as_they_are() -> None:
    assert json.loads(json.dumps(made_frame().describe()))["objects"][1]["label"] == HOSTILE


@pytest.mark.parametrize(
    ("size", "sent"),
    [((48, 160), (48, 160)), ((90, 2 * PICTURE_WIDTH), (45, PICTURE_WIDTH)), ((1, 5000), (1, PICTURE_WIDTH))],
)
def test_pictures_are_made_smaller_never_larger(size: tuple[int, int], sent: tuple[int, int]) -> None:
    image = np.full((*size, 3), (40, 90, 200), np.uint8)
    jpeg = ViewedFrame(image, 0.0, "", make_detections(), ()).jpeg()
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None and decoded.shape[:2] == sent
    assert np.abs(decoded.astype(int) - image[0, 0]).max() < 6
