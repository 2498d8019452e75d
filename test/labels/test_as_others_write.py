"""Data sets as labelling tools, other systems and converters leave them: the same in training, check and evaluation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from gaussian_yolo_node.labels import DatasetError, LabelledImage, image_size, load_sources, read_image
from gaussian_yolo_node.labels.annotations import Fault, FaultKind
from gaussian_yolo_node.labels.check import check_sources
from gaussian_yolo_node.labels.sequences import open_sequence
from gaussian_yolo_node.labels.sources import open_source
from gaussian_yolo_node.labels.truths import read_ground_truth

CLASSES = ("car", "person")
KITTI_LINE = "Car 0 0 0 20 50 80 110 1.5 1.6 4 1 1.5 20 -1.5\n"
YOLO_LINE = "0 0.3 0.3 0.2 0.2\n"
KITTI = {"format": "kitti", "images": "images", "labels": "labels"}
YOLO = {"format": "yolo", "images": "images", "labels": "labels", "names": ["car", "person"]}
COCO = {"format": "coco", "images": "images", "labels": "c.json"}
NAMES = {"format": "yolo", "images": "images", "labels": "labels", "names": "names.txt"}


def picture(path: Path, grey: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((120, 160, 3), grey, np.uint8)
    image[grey // 4 :: 7] = 255 - grey
    suffix = ".jpg" if path.suffix.lower() in (".jfif", ".jpe", "") else path.suffix
    path.write_bytes(cv2.imencode(suffix, image)[1].tobytes())
    return path


def text(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def trained(root: Path, source: dict[str, Any]) -> list[LabelledImage]:
    return load_sources(root, [source], CLASSES)


def checked(root: Path, source: dict[str, Any]) -> list[Fault]:
    return check_sources({"train": [open_source(root, source, "train")]}, CLASSES).faults


@pytest.mark.parametrize(("source", "line"), [(KITTI, KITTI_LINE), (YOLO, YOLO_LINE)], ids=["kitti", "yolo"])
@pytest.mark.parametrize(
    "other",
    [
        ("labels/._000000.txt", b"\0\5\x16\7\0\2\0\0Mac OS X"),
        ("images/._000000.png", b"\0\5\x16\7\0\2\0\0Mac OS X"),
        ("labels/.hidden.txt", b"no label"),
        ("labels/classes.txt", b"car\nperson\n"),
        ("images/classes.txt", b"car\nperson\n"),
        ("labels/CLASSES.TXT", b"car\n"),
    ],
    ids=lambda other: other[0],
)
def test_what_is_beside_labels_is_no_label(
    tmp_path: Path, source: dict[str, Any], line: str, other: tuple[str, bytes]
) -> None:
    picture(tmp_path / "images" / "000000.png")
    text(tmp_path / "labels" / "000000.txt", line)
    text(tmp_path / other[0], other[1])

    (image,) = trained(tmp_path, source)

    assert image.class_ids.tolist() == [0] and checked(tmp_path, source) == []
    if source is KITTI:
        assert list(read_ground_truth(tmp_path / "labels").frames) == ["000000"]


def test_hidden_files_are_no_frames_of_a_bag_or_label_files_of_bdd(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "images" / "._a.png", b"\0\5\x16\7")
    text(tmp_path / "labels" / "a.json", json.dumps([{"name": "a.png", "labels": []}]))
    text(tmp_path / "labels" / "._a.json", b"\0\5\x16\7")

    sequence = open_sequence(tmp_path / "images", labels=tmp_path / "labels")

    assert [(frame.name, frame.truths is None) for frame in sequence.frames()] == [("a.png", False)]


def test_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in range(1, 13):
        picture(tmp_path / "images" / f"{number}.jpg", 20 * number)
        text(tmp_path / "labels" / f"{number}.txt", YOLO_LINE)
    wanted = [f"{number}.jpg" for number in range(1, 13)]

    assert [image.path.name for image in trained(tmp_path, YOLO)] == wanted
    assert [frame.name for frame in open_sequence(tmp_path / "images", labelled=False).frames()] == wanted


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jfif", ".webp", ".bmp", ".tif", ".ppm", ".png"])
@pytest.mark.parametrize("source", [KITTI, YOLO, COCO], ids=["kitti", "yolo", "coco"])
def test_pictures_of_any_suffix(tmp_path: Path, source: dict[str, Any], suffix: str) -> None:
    path = picture(tmp_path / "images" / f"a{suffix}")
    text(tmp_path / "labels" / "a.txt", KITTI_LINE if source is KITTI else YOLO_LINE)
    text(tmp_path / "c.json", json.dumps(coco()).replace("a.png", path.name))

    assert [image.path for image in trained(tmp_path, source)] == [path]
    assert checked(tmp_path, source) == [] and image_size(path) == read_image(path).shape[:2]


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    "change",
    [lambda data: MARK + data, lambda data: data.replace(b"\n", b"\r\n"), lambda data: MARK + data + b"\r\n"],
    ids=["mark", "CRLF", "both"],
)
@pytest.mark.parametrize("file", ["labels/a.txt", "names.txt", "list.txt", "c.json", "d.yaml"])
@pytest.mark.parametrize(
    "source",
    [KITTI, YOLO, NAMES, COCO, {**KITTI, "list": "list.txt"}, {**YOLO, "names": "d.yaml"}],
    ids=["kitti", "yolo", "names", "coco", "list", "yaml"],
)
def test_marks_and_line_ends_change_nothing(
    tmp_path: Path, source: dict[str, Any], file: str, change: Callable[[bytes], bytes]
) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", KITTI_LINE if source["format"] == "kitti" else YOLO_LINE)
    text(tmp_path / "names.txt", "car\nperson\n")
    text(tmp_path / "d.yaml", "names: [car, person]\n")
    text(tmp_path / "list.txt", "a.png\n")
    text(tmp_path / "c.json", json.dumps(coco()))
    (plain,) = trained(tmp_path, source)
    text(tmp_path / file, change((tmp_path / file).read_bytes()))

    (image,) = trained(tmp_path, source)

    assert image.class_ids.tolist() == plain.class_ids.tolist() == [0]
    np.testing.assert_array_equal(image.boxes, plain.boxes)


@pytest.mark.parametrize(
    ("file", "source"),
    [("labels/a.txt", KITTI), ("names.txt", NAMES), ("list.txt", {**KITTI, "list": "list.txt"})],
    ids=["label", "names", "list"],
)
def test_utf16_is_refused_by_name(tmp_path: Path, file: str, source: dict[str, Any]) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", KITTI_LINE)
    text(tmp_path / "names.txt", "car\n")
    text(tmp_path / "list.txt", "a.png\n")
    text(tmp_path / file, (tmp_path / file).read_text().encode("utf-16"))

    with pytest.raises(DatasetError, match=f"{Path(file).name}.*UTF-16: save it as UTF-8"):
        trained(tmp_path, source)


@pytest.mark.parametrize(
    ("row", "kind", "box"),
    [
        ("1 0.5 0.5 0.2 0.4", 1, (64, 36, 96, 84)),
        ("1.0 0.5 0.5 0.2 0.4", 1, (64, 36, 96, 84)),
        ("1.000000000000000000e+00 5.0e-01 5.0e-01 2.0e-01 4.0e-01", 1, (64, 36, 96, 84)),
        ("1\t0.5\t0.5\t0.2\t0.4", 1, (64, 36, 96, 84)),
        ("1 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7", 1, (64, 36, 96, 84)),  # a polygon
        ("0 0.5 0.3 0.6 0.7 0.4 0.7", 0, (64, 36, 96, 84)),  # a triangle
        ("0 1.02 0.5 0.2 0.4", 0, (147.2, 36, 179.2, 84)),  # somewhat out of the image
    ],
)
def test_yolo_rows(tmp_path: Path, row: str, kind: int, box: tuple[float, ...]) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", row)

    (image,) = trained(tmp_path, YOLO)

    assert image.class_ids.tolist() == [kind]
    np.testing.assert_allclose(image.boxes, [box], atol=1e-3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.5 0.5 0.5 0.2 0.4", "a class is a whole number"),
        ("nan 0.5 0.5 0.2 0.4", "a class is a whole number"),
        ("person 0.5 0.5 0.2 0.4", "expected 'class cx cy w h'"),
        ("1,0.5,0.5,0.2,0.4", "separate numbers by spaces"),
        ("1 0.5 0.5 0.2 0.4 0.87", "sixth number"),
        ("1 160 120 64 96", "not in px"),
        ("1 0.5 0.5 0.2", "expected 'class cx cy w h'"),
        ("1 0.1 0.2 0.3 0.4 0.5 0.6 0.7", "expected 'class cx cy w h'"),  # an odd number of coordinates
        ("1", "expected 'class cx cy w h'"),
    ],
)
def test_other_yolo_rows_are_refused_with_their_line(tmp_path: Path, row: str, message: str) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", f"{YOLO_LINE}{row}\n")

    with pytest.raises(DatasetError, match=rf"a\.txt, line 2: .*{message}"):
        trained(tmp_path, YOLO)
    assert [(fault.file.name, fault.place) for fault in checked(tmp_path, YOLO)] == [("a.txt", 2)]


def coco(image: dict[str, Any] | None = None, annotation: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A sound file with one image and one box, changed."""
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 120, **(image or {})}],
        "categories": [{"id": 1, "name": "car"}],
        "annotations": [{"id": 5, "image_id": 1, "category_id": 1, "bbox": [20, 50, 60, 40], **(annotation or {})}],
        **more,
    }


POLYGON = [[10, 10, 60, 10, 60, 80, 10, 80]]


@pytest.mark.parametrize(
    ("document", "box"),
    [
        (coco(), [20, 50, 80, 90]),
        (coco(image={"id": 1.0, "width": 160.0, "height": 120.0}), [20, 50, 80, 90]),
        (coco(annotation={"image_id": "1"}), [20, 50, 80, 90]),
        (coco(annotation={"category_id": "1"}), [20, 50, 80, 90]),
        (coco(image={"id": "1"}), [20, 50, 80, 90]),
        (coco(annotation={"bbox": None, "segmentation": POLYGON}), [10, 10, 60, 80]),
        (coco(annotation={"bbox": [], "segmentation": [*POLYGON, [5, 5, 6, 5, 6, 6]]}), [5, 5, 60, 80]),
        (coco(annotation={"bbox": ["20", "50", "60", "40"]}), [20, 50, 80, 90]),
        (coco(categories=[{"id": 0, "name": "car"}, {"id": 1, "name": "car"}]), [20, 50, 80, 90]),
    ],
    ids=["sound", "float ids", "image id text", "category id text", "id text", "polygon", "polygons", "texts", "twice"],
)
def test_odd_coco_files_that_are_clear(tmp_path: Path, document: dict[str, Any], box: list[float]) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "c.json", json.dumps(document))

    (image,) = trained(tmp_path, COCO)

    np.testing.assert_allclose(image.boxes, [box])
    assert checked(tmp_path, COCO) == []
    np.testing.assert_allclose(read_ground_truth(tmp_path / "c.json").frames["a.png"].truths.boxes, [box])


@pytest.mark.parametrize(
    ("document", "kind", "message"),
    [
        (coco(images=[{"id": 1, "file_name": n} for n in ("a.png", "b.png")]), FaultKind.AMBIGUOUS_NAME, "a.png, too"),
        (coco(images=[{"id": n, "file_name": "a.png"} for n in (1, 2)]), FaultKind.DUPLICATE_IMAGE, "image 0, too"),
        (
            coco(images=[{"id": 1, "file_name": "d/a.png"}, {"id": 2, "file_name": "d\\a.png"}]),
            FaultKind.DUPLICATE_IMAGE,
            "image 0, too",
        ),
        (coco(annotation={"image_id": 99}), FaultKind.MALFORMED_LABEL, "of no image"),
        (coco(annotation={"image_id": None}), FaultKind.MALFORMED_LABEL, "it needs"),
        (coco(image={"id": "a"}), FaultKind.MALFORMED_LABEL, "it needs"),
        (coco(image={"id": 1.5}), FaultKind.MALFORMED_LABEL, "it needs"),
        (coco(annotation={"category_id": 0}), FaultKind.UNKNOWN_CLASS, "not in"),
        (coco(annotation={"bbox": []}), FaultKind.MALFORMED_LABEL, "or a polygon"),
        (coco(annotation={"bbox": None}), FaultKind.MALFORMED_LABEL, "or a polygon"),
        (
            coco(annotation={"bbox": None, "segmentation": {"counts": [1, 2], "size": [2, 3]}}),
            FaultKind.MALFORMED_LABEL,
            "or a polygon",
        ),
        (coco(annotation={"bbox": [50, 20, -30, 40]}), FaultKind.INVERTED_BOX, "inverted"),
        (coco(annotation={"bbox": [float("nan"), 20, 30, 40]}), FaultKind.NOT_FINITE, "finite"),
    ],
)
def test_odd_coco_files_that_are_faulty(
    tmp_path: Path, document: dict[str, Any], kind: FaultKind, message: str
) -> None:
    for name in ("a.png", "b.png", "d/a.png"):
        picture(tmp_path / "images" / name)
    text(tmp_path / "c.json", json.dumps(document))

    with pytest.raises(DatasetError, match=message):
        trained(tmp_path, COCO)
    assert kind in {fault.kind for fault in checked(tmp_path, COCO)}
    with pytest.raises(DatasetError):
        read_ground_truth(tmp_path / "c.json")


@pytest.mark.parametrize("name", ["day\\a.png", ".\\day\\a.png", "./day/a.png", "day/a.png", "images\\day\\a.png"])
def test_names_of_windows_are_found(tmp_path: Path, name: str) -> None:
    path = picture(tmp_path / "images" / "day" / "a.png")
    picture(tmp_path / "images" / "night" / "a.png", 30)
    text(tmp_path / "labels" / "day" / "a.txt", YOLO_LINE)
    text(tmp_path / "c.json", json.dumps(coco(image={"file_name": name})))
    text(tmp_path / "list.txt", name if "images" in name else f"images\\{name}")

    assert [image.path for image in trained(tmp_path, COCO)] == [path]
    listed = {"format": "yolo", "list": "list.txt", "names": ["car", "person"]}
    assert [image.path.resolve() for image in trained(tmp_path, listed)] == [path.resolve()]


@pytest.mark.parametrize("name", ["C:\\data\\day\\a.png", "/home/x/day/a.png"])
def test_foreign_absolute_paths_are_refused_with_a_hint(tmp_path: Path, name: str) -> None:
    picture(tmp_path / "images" / "day" / "a.png")
    text(tmp_path / "c.json", json.dumps(coco(image={"file_name": name})))
    text(tmp_path / "list.txt", name)

    for source in (COCO, {"format": "yolo", "list": "list.txt", "names": ["car"], "missing": "error"}):
        with pytest.raises(DatasetError, match="with / between folders"):
            trained(tmp_path, source)


def test_an_absolute_path_into_the_folder_is_found(tmp_path: Path) -> None:
    path = picture(tmp_path / "images" / "day" / "a.png")
    text(tmp_path / "c.json", json.dumps(coco(image={"file_name": str(path)})))

    assert [image.path for image in trained(tmp_path, COCO)] == [path]


def test_boxes_are_not_laid_on_the_pictures_of_another_sequence(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "A" / "000001.png")
    frames = [{"name": "000001.png", "videoName": video, "labels": []} for video in ("A", "B")]
    text(tmp_path / "l.json", json.dumps(frames))
    source = {"format": "scalabel", "images": "images", "labels": "l.json", "missing": "skip"}

    assert [image.path.parent.name for image in trained(tmp_path, source)] == ["A"]

    text(tmp_path / "c.json", json.dumps(coco(image={"file_name": "B/000001.png"})))
    with pytest.raises(DatasetError, match=r"there is no image B/000001\.png"):
        trained(tmp_path, COCO)


@pytest.mark.parametrize(
    ("files", "name"),
    [(["day/a.png", "night/a.png"], "a.png"), (["a.png", "a.jpg"], "a"), (["x/a.png", "y/a.jpg"], "a")],
)
def test_several_pictures_of_a_name_are_refused_with_both(tmp_path: Path, files: list[str], name: str) -> None:
    for file in files:
        picture(tmp_path / "images" / file)
    text(tmp_path / "c.json", json.dumps(coco(image={"file_name": name})))

    with pytest.raises(DatasetError) as caught:
        trained(tmp_path, COCO)
    assert all(file in str(caught.value) for file in files)
    assert [fault.kind for fault in checked(tmp_path, COCO)] == [FaultKind.AMBIGUOUS_NAME]


@pytest.mark.parametrize(("source", "line"), [(KITTI, KITTI_LINE), (YOLO, YOLO_LINE)], ids=["kitti", "yolo"])
def test_two_pictures_of_one_label_file_are_refused(tmp_path: Path, source: dict[str, Any], line: str) -> None:
    for name in ("a.jpg", "a.png"):
        picture(tmp_path / "images" / name)
    text(tmp_path / "labels" / "a.txt", line)

    with pytest.raises(DatasetError, match=r"a\.png.*a\.jpg"):
        trained(tmp_path, source)
    assert [fault.kind for fault in checked(tmp_path, source)] == [FaultKind.AMBIGUOUS_NAME]


STAMPS = ("1630000000.100000", "1630000000.200000", "1630000000.300000")


@pytest.mark.parametrize("suffix", ["", ".png"])
@pytest.mark.parametrize("key", ["list", "exclude"])
@pytest.mark.parametrize("source", [KITTI, YOLO, COCO], ids=["kitti", "yolo", "coco"])
def test_a_time_is_a_whole_name(tmp_path: Path, source: dict[str, Any], suffix: str, key: str) -> None:
    for index, name in enumerate(STAMPS):
        picture(tmp_path / "images" / f"{name}.png", 40 * index)
        text(tmp_path / "labels" / f"{name}.txt", KITTI_LINE if source is KITTI else YOLO_LINE)
    images = [{"id": index, "file_name": f"{name}.png"} for index, name in enumerate(STAMPS)]
    text(tmp_path / "c.json", json.dumps(coco(images=images)))
    text(tmp_path / "list.txt", "".join(f"{name}{suffix}\n" for name in STAMPS[:2]))
    chosen = {"list": "list.txt"} if key == "list" else {"exclude": [STAMPS[2]]}

    images = [image.path.name for image in trained(tmp_path, {**source, **chosen})]

    assert images == [f"{name}.png" for name in STAMPS[:2]]


def test_a_list_tells_folders_apart(tmp_path: Path) -> None:
    images = []
    for number, name in enumerate(("day/a.png", "night/a.png"), start=1):
        picture(tmp_path / "images" / name, 60 * number)
        images.append({"id": number, "file_name": name})
    text(tmp_path / "c.json", json.dumps(coco(images=images)))
    text(tmp_path / "list.txt", "night\\a.png\n")

    found = trained(tmp_path, {**COCO, "list": "list.txt"})

    assert [image.path.parent.name for image in found] == ["night"]


def test_a_name_twice_in_a_list_is_a_fault(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "a.png")
    text(tmp_path / "labels" / "a.txt", KITTI_LINE)
    text(tmp_path / "list.txt", "a.png\n\na.png\n")

    with pytest.raises(DatasetError, match=r"list\.txt, line 3: a\.png is already in line 1"):
        trained(tmp_path, {**KITTI, "list": "list.txt"})


@pytest.mark.parametrize(
    ("file", "video", "found"),
    [
        ("v1/0001.png", "v1", True),
        ("train/v1/0001.png", "v1", True),
        ("0001.png", "v1", True),  # a folder of its own
        ("v1/0001.png", "1", False),
        ("v2/0001.png", "v1", False),
        ("train/v1-0001.png", "v1", True),
        ("train/v10001.png", "v1", False),
    ],
)
def test_pictures_of_a_sequence(tmp_path: Path, file: str, video: str, found: bool) -> None:
    path = picture(tmp_path / "images" / file)
    text(tmp_path / "l.json", json.dumps([{"name": path.name, "videoName": video, "labels": []}]))
    source = {"format": "bdd", "images": "images", "labels": "l.json"}

    assert [fault.kind for fault in checked(tmp_path, source)] == ([] if found else [FaultKind.MISSING_IMAGE])


@pytest.mark.parametrize(
    ("more", "twice"), [({}, True), ({"videoName": "v"}, False), ({"frameIndex": 3}, False), ({"timestamp": 5}, False)]
)
def test_a_frame_twice_in_bdds_labels_is_a_fault(tmp_path: Path, more: dict[str, Any], twice: bool) -> None:
    picture(tmp_path / "images" / "a.png")
    frames = [{"name": "a.png", "labels": []}, {"name": ".\\a.png" if twice else "a.png", "labels": [], **more}]
    text(tmp_path / "l.json", json.dumps(frames))
    source = {"format": "bdd", "images": "images", "labels": "l.json"}

    faults = [fault for fault in checked(tmp_path, source) if "is of it, too" in fault.message]

    assert [(fault.kind, "frame 0" in fault.message) for fault in faults] == [(FaultKind.DUPLICATE_IMAGE, True)] * twice


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    picture(tmp_path / "images" / "caf\udce9.png")
    text(tmp_path / "labels" / "caf\udce9.txt", KITTI_LINE)

    assert len(trained(tmp_path, KITTI)) == 1 and checked(tmp_path, KITTI) == []
    assert list(read_ground_truth(tmp_path / "labels").frames) == ["caf\udce9"]
