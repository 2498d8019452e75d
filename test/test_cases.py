"""The inputs of ../shared/cases, which real tools left; every kind has tests with inputs of its own elsewhere."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY

from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.frames import SourceError, open_source
from gaussian_yolo_node.labels import DatasetError, image_size, load_sources, read_image
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth

CASES = REPOSITORY.parent / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="shared cases not present")


def read_all(path: Path, **options: Any) -> tuple[list[Any], str]:
    source = open_source(str(path), **options)
    frames = list(iter(source.read, None))
    source.close()
    return frames, source.message


def test_motion_photos() -> None:
    frames, message = read_all(CASES / "01-motion-photo" / "photos")
    assert [frame.name[0] for frame in frames] == list("abcdefg") and "h_second" in message
    with pytest.raises(SourceError, match="cut short"):
        open_source(str(CASES / "01-motion-photo" / "photos" / "h_second_picture_cut.jpg"))


def test_turned_pictures_have_one_size() -> None:
    files = [path for path in (CASES / "04-png-exif").rglob("*.*") if path.suffix in (".jpg", ".png")]
    assert files and all(image_size(path) == read_image(path).shape[:2] == (200, 100) for path in files)


@pytest.mark.parametrize(("name", "length_s"), [("file.webm", 1.47), ("live.webm", 1.47), ("unfinished.mkv", 1.47)])
def test_videos_in_ms(name: str, length_s: float) -> None:
    frames, message = read_all(CASES / "05-webm-1000fps" / name, playback="realtime")
    assert len(frames) == 45 and message == "" and frames[-1].stamp - frames[0].stamp > length_s - 0.01


@pytest.mark.parametrize("name", ["vfr30.avi", "vfr30.mkv"])
def test_videos_of_two_rates(name: str) -> None:
    frames, message = read_all(CASES / "05-webm-1000fps" / name, playback="realtime")
    assert len(frames) == 50 and message == "" and frames[-1].stamp - frames[0].stamp > 2.89


@pytest.mark.parametrize("name", ["with_suffix.json", "without_suffix.json"])
def test_dotted_names(name: str) -> None:
    folder = CASES / "08-dotted-names"
    truths = read_ground_truth(folder / "label_2")
    assert len(pair(truths, read_predictions(folder / name)).names) >= 2


@pytest.mark.parametrize("name", ["slash", "backslash", "dot_backslash"])
def test_backslashes(name: str) -> None:
    source = {"format": "coco", "images": "images", "labels": f"{name}.json"}
    assert len(load_sources(CASES / "09-coco-backslash", [source], ["car"])) == 3


@pytest.mark.parametrize("name", ["windows_absolute", "unix_absolute"])
def test_foreign_paths(name: str) -> None:
    source = {"format": "coco", "images": "images", "labels": f"{name}.json"}
    with pytest.raises(DatasetError, match="with / between folders"):
        load_sources(CASES / "09-coco-backslash", [source], ["car"])


@pytest.mark.parametrize("kind", ["flat", "y"])
def test_classes_among_labels(kind: str) -> None:
    folder = CASES / "13-labelimg-classes-txt" / kind
    images, labels = ("images", "labels") if kind == "y" else (".", ".")
    source = {"format": "yolo", "images": images, "labels": labels, "names": ["car", "person"]}
    assert len(load_sources(folder, [source], ["car", "person"])) == 3


def test_natural_order() -> None:
    frames, _ = read_all(CASES / "14-natural-order" / "frames")
    assert [frame.name for frame in frames] == [f"{number}.jpg" for number in range(1, 13)]


@pytest.mark.parametrize("path", sorted((CASES / "16-alexeyab-cfg").glob("*.cfg")), ids=lambda path: path.stem)
def test_cfgs_of_the_fork(path: Path) -> None:
    darknet = pytest.importorskip("gaussian_yolo_node.lab.networks.darknet_cfg")
    if path.stem in ("scale_x_y_105", "spaces_as_commas"):
        with pytest.raises(darknet.CfgError, match=path.name):
            darknet.read_cfg(path)
    else:
        assert darknet.read_cfg(path).layers


_TAKEN = {"int": 1, "decimal": 1, "savetxt": 1, "tabs": 1, "polygon": 1}


@pytest.mark.parametrize(
    "path", sorted((CASES / "17-decimal-class-ids" / "labels").glob("*.txt")), ids=lambda p: p.stem
)
def test_rows(tmp_path: Path, path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    shutil.copy(CASES / "01-motion-photo" / "photos" / "a_plain.jpg", tmp_path / "images" / f"{path.stem}.jpg")
    shutil.copy(path, tmp_path / "labels")
    source = {"format": "yolo", "images": "images", "labels": "labels", "names": ["car", "person"]}
    if path.stem in _TAKEN:
        (image,) = load_sources(tmp_path, [source], ["car", "person"])
        assert image.class_ids.tolist() == [_TAKEN[path.stem]]
    else:
        with pytest.raises(DatasetError, match=rf"{path.name}, line 1"):
            load_sources(tmp_path, [source], ["car", "person"])


_FAULTY = (
    *("same_id_twice", "same_name_twice", "bbox_empty", "bbox_null", "category_unknown", "image_id_null", "nan"),
    *("image_id_of_none", "ids_are_strings", "negative_width", "rle_only", "no_annotations_key"),
)


@pytest.mark.parametrize("path", sorted((CASES / "27-coco-odd-annotations").glob("*.json")), ids=lambda path: path.stem)
def test_odd_coco_files(path: Path) -> None:
    if path.stem in _FAULTY:
        with pytest.raises(DatasetError, match=path.name):
            read_ground_truth(path)
    else:
        truths = read_ground_truth(path)
        (found,) = read_predictions(CASES / "27-coco-odd-annotations" / "pred.txt", truths)[:1]
        assert found.frame == "a.png" and "a.png" in truths.frames


@pytest.mark.parametrize("truth", ["gt_2018", "gt_2020", "gt_caps"])
@pytest.mark.parametrize("predicted", ["pred_2018", "pred_2020"])
def test_renamed_classes(truth: str, predicted: str) -> None:
    folder = CASES / "35-bdd-renamed-classes"
    truths = read_ground_truth(folder / f"{truth}.json")
    paired = pair(truths, read_predictions(folder / f"{predicted}.json"))
    assert paired.unknown_classes == () and len(paired.classes) == 6
