"""Damaged label files give data or one clear error, in training and in a check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.labels import DatasetError, load_sources
from gaussian_yolo_node.labels.check import check_sources
from gaussian_yolo_node.labels.sources import open_source

CLASSES = ("car", "pedestrian")
BOX = {"x1": 1, "y1": 2, "x2": 30, "y2": 20}
LABEL = {"category": "car", "attributes": {"crowd": False}, "box2d": BOX}
OUTLINE = {"category": "car", "poly2d": [{"vertices": [[1, 2], [9, 3], [5, 8]], "closed": True}]}
DOCUMENTS: dict[str, tuple[str, Any]] = {
    "bdd": ("bdd", [{"name": "a.jpg", "videoName": "v", "labels": [LABEL, OUTLINE]}]),
    "scalabel": ("scalabel", {"frames": [{"name": "a.jpg", "size": {"height": 40, "width": 60}, "labels": [LABEL]}]}),
    "bdd file": ("bdd", {"name": "a", "frames": [{"objects": [LABEL]}]}),
    "coco": (
        "coco",
        {
            "images": [{"id": 1, "file_name": "a.jpg", "height": 40, "width": 60}],
            "annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "iscrowd": 0}],
            "categories": [{"id": 3, "name": "car"}],
        },
    ),
    "detections": (
        "detections",
        [{"frame": "a.jpg", "detections": [{"class": "car", "score": 0.9, "box": [1, 2, 30, 20]}]}],
    ),
}
VALUES = [
    None,
    True,
    0,
    -1,
    1e400,
    float("nan"),
    10**400,
    "",
    "x",
    [],
    [[]],
    [1, "x"],
    {},
    {"x": []},
    "a\0b",
    "../a.jpg",
]


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a document."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def damaged(document: Any, path: tuple[Any, ...], value: object) -> Any:
    if not path:
        return value
    copy = json.loads(json.dumps(document))
    parent = copy
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", DOCUMENTS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_json(tmp_path: Path, name: str, data: st.DataObject) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((40, 60, 3), np.uint8))
    kind, document = DOCUMENTS[name]
    path = data.draw(st.sampled_from(list(places(document))))
    value = data.draw(st.sampled_from(VALUES))
    (tmp_path / "l.json").write_text(json.dumps(damaged(document, path, value)))
    source = {"format": kind, "images": ".", ("detections" if kind == "detections" else "labels"): "l.json"}
    try:
        load_sources(tmp_path, [source], CLASSES)
    except DatasetError as error:
        assert "l.json" in str(error) or "data source 1" in str(error)
    check_sources({"data": [open_source(tmp_path, source, "data")]}, CLASSES)


@pytest.mark.parametrize("kind", ["kitti", "kitti_tracking", "yolo"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.lists(st.sampled_from(["0", "1", "7", "Car", "nan", "1e999", "-3", "x", "\n", "ä", "\0"]), max_size=20))
def test_text(tmp_path: Path, kind: str, text: list[str]) -> None:
    for folder in ("i", "i/a", "l"):
        (tmp_path / folder).mkdir(exist_ok=True)
    for path in ("i/a.jpg", "i/a/000000.jpg"):
        cv2.imwrite(str(tmp_path / path), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "l" / "a.txt").write_text(" ".join(text), encoding="utf-8")
    names = {"names": ["car"]} if kind == "yolo" else {}
    source = {"format": kind, "images": "i", "labels": "l", **names}
    try:
        load_sources(tmp_path, [source], CLASSES)
    except DatasetError as error:
        assert "a.txt" in str(error)
    check_sources({"data": [open_source(tmp_path, source, "data")]}, CLASSES)
