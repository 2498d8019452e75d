"""Ground truth in every format, and files that are not ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import GroundTruth
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth

BOX = [10.0, 20.0, 30.0, 60.0]
KITTI = "{} 0.30 2 1.5 10.0 20.0 30.0 60.0 1.5 1.6 3.9 1.0 1.5 20.0 1.5\n"
CORNERS = {"x1": 10.0, "y1": 20.0, "x2": 30.0, "y2": 60.0}
BDD = [
    {"name": "a.jpg", "labels": [{"category": "car", "box2d": CORNERS}]},
    {"name": "b.jpg", "labels": [{"category": "rider", "box2d": CORNERS, "attributes": {"crowd": True}}]},
    {"name": "c.jpg", "labels": None},
]
COCO = {
    "images": [{"id": 4, "file_name": "a.jpg", "height": 100, "width": 200}, {"id": 2, "file_name": "c.jpg"}],
    "categories": [{"id": 9, "name": "car"}],
    "annotations": [{"id": 1, "image_id": 4, "category_id": 9, "bbox": [10, 20, 20, 40], "iscrowd": 1}],
}


def written(path: Path, document: Any) -> Path:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def classes(truth: GroundTruth) -> dict[str, list[str]]:
    return {name: frame.truths.categories.tolist() for name, frame in truth.frames.items()}


def test_kitti_3d_boxes(tmp_path: Path) -> None:
    flat = "Pedestrian 0 0 -10 10 20 30 60 -1 -1 -1 -1000 -1000 -1000 -10\n"
    written(tmp_path / "000000.txt", KITTI.format("Car") + flat)
    written(tmp_path / "000001.txt", flat)
    frames = read_ground_truth(tmp_path).frames
    cuboids = frames["000000"].truths.cuboids
    assert cuboids[0].tolist() == [1.5, 1.6, 3.9, 1.0, 1.5, 20.0, 1.5]
    assert np.isnan(cuboids[1]).all() and np.isnan(frames["000001"].truths.cuboids).all()


def test_kitti_folder(tmp_path: Path) -> None:
    written(tmp_path / "000003.txt", KITTI.format("Car") + KITTI.format("DontCare").replace("0.30 2", "-1 -1"))
    written(tmp_path / "000004.txt", "")

    truth = read_ground_truth(tmp_path)

    assert truth.kind == "kitti" and classes(truth) == {"000003": ["Car", "DontCare"], "000004": []}
    frame = truth.frames["000003"].truths
    assert (frame.truncation.tolist(), frame.occlusion.tolist()) == ([0.3, 0.0], [2, 0])
    assert frame.ignored.tolist() == [False, True] and frame.boxes[0].tolist() == BOX
    assert (truth.class_of("Car"), truth.class_of("Van")) == ("car", "")


@pytest.mark.parametrize("folder", [False, True])
def test_bdd(tmp_path: Path, folder: bool) -> None:
    written(tmp_path / "labels.json", BDD)

    truth = read_ground_truth(tmp_path if folder else tmp_path / "labels.json")

    assert truth.kind == "bdd" and classes(truth) == {"a.jpg": ["car"], "b.jpg": ["rider"], "c.jpg": []}
    assert truth.frames["b.jpg"].truths.ignored.tolist() == [True]
    assert truth.frames["a.jpg"].truths.boxes.tolist() == [BOX]
    assert truth.class_of("rider") == "rider"


def test_scalabel_with_frames_inside(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "labels.json", {"frames": BDD, "config": None}))
    assert truth.kind == "bdd" and list(truth.frames) == ["a.jpg", "b.jpg", "c.jpg"]


def test_coco_and_its_results(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path / "truth.json", COCO))

    assert truth.kind == "coco" and classes(truth) == {"a.jpg": ["car"], "c.jpg": []}
    frame = truth.frames["a.jpg"]
    assert (frame.truths.boxes.tolist(), frame.truths.ignored.tolist(), frame.size) == ([BOX], [True], (100, 200))
    results = [{"image_id": 4, "category_id": 9, "bbox": [10, 20, 20, 40], "score": 0.5}]
    first, second = read_predictions(written(tmp_path / "results.json", results), truth)
    assert (first.frame, first.class_names.tolist(), first.detections.boxes.tolist()) == ("a.jpg", ["car"], [BOX])
    assert (second.frame, len(second.detections)) == ("c.jpg", 0)


def test_list_of_the_official_evaluation(tmp_path: Path) -> None:
    records = [{"name": name, "category": "bus", "bbox": BOX} for name in ("b", "a", "b")]
    truth = read_ground_truth(written(tmp_path / "truth.json", records))
    assert truth.kind == "list" and classes(truth) == {"b": ["bus", "bus"], "a": ["bus"]}

    scored = [{**record, "score": score} for record, score in zip(records, (0.5, 0.6, 0.7), strict=True)]
    b, a = read_predictions(written(tmp_path / "found.json", scored), truth)
    assert (b.detections.scores.tolist(), a.detections.scores.tolist()) == ([0.5, 0.7], [0.6])
    assert b.places is not None and b.places.tolist() == [0, 2]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON"),
        ("\x80", "is not JSON"),
        ([1, 2], "of no known format"),
        (7, "of no known format"),
        ([], "has no frames with names"),
        ([{"labels": []}], 'it has no "name"'),
        ([{"name": "a", "category": "car", "bbox": [1, 2, 3]}], 'record 0: it needs "name"'),
        ([{"name": "a", "category": "car", "bbox": [9, 2, 3, 4]}], "its box is not x1 <= x2"),
        ([{"name": "a", "category": "car", "bbox": [float("nan"), 2, 3, 4]}], "its box is not x1 <= x2"),
        ([{"name": "a", "labels": [{"category": "car", "box2d": {**CORNERS, "x1": 99}}]}], "its box is not"),
        ([*BDD, BDD[0]], r"\(a.jpg\): .* frame 0 is of it, too"),
        ({**COCO, "categories": [{}]}, "categories"),
    ],
)
def test_what_is_none(tmp_path: Path, document: Any, message: str) -> None:
    path = written(tmp_path / "truth.json", document)
    with pytest.raises(DatasetError, match=message) as caught:
        read_ground_truth(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_no_such_place_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist"):
        read_ground_truth(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="neither label files"):
        read_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"bbox": [1, 2, 3], "score": 0.5, "name": "a", "category": "car"}, "four finite numbers"),
        ({"bbox": [1, 2, 3, 4], "score": None, "name": "a", "category": "car"}, 'no finite "score"'),
        ({"bbox": [1, 2, 3, 4], "score": 0.5, "category": "car"}, 'neither "name" and "category"'),
        ({"bbox": [9, 2, 3, 4], "score": 0.5, "name": "a", "category": "car"}, "not x1 <= x2"),
        ({"bbox": [1, 2, 3, 4], "score": 0.5, "image_id": 1, "category_id": 1}, "must be COCO JSON, too"),
    ],
)
def test_predictions_that_are_none(tmp_path: Path, record: dict[str, Any], message: str) -> None:
    path = written(tmp_path / "found.json", [record])
    with pytest.raises(DatasetError, match=message) as caught:
        read_predictions(path)
    assert f"{path}, record 0" in str(caught.value)
