"""The faults that a check finds, each kind alone and all together."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from data_factory import KITTI_LINE, SOUND, TEN_FAULTS, make_kitti, plant_ten_faults
from factories import make_image

from gaussian_yolo_node.labels.annotations import FaultKind
from gaussian_yolo_node.labels.check import IGNORED, UNUSED, CheckResult, check_sources
from gaussian_yolo_node.labels.check_report import draw_samples, fault_lines, result_dict, verdict
from gaussian_yolo_node.labels.image_check import difference_hash, nearest_looks
from gaussian_yolo_node.labels.sources import open_source

CLASSES = ("car", "pedestrian", "cyclist")
FOLDER = {"format": "kitti", "images": "images", "labels": "labels"}


def check(root: Path, *, labels_only: bool = False, classes: Any = CLASSES, **splits: dict[str, object]) -> CheckResult:
    opened = {name: [open_source(root, source, name, labels_only=labels_only)] for name, source in splits.items()}
    return check_sources(opened, classes)


def kinds(result: CheckResult) -> Counter[str]:
    return Counter(fault.kind.value for fault in result.faults)


def test_ten_planted_faults(tmp_path: Path) -> None:
    plant_ten_faults(tmp_path)
    result = check(tmp_path, data=FOLDER)
    found = {(fault.kind.value, str(fault.file.relative_to(tmp_path)), fault.place) for fault in result.faults}
    assert found == set(TEN_FAULTS)
    assert len(result.faults) == 10
    (split,) = result.splits
    assert split.images == 12 and split.unlabelled == 0


def test_a_sound_set(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a", "b"])
    (tmp_path / "labels" / "b.txt").unlink()
    result = check(tmp_path, data=FOLDER)
    assert not result.faults
    (split,) = result.splits
    assert (split.images, split.unlabelled, split.empty) == (2, 1, 0)
    assert split.sizes == {("Car", "car"): [(30.0, 20.0)]}
    assert verdict(result) == "2 images: 0 faults, 0 warnings"


@pytest.mark.parametrize(
    ("box", "outside"),
    [
        ("0 0 128 64", False),
        ("-0.9 0 128.9 64", False),  # rounding
        ("-2 0 128 64", True),
        ("100 0 120 66", True),
        ("128 0 150 64", True),
        ("-30 -30 -10 -10", True),
    ],
)
def test_boxes_at_the_edge(tmp_path: Path, box: str, outside: bool) -> None:
    make_kitti(tmp_path, ["a"])
    (tmp_path / "labels" / "a.txt").write_text(KITTI_LINE.format(kind="Car", box=box))
    assert kinds(check(tmp_path, data=FOLDER)) == ({"box outside the image": 1} if outside else {})


def test_what_is_a_duplicate_box(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    kinds_of_lines = ["Car", "Pedestrian", "Van", "DontCare", "DontCare", "Misc"]
    lines = [KITTI_LINE.format(kind=kind, box="10 10 40 30") for kind in kinds_of_lines]
    (tmp_path / "labels" / "a.txt").write_text("\n".join([*lines, SOUND.replace("10 10", "10 11")]))
    result = check(tmp_path, data=FOLDER)
    # Ignore regions are never duplicates.
    assert [(fault.kind, fault.place) for fault in result.faults] == [
        (FaultKind.DUPLICATE_BOX, 2),
        (FaultKind.DUPLICATE_BOX, 3),
    ]
    assert "that of line 1 again" in result.faults[0].message


def test_tiny_boxes_are_warnings(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    (tmp_path / "labels" / "a.txt").write_text(KITTI_LINE.format(kind="Car", box="10 10 13 30"))
    result = check(tmp_path, data=FOLDER)
    assert not result.errors and kinds(result) == {"tiny box": 1}
    assert verdict(result) == "1 image: 0 faults, 1 warning (1 tiny box)"


def test_leaks_between_splits(tmp_path: Path) -> None:
    make_kitti(tmp_path / "t", ["a", "b", "c"])
    make_kitti(tmp_path / "v", ["d", "e", "f"], first_seed=10)
    (tmp_path / "v" / "images" / "d.jpg").write_bytes((tmp_path / "t" / "images" / "a.jpg").read_bytes())
    near = np.clip(make_image(64, 128, seed=1).astype(int) + 6, 0, 255).astype(np.uint8)  # b, but brighter
    cv2.imwrite(str(tmp_path / "v" / "images" / "e.jpg"), near, [cv2.IMWRITE_JPEG_QUALITY, 60])
    sources = {
        split: {"format": "kitti", "images": f"{folder}/images", "labels": f"{folder}/labels"}
        for split, folder in (("train", "t"), ("validation", "v"))
    }
    result = check(tmp_path, **sources)
    assert [(fault.kind, fault.file.name) for fault in result.faults] == [
        (FaultKind.LEAK, "d.jpg"),
        (FaultKind.NEAR_DUPLICATE, "e.jpg"),
    ]
    assert "a.jpg in train" in result.faults[0].message and "b.jpg in train" in result.faults[1].message
    assert [fault.kind for fault in result.errors] == [FaultKind.LEAK]
    excluded = {**sources, "validation": {**sources["validation"], "exclude": ["d", "e"]}}
    assert not check(tmp_path, **excluded).faults


def test_the_same_folder_in_two_splits(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a", "b"])
    assert kinds(check(tmp_path, train=FOLDER, validation=FOLDER)) == {"image in two splits": 2}


def test_pictures_without_contrast_look_like_nothing() -> None:
    assert difference_hash(np.full((64, 128, 3), 7, np.uint8)) is None
    looks = [difference_hash(make_image(64, 128, seed=seed)) for seed in range(5)]
    stacked = np.stack([look for look in looks if look is not None])
    nearest, bits = nearest_looks(stacked[::-1], stacked)
    assert nearest.tolist() == [4, 3, 2, 1, 0] and bits.tolist() == [0] * 5
    apart = nearest_looks(stacked[:1], stacked[1:])[1]
    assert apart[0] > 60


def test_labels_alone(tmp_path: Path) -> None:
    plant_ten_faults(tmp_path)
    result = check(tmp_path, labels_only=True, data={"format": "kitti", "labels": "labels"})
    assert {(fault.kind.value, fault.place) for fault in result.faults} == {
        (kind, line) for kind, _, line in TEN_FAULTS if "image" not in kind
    }


def test_a_source_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    (tmp_path / "labels" / "a.txt").write_text("Car")
    result = check(tmp_path, train={**FOLDER, "images": "nowhere"}, validation=FOLDER)
    assert kinds(result) == {"unusable source": 1, "malformed label": 1}
    assert "nowhere does not exist" in result.faults[0].message


def test_json_says_another_size(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    document: dict[str, Any] = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 128, "width": 64}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [100, 10, 10, 10]}],
        "categories": [{"id": 1, "name": "car"}],
    }
    (tmp_path / "l.json").write_text(json.dumps(document))
    result = check(tmp_path, data={"format": "coco", "images": "images", "labels": "l.json"})
    assert kinds(result) == {"wrong image size": 1}
    assert "it is 128x64 px, and l.json says 64x128" in result.faults[0].message


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (CLASSES, {("Car", "car"), ("Van", IGNORED), ("DontCare", IGNORED)}),
        (("pedestrian",), {("Car", UNUSED), ("Van", UNUSED), ("DontCare", IGNORED)}),
        (None, {("Car", "Car"), ("Van", "Van"), ("DontCare", IGNORED)}),
    ],
)
def test_what_categories_are_used_as(tmp_path: Path, classes: Any, expected: set[tuple[str, str]]) -> None:
    make_kitti(tmp_path, ["a"])
    boxes = {"Car": "1 1 20 20", "Van": "30 1 50 20", "DontCare": "60 1 80 20"}
    lines = [KITTI_LINE.format(kind=kind, box=box) for kind, box in boxes.items()]
    (tmp_path / "labels" / "a.txt").write_text("\n".join(lines))
    assert set(check(tmp_path, classes=classes, data=FOLDER).splits[0].sizes) == expected


def test_lines_are_limited_and_json_is_not(tmp_path: Path) -> None:
    make_kitti(tmp_path, ["a"])
    (tmp_path / "labels" / "a.txt").write_text("Car\n" * 5 + SOUND)
    result = check(tmp_path, data=FOLDER)
    lines = fault_lines(result.faults, 2)
    label = tmp_path / "labels" / "a.txt"
    assert lines[0] == f"{label}:1: malformed label: it has 1 fields, and a KITTI label has 15"
    assert len(lines) == 3 and lines[2].startswith("... and 3 more of kind 'malformed label'")
    assert len(fault_lines(result.faults, 0)) == 5
    document = json.loads(json.dumps(result_dict(result)))
    assert [fault["line"] for fault in document["faults"]] == [1, 2, 3, 4, 5]
    assert document["splits"]["data"]["categories"] == [
        {"label": "Car", "used_as": "car", "objects": 1, "width_px": [30, 30, 30], "height_px": [20, 20, 20]}
    ]


def test_samples_show_boxes(tmp_path: Path) -> None:
    stems = [f"{number:06d}" for number in range(9)]
    make_kitti(tmp_path, stems)
    boxes = {"Car": "10 10 40 30", "DontCare": "70 20 120 60", "Cyclist": "-20 40 30 90"}
    for stem in stems:
        cv2.imwrite(str(tmp_path / "images" / f"{stem}.jpg"), np.full((64, 128, 3), 40 + int(stem), np.uint8))
        lines = [KITTI_LINE.format(kind=kind, box=box) for kind, box in boxes.items()]
        (tmp_path / "labels" / f"{stem}.txt").write_text("\n".join(lines))
    source = open_source(tmp_path, FOLDER, "data")
    picked = [
        [sample.image.stem for sample in check_sources({"data": [source]}, CLASSES, samples=4, seed=s).samples]
        for s in (0, 0, 1, 2)
    ]
    assert all(len(set(stems)) == 4 for stems in picked)
    assert picked[0] == picked[1] and picked[0] != picked[2] != picked[3]

    result = check_sources({"data": [source]}, CLASSES, samples=2)
    for path, sample in zip(draw_samples(result.samples, tmp_path / "out"), result.samples, strict=True):
        changed = cv2.absdiff(cv2.imread(str(path)), cv2.imread(str(sample.image))).max(2) > 60
        assert changed[10, 12:40].mean() > 0.8  # an edge of the car
        assert 0.05 < changed[25:55, 75:115].mean() < 0.8  # hatched
        assert not changed[32:38, 45:65].any()  # no box
