"""Each format read from small files: objects, ignore regions, refused data, and the error messages."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.labels import IGNORE, DatasetError, load_sources

CLASSES = ("car", "pedestrian", "cyclist")
OBJECT = "{kind} 0.00 0 -1.58 {box} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"


def write_image(path: Path, height: int = 40, width: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


def write_json(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))


def load(root: Path, classes: tuple[str, ...] = CLASSES, /, **source: object) -> list[tuple[str, Any, Any]]:
    """Name, class ids and boxes of each image of one source."""
    return [
        (image.path.name, image.class_ids.tolist(), image.boxes.tolist())
        for image in load_sources(root, [source], classes)
    ]


# KITTI objects as pseudo labels

BOXES = {
    "Car": "1 2 30 20",
    "Pedestrian": "4 4 9 30",
    "Cyclist": "10 5 20 30",
    "Van": "31 5 50 30",
    "DontCare": "0 0 5 5",
}


def make_scored(root: Path, stem: str, *objects: tuple[str, float | None]) -> None:
    """An image and its label file; objects with a score have 16 fields."""
    write_image(root / "images" / f"{stem}.jpg")
    (root / "labels").mkdir(exist_ok=True)
    lines = [OBJECT.format(kind=kind, box=BOXES[kind]) + ("" if s is None else f" {s}") for kind, s in objects]
    (root / "labels" / f"{stem}.txt").write_text("\n".join(lines))


@pytest.mark.parametrize(
    ("kind", "score", "positive", "class_id"),
    [
        ("Car", 0.41, {"Car": 0.4}, 0),
        ("Car", 0.4, {"Car": 0.4}, 0),  # a score equal to the minimum counts
        ("Car", 0.39, {"Car": 0.4}, IGNORE),
        ("Car", None, {"Car": 0.4}, 0),  # labelled by hand, without a score
        ("Car", 0.1, {}, 0),
        ("Car", 0.1, {"Pedestrian": 0.5}, 0),  # each type has its own minimum
        ("Car", -3.0, {"Pedestrian": 0.5}, 0),
        ("Car", -3.0, {"Car": 0}, IGNORE),
        ("Pedestrian", 0.45, {"Car": 0.4, "Pedestrian": 0.5}, IGNORE),
        ("Pedestrian", 0.55, {"Car": 0.9, "Pedestrian": 0.5}, 1),
        ("Cyclist", 0.99, {"Cyclist": 1}, IGNORE),
        ("Van", 0.9, {"Van": 0.5}, IGNORE),  # not one of the classes, at any score
        ("DontCare", 0.1, {"Car": 0.5}, IGNORE),
    ],
)
def test_scores_of_kitti_labels(
    tmp_path: Path, kind: str, score: float | None, positive: dict[str, float], class_id: int
) -> None:
    make_scored(tmp_path, "a", (kind, score))
    box = [float(side) for side in BOXES[kind].split()]
    found = load(tmp_path, format="kitti", images="images", labels="labels", positive=positive)
    assert found == [("a.jpg", [class_id], [box])]


def test_scores_of_types_that_a_rule_names(tmp_path: Path) -> None:
    make_scored(tmp_path, "a", ("Van", 0.9), ("Van", 0.3), ("Car", 0.3))
    source = {"format": "kitti", "images": "images", "labels": "labels", "positive": {"Van": 0.5}}
    assert load(tmp_path, **source, map={"Van": "car"})[0][1] == [0, IGNORE, 0]
    assert load(tmp_path, **source, map={"Van": "background"})[0][1] == [0]
    # A type that KITTI lacks is accepted if there is a rule for it.
    text = (tmp_path / "labels" / "a.txt").read_text()
    (tmp_path / "labels" / "a.txt").write_text(text.replace("Van", "Lorry"))
    lorries = {**source, "positive": {"Lorry": 0.5}, "map": {"Lorry": "car"}}
    assert load(tmp_path, **lorries)[0][1] == [0, IGNORE, 0]


def test_frames_that_people_have_labelled_are_left_to_them(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        make_scored(tmp_path, stem, ("Car", 0.9))
    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2" / "b.txt").write_text("")
    (tmp_path / "label_2" / "elsewhere.txt").write_text("")
    source = {"format": "kitti", "images": "images", "labels": "labels", "unlabelled_in": "label_2"}
    assert [name for name, _, _ in load(tmp_path, **source)] == ["a.jpg", "c.jpg"]
    assert [name for name, _, _ in load(tmp_path, **source, exclude=["c*"])] == ["a.jpg"]
    with pytest.raises(DatasetError, match="none of its images has labels"):
        load(tmp_path, **source, include=["b"])


# KITTI tracking


def make_tracking(root: Path) -> None:
    for frame in range(3):
        write_image(root / "image_02" / "0000" / f"{frame:06d}.png")
    write_image(root / "image_02" / "0001" / "000000.png")
    (root / "label_02").mkdir()
    lines = [
        "0 -1 " + OBJECT.format(kind="DontCare", box="1 1 5 5"),
        "0 2 " + OBJECT.format(kind="Car", box="2 3 20 30"),
        "2 2 " + OBJECT.format(kind="Person", box="2 3 9 30"),  # Person_sitting in the object labels
    ]
    (root / "label_02" / "0000.txt").write_text("\n".join(lines))
    (root / "label_02" / "0001.txt").write_text("0 1 " + OBJECT.format(kind="Cyclist", box="4 4 9 9") + "\n")


def test_kitti_tracking(tmp_path: Path) -> None:
    make_tracking(tmp_path)
    found = load(tmp_path, format="kitti_tracking", images="image_02", labels="label_02")
    assert found == [
        ("000000.png", [IGNORE, 0], [[1, 1, 5, 5], [2, 3, 20, 30]]),
        ("000001.png", [], []),  # a frame of a labelled sequence without objects
        ("000002.png", [IGNORE], [[2, 3, 9, 30]]),
        ("000000.png", [2], [[4, 4, 9, 9]]),
    ]


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({"sequences": ["0001"]}, 1),
        ({"exclude": ["0000/000001"]}, 3),
        ({"exclude": ["0000"]}, 1),
        ({"exclude": ["000000"]}, 2),  # in every sequence
        ({"exclude": ["000*"]}, 0),
        ({"exclude": ["0000/*"]}, 1),
        ({"exclude": ["*/000000"]}, 2),
        ({"include": ["0000"]}, 3),
        ({"include": ["*1"]}, 2),  # frame 1 of one sequence, and the whole other sequence
        ({"include": ["0000/00000[12]", "0001"]}, 3),
        ({"include": ["0000/*"], "exclude": ["0000/000001"]}, 2),
    ],
)
def test_parts_of_kitti_tracking(tmp_path: Path, keys: Mapping[str, object], count: int) -> None:
    make_tracking(tmp_path)
    source = {"format": "kitti_tracking", "images": "image_02", "labels": "label_02", **keys}
    if count:
        assert len(load(tmp_path, **source)) == count
    else:
        with pytest.raises(DatasetError, match="none of its images has labels"):
            load(tmp_path, **source)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x 1 " + OBJECT.format(kind="Car", box="1 2 3 4"), r"0001\.txt, line 1: .*frame and track"),
        ("0 1 Car 0 0", r"0001\.txt, line 1: it has 3 fields"),
        ("0 1 " + OBJECT.format(kind="Car", box="1 2 3 x"), r"0001\.txt, line 1: all after the type must be numbers"),
        ("0 1 " + OBJECT.format(kind="Car", box="1 nan 3 4"), r"0001\.txt, line 1: .* not of finite numbers"),
        ("0 1 " + OBJECT.format(kind="Car", box="5 2 3 4"), r"0001\.txt, line 1: .* is inverted"),
        ("0 1 " + OBJECT.format(kind="Boat", box="1 2 3 4"), r"0001\.txt, line 1: 'Boat' .* 'map: {Boat: CLASS}'"),
    ],
)
def test_bad_lines_of_kitti_tracking(tmp_path: Path, line: str, message: str) -> None:
    make_tracking(tmp_path)
    (tmp_path / "label_02" / "0001.txt").write_text(line)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, format="kitti_tracking", images="image_02", labels="label_02")


def test_empty_boxes_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_tracking(tmp_path)
    (tmp_path / "label_02" / "0001.txt").write_text("0 1 " + OBJECT.format(kind="Car", box="3 2 3 4"))
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path, format="kitti_tracking", images="image_02", labels="label_02", sequences=["0001"])
    assert found == [("000000.png", [], [])]
    assert "1 empty boxes left out" in caplog.text and "0001.txt:1" in caplog.text


# BDD100K and Scalabel

BOX = {"x1": 10.5, "y1": 5, "x2": 30, "y2": 20}
LABELS = [
    {"category": "car", "box2d": BOX, "attributes": {"crowd": False}},
    {"category": "person", "box2d": BOX, "attributes": {"crowd": True}},
    {"category": "other person", "box2d": BOX},
    {"category": "traffic light", "box2d": BOX},
    {"category": "lane", "poly2d": [[[1, 2], [3, 4]]]},
    {"category": "area/drivable", "poly2d": [[1, 2, "L"], [3, 4, "L"]]},
    {"category": "car", "poly2d": [{"vertices": [[1, 2], [9, 3], [5, 8]], "types": "LLL", "closed": True}]},
]
BDD_IDS = [0, IGNORE, IGNORE, 0]
BDD_BOXES = [[10.5, 5, 30, 20]] * 3 + [[1, 2, 9, 8]]


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("a.jpg", [{"name": "a.jpg", "labels": LABELS}]),
        ("a.jpg", {"frames": [{"name": "a.jpg", "labels": LABELS}], "config": {}}),
        ("a.jpg", {"name": "a", "frames": [{"timestamp": 10000, "objects": LABELS}], "attributes": {}}),
        ("a.jpg", {"name": "a.jpg", "labels": LABELS}),
        ("train/a.jpg", [{"name": "a.jpg", "labels": LABELS}]),  # in any subfolder
        ("seq/a.jpg", [{"name": "a.jpg", "videoName": "seq", "frameIndex": 0, "labels": LABELS}]),
    ],
    ids=["list", "scalabel", "a file an image", "scalabel frame", "subfolder", "video"],
)
@pytest.mark.parametrize("as_folder", [False, True])
def test_bdd(tmp_path: Path, name: str, document: object, as_folder: bool) -> None:
    write_image(tmp_path / "images" / name)
    write_image(tmp_path / "images" / "unlabelled.jpg")
    write_json(tmp_path / "labels" / "a.json", document)
    found = load(tmp_path, format="bdd", images="images", labels="labels" if as_folder else "labels/a.json")
    assert found == [("a.jpg", BDD_IDS, BDD_BOXES)]


def test_frames_without_labels_are_empty_streets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.jpg")
    write_json(tmp_path / "l.json", [{"name": "a.jpg", "labels": None}, {"name": "b.jpg"}])
    assert load(tmp_path, format="scalabel", images=".", labels="l.json") == [("a.jpg", [], []), ("b.jpg", [], [])]


def test_the_same_name_in_two_videos(tmp_path: Path) -> None:
    for video in ("x", "y"):
        write_image(tmp_path / video / "0.jpg")
    frames = [{"name": "0.jpg", "videoName": video, "labels": []} for video in ("y", "x")]
    write_json(tmp_path / "l.json", frames)
    source = {"format": "bdd", "images": ".", "labels": "l.json"}
    assert [image.path.parent.name for image in load_sources(tmp_path, [source], CLASSES)] == ["y", "x"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([{"labels": []}], r'l\.json, frame 0: it has no "name"'),
        (["a.jpg"], r'l\.json, frame 0: it has no "name"'),
        ([{"name": "a.jpg", "labels": [{"box2d": BOX}]}], r'frame 0 \(a\.jpg\), label 0: it has no "category"'),
        ([{"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 1}}]}], r'label 0: its "box2d" is not'),
        ([{"name": "a.jpg", "labels": [{"category": "car", "box2d": [1, 2, 3, 4]}]}], r'label 0: its "box2d" is not'),
        ([{"name": "a.jpg", "labels": [{"category": "cart", "box2d": BOX}]}], "'cart' is no category"),
        ([{"name": "b.jpg", "labels": []}], r"no image b\.jpg in .*'missing: skip'"),
        ({"images": []}, "neither a list of frames"),
        (5, "neither a list of frames"),
    ],
)
def test_bad_bdd(tmp_path: Path, document: object, message: str) -> None:
    write_image(tmp_path / "a.jpg")
    write_json(tmp_path / "l.json", document)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, format="bdd", images=".", labels="l.json")


def test_json_that_is_none(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg")
    (tmp_path / "l.json").write_text('[{"name":\n oops}]')
    for kind in ("bdd", "coco"):
        with pytest.raises(DatasetError, match=r"l\.json.* is not JSON"):
            load(tmp_path, format=kind, images=".", labels="l.json")
    with pytest.raises(DatasetError, match=r"predictions .*l\.json is not JSON"):
        load(tmp_path, format="detections", images=".", detections="l.json")


def test_missing_images_can_be_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "a.jpg")
    write_json(tmp_path / "l.json", [{"name": "gone.jpg", "labels": []}, {"name": "a.jpg", "labels": []}])
    with caplog.at_level(logging.WARNING):
        assert load(tmp_path, format="bdd", images=".", labels="l.json", missing="skip") == [("a.jpg", [], [])]
    assert "1 label records without an image left out" in caplog.text and "gone.jpg" in caplog.text


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("example_annotation.json", ("car",), [[0, 0, 0, 0]]),
        ("example_ignore_annotation.json", ("car", "person"), [[IGNORE, 1], []]),
    ],
)
def test_official_examples(
    tmp_path: Path, driving_dir: Path, name: str, classes: tuple[str, ...], expected: list[list[int]]
) -> None:
    labels = driving_dir / "bdd" / name
    for frame in json.loads(labels.read_text()):
        write_image(tmp_path / frame["name"])
    found = load(tmp_path, classes, format="scalabel", images=".", labels=str(labels))
    assert [ids for _, ids, _ in found] == expected


# COCO


def coco_document() -> dict[str, Any]:
    return {
        "images": [
            {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
            {"id": 3, "file_name": "b.jpg", "height": 40, "width": 60},
        ],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 10, 20], "iscrowd": 0},
            {"image_id": 7, "category_id": 1, "bbox": [5, 5, 10, 20], "iscrowd": 1},
            {"image_id": 7, "category_id": 18, "bbox": [5, 5, 10, 20], "iscrowd": 1},
        ],
    }


def test_coco(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.jpg")
    write_json(tmp_path / "l.json", coco_document())
    source = {"format": "coco", "images": ".", "labels": "l.json"}
    a = ("a.jpg", [0, IGNORE], [[1, 2, 11, 22], [5, 5, 15, 25]])
    assert load(tmp_path, **source) == [a, ("b.jpg", [], [])]
    assert load(tmp_path, **source, empty="skip") == [a]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("annotations", [{"image_id": 7, "category_id": 3, "bbox": [1, 2]}], "annotation 0: it needs"),
        ("annotations", [{"image_id": 7, "category_id": 3, "bbox": [1, 2, -3, 4]}], "annotation 0: .* is inverted"),
        ("annotations", [{"image_id": 7, "category_id": 4, "bbox": [1, 2, 3, 4]}], 'category_id 4 is not in "categ'),
        ("annotations", [{"image_id": 9, "category_id": 3, "bbox": [1, 2, 3, 4]}], "image_id 9 is of no image"),
        ("images", [{"file_name": "a.jpg"}], 'image 0: it needs "id" and "file_name"'),
        ("images", [{"id": 1, "file_name": "c.jpg"}], r"image 0: there is no image c\.jpg"),
        ("categories", [{"id": 3}], 'needs "id" and "name"'),
        ("categories", None, 'no list "categories"'),
    ],
)
def test_bad_coco(tmp_path: Path, key: str, value: object, message: str) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.jpg")
    write_json(tmp_path / "l.json", {**coco_document(), key: value})
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, format="coco", images=".", labels="l.json")


# YOLO txt and lists


def make_yolo(root: Path) -> None:
    for stem in ("a", "b", "c"):
        write_image(root / "set" / "images" / f"{stem}.jpg", 100, 200)
    (root / "set" / "labels").mkdir()
    (root / "set" / "labels" / "a.txt").write_text("1 0.5 0.5 0.1 0.2\n\n0 0.25 0.5 0.5 1.0\n")
    (root / "set" / "labels" / "b.txt").write_text("")
    (root / "names.txt").write_text("person\ncar\n")
    (root / "data.yaml").write_text("train: x\nnames: {0: person, 1: car}\n")


A = ("a.jpg", [0, 1], [[90, 40, 110, 60], [0, 0, 100, 100]])
B = ("b.jpg", [], [])


@pytest.mark.parametrize(
    ("entries", "keys", "expected"),
    [
        (None, {"images": "set/images", "labels": "set/labels"}, [A, B]),  # c is unlabelled
        (None, {"images": "set/images"}, [A, B]),  # labels beside images, as in Darknet
        (["b", "a"], {"images": "set/images", "list": "set/train.list"}, [A, B]),
        (["b.jpg"], {"images": "set/images", "list": "set/train.list"}, [B]),
        (["set/images/b.jpg", "set/images/a.jpg"], {"list": "set/train.list"}, [B, A]),  # relative to the root
        (["./images/a.jpg", ""], {"list": "set/train.list"}, [A]),  # relative to the list's folder
        (["{root}/set/images/a.jpg"], {"list": "set/train.list"}, [A]),
        (["images/a.jpg", "images/b.jpg"], {"list": "set/train.list", "exclude": ["a"]}, [B]),
    ],
)
@pytest.mark.parametrize("names", [["person", "car"], {0: "person", 1: "car"}, "names.txt", "data.yaml"])
def test_yolo(
    tmp_path: Path, entries: list[str] | None, keys: dict[str, object], expected: list[Any], names: object
) -> None:
    make_yolo(tmp_path)
    if entries is not None:
        (tmp_path / "set" / "train.list").write_text("\n".join(entries).format(root=tmp_path))
    found = load(tmp_path, ("car", "person"), format="yolo", names=names, **keys)
    for (name, ids, boxes), (expected_name, expected_ids, expected_boxes) in zip(found, expected, strict=True):
        assert (name, ids) == (expected_name, expected_ids)
        np.testing.assert_allclose(boxes, expected_boxes, atol=1e-4)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.1", r"a\.txt, line 1: expected 'class cx cy w h'"),
        ("car 0.5 0.5 0.1 0.1", r"a\.txt, line 1: expected"),
        ("1 0.5 0.5 0.1 0.1 0.9 7", r"a\.txt, line 1: expected"),
        ("2 0.5 0.5 0.1 0.1", r"a\.txt, line 1: its class 2 has no name: the source names 2"),
        ("-1 0.5 0.5 0.1 0.1", "its class -1 has no name"),
        ("1 0.5 inf 0.1 0.1", "not of finite numbers"),
    ],
)
def test_bad_yolo_lines(tmp_path: Path, line: str, message: str) -> None:
    make_yolo(tmp_path)
    (tmp_path / "set" / "labels" / "a.txt").write_text(line)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, format="yolo", images="set/images", names=["person", "car"])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (b"a\nnone\n", r"train\.list, line 2: there is no image none"),
        (b"", "train.list is empty"),
        (b"\xff\xfe", "train.list is not text"),
        (None, "train.list cannot be read: No such file"),
    ],
)
def test_bad_lists(tmp_path: Path, entries: bytes | None, message: str) -> None:
    make_yolo(tmp_path)
    if entries is not None:
        (tmp_path / "train.list").write_bytes(entries)
    with pytest.raises(DatasetError, match=message):
        load(tmp_path, format="yolo", images="set/images", names=["person", "car"], list="train.list")


def test_a_listed_path_that_is_not_there(tmp_path: Path) -> None:
    make_yolo(tmp_path)
    (tmp_path / "train.list").write_text("set/images/a.jpg\nset/images/z.jpg\n")
    with pytest.raises(DatasetError, match=r"train\.list, line 2: there is no image .*z\.jpg"):
        load(tmp_path, format="yolo", list="train.list", names=["person", "car"])


def test_lists_of_the_photographs(driving_dir: Path) -> None:
    source = {"format": "coco_txt", "folder": "coco128", "list": "coco128/train2017.list", "missing": "skip"}
    train = load_sources(driving_dir, [source], CLASSES)
    both = load_sources(driving_dir, [{"format": "coco_txt", "folder": "coco128"}], CLASSES)
    assert 0 < len(train) < len(both)
    assert {image.path for image in train} < {image.path for image in both}


# Pseudo labels


def detection(score: float, name: str = "car") -> dict[str, Any]:
    return {"class": name, "score": score, "box": [1, 2, 30, 20], "sigma": [1, 1, 1, 1]}


def test_pseudo_labels(tmp_path: Path) -> None:
    for name in ("a.jpg", "000007.jpg", "unseen.jpg"):
        write_image(tmp_path / "images" / name)
    document = [
        {"frame": "a.jpg", "detections": [detection(0.9), detection(0.5), detection(0.1), detection(0.7, "truck")]},
        {"frame": 7, "detections": []},
    ]
    write_json(tmp_path / "p.json", document)
    source = {"format": "detections", "images": "images", "detections": "p.json", "positive": 0.6, "ignore": 0.3}
    box = [1, 2, 30, 20]
    assert load(tmp_path, **source) == [
        ("a.jpg", [0, IGNORE, IGNORE], [box] * 3),
        ("000007.jpg", [], []),
    ]
    assert load(tmp_path, **source, map={"truck": "background"})[0][1] == [0, IGNORE]
    with pytest.raises(DatasetError, match="exchange them"):
        load(tmp_path, **{**source, "positive": 0.2})

    (tmp_path / "label_2").mkdir()
    (tmp_path / "label_2" / "a.txt").write_text("")
    assert [name for name, _, _ in load(tmp_path, **source, unlabelled_in="label_2")] == ["000007.jpg"]
