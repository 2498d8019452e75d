"""Label files: objects, ignore regions, and refused lines."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gaussian_yolo_node import labels as ds

CLASSES = ("car", "pedestrian", "cyclist")
KITTI_LINE = "{kind} 0.00 0 -1.58 {box} 1.65 1.67 3.64 -0.65 1.71 46.70 -1.59"
RECIPES = sorted((Path(__file__).resolve().parents[2] / "engines").glob("*.yaml"))


def write_kitti(folder: Path, stem: str, kinds: list[str]) -> None:
    (folder / "image").mkdir(parents=True, exist_ok=True)
    (folder / "label").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "image" / f"{stem}.png"), np.zeros((8, 12, 3), np.uint8))
    lines = [KITTI_LINE.format(kind=kind, box="1.0 2.0 5.0 7.5") for kind in kinds]
    (folder / "label" / f"{stem}.txt").write_text("\n".join(lines))


def load_kitti(folder: Path, **keys: object) -> list[ds.LabelledImage]:
    return ds.load_sources(folder, [{"format": "kitti", "images": "image", "labels": "label", **keys}], CLASSES)


@pytest.mark.parametrize(
    ("kind", "class_id"),
    [
        ("Car", 0),
        ("Pedestrian", 1),
        ("Cyclist", 2),
        ("Van", ds.IGNORE),
        ("Truck", ds.IGNORE),
        ("Tram", ds.IGNORE),
        ("Misc", ds.IGNORE),
        ("Person_sitting", ds.IGNORE),
        ("DontCare", ds.IGNORE),
    ],
)
def test_kitti_types(tmp_path: Path, kind: str, class_id: int) -> None:
    write_kitti(tmp_path, "000001", [kind])
    (image,) = load_kitti(tmp_path)
    assert image.boxes.tolist() == [[1.0, 2.0, 5.0, 7.5]]
    assert image.class_ids.tolist() == [class_id]


def test_an_empty_label_file_is_an_empty_street(tmp_path: Path) -> None:
    write_kitti(tmp_path, "000001", [])
    (image,) = load_kitti(tmp_path)
    assert image.boxes.shape == (0, 4) and image.class_ids.shape == (0,)


def test_a_malformed_label_names_file_and_line(tmp_path: Path) -> None:
    write_kitti(tmp_path, "000001", [])
    (tmp_path / "label" / "000001.txt").write_text("\nSpaceship 0 0 0 1 2 3 4 1 1 1 1 1 1 1")
    with pytest.raises(ds.DatasetError, match=r"000001\.txt, line 2"):
        load_kitti(tmp_path)


def test_unlabelled_and_excluded_frames_are_left_out(tmp_path: Path) -> None:
    for stem in ("000001", "000002", "000003"):
        write_kitti(tmp_path, stem, ["Car"])
    (tmp_path / "label" / "000003.txt").unlink()
    found = load_kitti(tmp_path, exclude=["000001"])
    assert [image.path.stem for image in found] == ["000002"]


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ds.DatasetError, match="does not exist"):
        load_kitti(tmp_path, images="none")
    with pytest.raises(ds.DatasetError, match="unknown data format"):
        ds.load_sources(tmp_path, [{"format": "voc"}], CLASSES)


def write_coco(folder: Path, stem: str, text: str) -> None:
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    cv2.imwrite(str(folder / "images" / f"{stem}.jpg"), np.zeros((100, 200, 3), np.uint8))
    (folder / "labels" / f"{stem}.txt").write_text(text)


def test_coco_keeps_cars_and_persons_and_ignores_vehicles(tmp_path: Path) -> None:
    write_coco(tmp_path, "a", "0 0.5 0.5 0.1 0.2\n2 0.25 0.5 0.5 1.0\n1 0.5 0.5 0.1 0.1\n16 0.5 0.5 0.1 0.1\n")
    write_coco(tmp_path, "b", "16 0.5 0.5 0.1 0.1\n")  # a dog, not one of the classes
    (image,) = ds.load_sources(tmp_path, [{"format": "coco_txt", "folder": "."}], CLASSES)
    assert image.path.stem == "a"
    assert image.class_ids.tolist() == [1, 0, ds.IGNORE]
    assert image.boxes[1] == pytest.approx([0, 0, 100, 100])


def test_a_malformed_yolo_line_is_named(tmp_path: Path) -> None:
    write_coco(tmp_path, "a", "2 0.5 0.5 x 0.2")
    with pytest.raises(ds.DatasetError, match="line 1"):
        ds.load_sources(tmp_path, [{"format": "coco_txt", "folder": "."}], CLASSES)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_a_shipped_recipe_never_sees_the_validation_drive(recipe: Path, driving_dir: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
    from gaussian_yolo_node.lab.training.config import TrainConfig

    config = TrainConfig.load(recipe)
    # Pseudo labels do not exist yet, so their image folders are checked by name.
    made = [source for source in config.data.train if source["format"] == "detections"]
    assert not any("drive_0011" in str(source["images"]) for source in made)
    labelled = [source for source in config.data.train if source not in made]
    train = ds.load_sources(driving_dir, labelled, config.model.classes)
    assert len(train) > 400
    forbidden = {"000087", "000097"}
    for image in train:
        assert "drive_0011" not in image.path.parts
        assert not ("object" in image.path.parts and image.path.stem in forbidden)
