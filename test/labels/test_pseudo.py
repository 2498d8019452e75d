"""Selected pseudo labels as a training source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.labels import IGNORE, DatasetError, load_sources

CLASSES = ("car", "pedestrian")


def make_image(folder: Path, name: str) -> str:
    cv2.imwrite(str(folder / name), np.zeros((40, 60, 3), np.uint8))
    return name


def record(path: str, **changes: Any) -> dict[str, Any]:
    return {
        "path": path,
        "copies": 2,
        "boxes": [[1, 2, 30, 20.5], [5, 5, 9, 9]],
        "classes": ["car", "pedestrian"],
        "weights": [[1, 0.5, 0.25, 0], [1, 1, 1, 1]],
        "ignored": [False, True],
        **changes,
    }


def write(folder: Path, *records: object, **changes: Any) -> None:
    document = {"format": 1, "kind": "detection", "images": list(records), **changes}
    (folder / "selected.json").write_text(json.dumps(document))


def load(folder: Path, **source: Any) -> list:
    return load_sources(folder, [{"format": "pseudo", "labels": "selected.json", **source}], CLASSES)


def test_boxes_weights_copies_and_ignore_regions_arrive(tmp_path: Path) -> None:
    empty = {"copies": 1, "boxes": [], "classes": [], "weights": [], "ignored": []}
    write(tmp_path, record(make_image(tmp_path, "a.png")), record(make_image(tmp_path, "b.png"), **empty))
    first, second = load(tmp_path, weight=0.5)
    assert first.boxes.tolist() == [[1, 2, 30, 20.5], [5, 5, 9, 9]]
    assert first.class_ids.tolist() == [0, IGNORE]
    assert first.coordinate_weights.tolist() == [[1, 0.5, 0.25, 0], [1, 1, 1, 1]]
    assert (first.weight, second.weight) == (1.0, 0.5)
    assert first.path == tmp_path / "a.png" and second.boxes.shape == second.coordinate_weights.shape == (0, 4)


def test_absolute_paths_and_exclusion(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    paths = [str(tmp_path / "images" / make_image(tmp_path / "images", name)) for name in ("a.png", "b.png")]
    write(tmp_path, *map(record, paths))
    (only,) = load(tmp_path, exclude=["a"])
    assert only.path == Path(paths[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"path": "gone.png"}, "image 0: there is no image .*gone.png"),
        ({"path": 3}, "image 0: it has no path"),
        ({"copies": -1}, "-1 is not a number from 0"),
        ({"copies": True}, "True is not a number"),
        ({"boxes": [[1, 2, 3, 4]]}, "not lists of one length"),
        ({"boxes": None}, "not lists of one length"),
        ({"boxes": [[1, 2, 3], [1, 2, 3, 4]]}, "box 0: box and weights are not of four numbers"),
        ({"boxes": [[1, 2, 3, "x"], [1, 2, 3, 4]]}, "'x' is not a number"),
        ({"boxes": [[1, 2, 3, float("nan")], [1, 2, 3, 4]]}, "nan is not a number"),
        ({"boxes": [[30, 2, 1, 4], [1, 2, 3, 4]]}, "inverted"),
        ({"weights": [[1, 1, 1, -1], [1, 1, 1, 1]]}, "box 0: -1 is not a number from 0"),
        ({"classes": [1, "car"]}, "its class is no name"),
        ({"ignored": [0, 1]}, "ignored not true or false"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, changes: dict, message: str) -> None:
    write(tmp_path, {**record(make_image(tmp_path, "a.png")), **changes})
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON: .*; select again"),
        ("[]", "not a file of selected labels"),
        ('{"format": 2}', "not a file of selected labels of format 1"),
        ('{"format": 1, "kind": "classification"}', "holds labels for classification"),
        ('{"format": 1, "kind": "detection"}', "no list 'images'"),
        ('{"format": 1, "kind": "detection", "images": []}', "none of its images has labels"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "selected.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path)
