"""Ground truth in every format, and files that are not ground truth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import GroundTruth, Truths
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth, read_kitti_tracks

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


TRACK_LINE = "{} {} {} {} {} 1.5 {} 1.5 1.6 3.9 1.0 1.5 20.0 1.5"


def track_line(
    frame: int, track: int, kind: str = "Car", truncated: int = 0, occluded: int = 0, box: str = "10 20 50 60"
) -> str:
    return TRACK_LINE.format(frame, track, kind, truncated, occluded, box)


def test_tracks_have_frames_ids_and_what_is_hidden(tmp_path: Path) -> None:
    lines = [
        track_line(3, 7),
        track_line(0, -1, "DontCare", -1, -1),
        track_line(0, -1, "DontCare", -1, -1, "1 2 3 4"),
        track_line(0, 7, "Pedestrian", occluded=2),
        track_line(0, 8, "Person", truncated=1),
        track_line(0, 9, "Van", occluded=3),
    ]
    frames = read_kitti_tracks(written(tmp_path / "0002.txt", "\n".join(lines) + "\n"))
    assert list(frames) == [0, 3]
    np.testing.assert_array_equal(frames[0].tracks, [-1, -1, 7, 8, 9])
    assert frames[0].categories.tolist() == ["DontCare", "DontCare", "Pedestrian", "Person_sitting", "Van"]
    np.testing.assert_array_equal(frames[0].ignored, [True, True, False, False, False])
    np.testing.assert_array_equal(frames[0].truncation, [0, 0, 0, 1, 0])
    np.testing.assert_array_equal(frames[0].occlusion, [0, 0, 2, 0, 3])
    np.testing.assert_array_equal(frames[3].boxes, [[10, 20, 50, 60]])


def test_results_of_the_tracking_devkit_have_a_score(tmp_path: Path) -> None:
    frames = read_kitti_tracks(written(tmp_path / "found.txt", track_line(0, 1) + " 0.9\n"))
    np.testing.assert_array_equal(frames[0].tracks, [1])


def test_an_empty_file_of_tracks_has_no_frames(tmp_path: Path) -> None:
    assert read_kitti_tracks(written(tmp_path / "found.txt", "\n")) == {}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([track_line(4, 5), track_line(4, 5)], "frame 4: two objects have the id 5"),
        (["x 1 Car"], "line 1: it does not begin with the numbers of frame and track: x 1"),
        ([track_line(0, 1), "0 2 Car 1 2 3"], "line 2: it has 4 fields"),
        ([track_line(0, 1, box="10 20 5 60")], "line 1: the box 10 20 5 60 is inverted"),
        ([track_line(0, 1, box="10 20 nan 60")], "line 1: the box 10 20 nan 60 is not of finite numbers"),
    ],
)
def test_faults_of_tracks_name_file_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = written(tmp_path / "0002.txt", "\n".join(lines) + "\n")
    with pytest.raises(DatasetError, match=message) as caught:
        read_kitti_tracks(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_of_tracks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_kitti_tracks(tmp_path / "none.txt")


def test_tracks_of_the_shared_drive(driving_dir: Path) -> None:
    frames = read_kitti_tracks(driving_dir / "kitti" / "drive_0011" / "tracking.txt")
    assert list(frames) == list(range(91))
    objects = Truths.concatenate(frames.values())
    whole = (objects.categories == "Car") & (objects.truncation == 0) & (objects.occlusion < 3)
    assert len(set(objects.tracks[whole].tolist())) == 12
