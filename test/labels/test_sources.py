"""Behaviour common to sources of all formats: keys, rules, weights, images."""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.labels import IGNORE, DatasetError, image_size, load_sources, read_image

CLASSES = ("car", "pedestrian", "cyclist")
OBJECT = "{kind} 0.00 0 -1.58 {box} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"


def write_image(path: Path, height: int = 40, width: int = 60) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), 90, np.uint8))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({}, "data source 1: unknown data format None: use one of kitti, "),
        ({"format": "voc"}, "unknown data format 'voc'"),
        ({"format": ["kitti"]}, "unknown data format"),
        (
            {"format": "kitti", "image": "a", "labels": "b", "foo": 1},
            r"data source 1 \(kitti\): unknown key 'image', unknown key 'foo', key 'images' is missing; known: for",
        ),
        ({"format": "yolo", "names": ["a"]}, "it needs 'images', a folder, or 'list'"),
        ({"format": "yolo", "images": "a", "names": {1: "a"}}, "'names' must be a list"),
        ({"format": "yolo", "images": "a", "names": "none.txt"}, r"none\.txt cannot be read"),
        ({"format": "kitti", "images": 3, "labels": "b"}, "'images' must be a path, not 3"),
        (
            {"format": "kitti", "images": "a", "labels": "b", "exclude": [87]},
            "'exclude' must be a list of quoted names",
        ),
        ({"format": "kitti", "images": "a", "labels": "b", "exclude": "000087"}, "'exclude' must be a list"),
        (
            {"format": "kitti", "images": "a", "labels": "b", "include": "0*"},
            "'include' must be a list of quoted names",
        ),
        (
            {"format": "kitti", "images": "a", "labels": "b", "include": [87]},
            "'include' must be a list of quoted names",
        ),
        ({"format": "kitti", "images": "a", "labels": "b", "weight": "2"}, "'weight' must be a number from 0"),
        ({"format": "kitti", "images": "a", "labels": "b", "weight": -1}, "'weight' must be a number from 0"),
        ({"format": "kitti", "images": "a", "labels": "b", "map": ["Van"]}, "'map' must be a mapping"),
        (
            {"format": "kitti", "images": "a", "labels": "b", "map": {"Van": "lorry"}},
            r"\(kitti\): 'map' turns 'Van' into",
        ),
        ({"format": "kitti", "images": "a", "labels": "b", "map": {"Van": "car"}, "ignore": ["Van"]}, "decide"),
        ({"format": "kitti", "images": "a", "labels": "b", "missing": "no"}, "'missing' is 'no': write error or skip"),
        ({"format": "voc", "name": "night"}, "data source 1: unknown data format 'voc'"),
        ({"format": "kitti", "name": "night", "labels": "b"}, r"^night \(kitti\): key 'images' is missing"),
        (
            {"format": "kitti", "images": "a", "labels": "b", "unlabelled_in": 3},
            "'unlabelled_in' must be a path, not 3",
        ),
        ({"format": "kitti", "images": "a", "labels": "b", "unlabelled_in": "c"}, "label folder .*c does not exist"),
        ({"format": "coco", "images": "a", "labels": "b", "unlabelled_in": "c"}, "unknown key 'unlabelled_in'"),
        ({"format": "kitti_tracking", "images": "a", "labels": "b", "positive": {"Car": 1}}, "unknown key 'positive'"),
        (
            {"format": "kitti", "images": "a", "labels": "b", "positive": {"Lorry": 0.4}},
            "'positive' names 'Lorry'; types are Car, Van,",
        ),
        ({"format": "kitti", "images": "a", "labels": "b"}, "image folder .* does not exist: set data.root"),
        ({"format": "kitti", "images": ".", "labels": "b"}, "label folder .* does not exist"),
        ({"format": "kitti", "images": ".", "labels": "."}, "has no KITTI label files"),
        ({"format": "bdd", "images": ".", "labels": "none.json"}, r"none\.json.* cannot be read: No such file"),
        ({"format": "coco", "images": ".", "labels": "none.json"}, r"none\.json cannot be read: No such file"),
    ],
)
def test_bad_sources(tmp_path: Path, source: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load_sources(tmp_path, [source], CLASSES)


@pytest.mark.parametrize(
    "positive",
    [
        0.4,
        [0.4],
        "Car",
        None,
        {"Car": "0.4"},
        {"Car": True},
        {"Car": 1.5},
        {"Car": -0.1},
        {"Car": float("nan")},
        {"Car": None},
        {7: 0.4},
    ],
)
def test_scores_that_are_none(tmp_path: Path, positive: object) -> None:
    source = {"format": "kitti", "images": "a", "labels": "b", "positive": positive}
    with pytest.raises(DatasetError, match=r"^data source 1 \(kitti\): 'positive' must be scores of 0 to 1, such as"):
        load_sources(tmp_path, [source], CLASSES)


FRAMES = ("Seq05_000010", "Seq05_000020", "Seq06_000010", "Seq06_b10", "a[1]")


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, "01234"),
        ({"exclude": ["Seq05_000010"]}, "1234"),
        ({"exclude": ["Seq05_*"]}, "234"),
        ({"exclude": ["*_0000?0"]}, "34"),
        ({"exclude": ["Seq05_*", "Seq06_b10"]}, "24"),
        ({"exclude": ["*_[0-9]*"]}, "34"),
        ({"exclude": ["a[1]"]}, "0123"),  # matched literally, although it is also a pattern
        ({"exclude": ["seq05_*", "eq05_*"]}, "01234"),  # must match the whole name, case-sensitive
        ({"include": ["Seq05_*"]}, "01"),
        ({"include": ["Seq05_*", "Seq06_b10"]}, "013"),
        ({"include": ["Seq0?_000010"], "exclude": ["Seq05_*"]}, "2"),
        ({"include": []}, "01234"),
        ({"include": ["*"], "exclude": ["*b10"]}, "0124"),
    ],
)
@pytest.mark.parametrize("by", ["kitti", "yolo", "coco"])
def test_patterns_of_include_and_exclude(tmp_path: Path, keys: dict[str, list[str]], wanted: str, by: str) -> None:
    for stem in FRAMES:
        write_image(tmp_path / "images" / f"{stem}.png")
    (tmp_path / "labels").mkdir()
    for stem in FRAMES:
        (tmp_path / "labels" / f"{stem}.txt").write_text("")
    records = [{"id": number, "file_name": f"{stem}.png"} for number, stem in enumerate(FRAMES)]
    (tmp_path / "l.json").write_text(json.dumps({"images": records, "annotations": [], "categories": []}))
    source = {"format": by, "images": "images", "labels": "l.json" if by == "coco" else "labels", **keys}
    if by == "yolo":
        source["names"] = ["car"]
    found = [image.path.stem for image in load_sources(tmp_path, [source], CLASSES)]
    assert found == [FRAMES[int(number)] for number in wanted]


@pytest.mark.parametrize("by", ["kitti", "coco"])
@pytest.mark.parametrize("keys", [{"exclude": ["*5"]}, {"exclude": ["05"]}, {"include": ["*6"]}])
def test_what_a_list_names_and_a_pattern_leaves_out_is_not_missing(
    tmp_path: Path, by: str, keys: dict[str, list[str]]
) -> None:
    (tmp_path / "labels").mkdir()
    for stem in ("05", "06"):
        write_image(tmp_path / "images" / f"{stem}.png")
        (tmp_path / "labels" / f"{stem}.txt").write_text("")
    records = [{"id": int(stem), "file_name": f"{stem}.png"} for stem in ("05", "06")]
    (tmp_path / "l.json").write_text(json.dumps({"images": records, "annotations": [], "categories": []}))
    (tmp_path / "some.list").write_text("05\n06\n15\n")  # 15 does not exist; only exclude "05" selects it
    source = {"format": by, "images": "images", "labels": "l.json" if by == "coco" else "labels", "list": "some.list"}
    if keys == {"exclude": ["05"]}:
        with pytest.raises(DatasetError, match=r"some\.list, line 3: there is no image 15"):
            load_sources(tmp_path, [{**source, **keys}], CLASSES)
        return
    assert [image.path.stem for image in load_sources(tmp_path, [{**source, **keys}], CLASSES)] == ["06"]


def test_rules_weight_and_exclude_of_a_source(tmp_path: Path) -> None:
    for stem in ("000001", "000002"):
        write_image(tmp_path / "i" / f"{stem}.png")
    (tmp_path / "l").mkdir()
    for stem in ("000001", "000002"):
        lines = [OBJECT.format(kind=kind, box="1 2 3 4") for kind in ("Van", "Cyclist", "UFO")]
        (tmp_path / "l" / f"{stem}.txt").write_text("\n".join(lines))
    source = {"format": "kitti", "images": "i", "labels": "l", "weight": 0.5, "exclude": ["000002"]}
    rules = {"map": {"Van": "car", "Cyclist": "background"}, "ignore": ["ufo"]}
    (image,) = load_sources(tmp_path, [{**source, **rules}], CLASSES)
    assert image.path.stem == "000001" and image.weight == 0.5
    assert image.class_ids.tolist() == [0, IGNORE]


def test_a_source_without_labelled_images(tmp_path: Path) -> None:
    write_image(tmp_path / "i" / "a.png")
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "b.txt").write_text("")
    with pytest.raises(DatasetError, match=r"data source 1 \(kitti\): none of its images has labels"):
        load_sources(tmp_path, [{"format": "kitti", "images": "i", "labels": "l"}], CLASSES)


TIFF_TURNED = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"


def exif_rotated(jpeg: bytes) -> bytes:
    """The JPEG with Exif data that request a rotation by 90 degrees."""
    body = b"Exif\x00\x00" + TIFF_TURNED
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_image(path, 31, 47)
    assert image_size(path) == (31, 47) == read_image(path).shape[:2]


def test_image_size_heeds_exif(tmp_path: Path) -> None:
    write_image(tmp_path / "a.jpg", 31, 47)
    path = tmp_path / "turned.jpg"
    path.write_bytes(exif_rotated((tmp_path / "a.jpg").read_bytes()))
    assert image_size(path) == read_image(path).shape[:2] == (47, 31)
    write_image(tmp_path / "a.png", 31, 47)
    png, turned = (tmp_path / "a.png").read_bytes(), b"eXIf" + TIFF_TURNED
    chunk = len(TIFF_TURNED).to_bytes(4, "big") + turned + zlib.crc32(turned).to_bytes(4, "big")
    (tmp_path / "turned.png").write_bytes(png[:33] + chunk + png[33:])  # behind the header chunk
    assert image_size(tmp_path / "turned.png") == read_image(tmp_path / "turned.png").shape[:2]


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff", b"garbage", b"\x89PNG\r\n\x1a\n"])
def test_image_size_of_what_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DatasetError, match=r"a\.jpg is not a readable image"):
        image_size(tmp_path / "a.jpg")
    with pytest.raises(DatasetError, match=r"none\.jpg is not a readable image"):
        image_size(tmp_path / "none.jpg")
