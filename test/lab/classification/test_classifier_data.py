"""Images of classifiers: reading, cropping and sampling."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import CLASSES, make_picture, make_pictures, make_pseudo

from gaussian_yolo_node.lab.classification.config import ClassifierSchedule, NoiseConfig
from gaussian_yolo_node.lab.classification.crops import centre_crop, random_crop
from gaussian_yolo_node.lab.classification.data import (
    Batches,
    Items,
    Share,
    Stream,
    View,
    read_labelled,
    read_pseudo,
    steps_of,
)
from gaussian_yolo_node.lab.training.config import ConfigError
from gaussian_yolo_node.labels import DatasetError

PLAIN = View(NoiseConfig(rand_augment_ops=0, least_crop=1.0, flip=0.0), 32, 1.0)


def test_a_folder_a_class(tmp_path: Path) -> None:
    items, classes = read_labelled(make_pictures(tmp_path / "train", 3))
    assert classes == CLASSES and len(items) == 6
    assert items.targets.argmax(1).tolist() == [0, 0, 0, 1, 1, 1]
    items, _ = read_labelled(tmp_path / "train", ("light", "medium", "dark"))
    assert items.targets.argmax(1).tolist() == [2, 2, 2, 0, 0, 0] and items.targets.shape == (6, 3)


def test_a_csv_file(tmp_path: Path) -> None:
    make_pictures(tmp_path / "train", 1)
    path = tmp_path / "list.csv"
    path.write_text("class,image\nlight,train/light/0.png\ndark,train/dark/0.png\n")
    items, classes = read_labelled(path)
    assert classes == CLASSES and items.targets.argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\nx,y\n", "must name the columns image and class"),
        ("", "must name the columns image and class"),
        ("image,class\n", "has no pictures"),
        ("image,class\nnowhere.png,dark\n", "line 2: there is no image"),
        ("image,class\ntrain/dark/0.png,\n", "line 2: class is empty"),
        ("image,class\ntrain/dark/0.png,dark\n", "has the one class 'dark'"),
    ],
)
def test_csv_files_that_are_none(tmp_path: Path, text: str, message: str) -> None:
    make_pictures(tmp_path / "train", 1)
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_labelled(tmp_path / "list.csv")


def test_data_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "empty", "has no pictures"), (tmp_path / "no", "neither a folder")):
        with pytest.raises(DatasetError, match=message):
            read_labelled(path)
    with pytest.raises(DatasetError, match="class 'light' is not among the classes dark, grey"):
        read_labelled(make_pictures(tmp_path / "train", 1), ("dark", "grey"))


def test_pseudo_labels_go_by_the_names_of_classes(tmp_path: Path) -> None:
    items = read_pseudo(make_pseudo(tmp_path / "pseudo", 3), ("light", "medium", "dark"))
    np.testing.assert_allclose(items.targets, [[0.2, 0, 0.8], [0.7, 0, 0.3], [0.2, 0, 0.8]], atol=1e-6)
    assert items.copies.tolist() == [1, 2, 1] and len(items) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "detection"}, "holds labels for detection"),
        ({"format": 9}, "of format 9"),
        ({"classes": ["dark", "grey"]}, "class 'grey' is not among the student's"),
        ({"classes": ["dark"]}, "damaged"),
        ({"images": []}, "selects no picture"),
        ({"images": [{"path": "0.png", "probabilities": [1, 0]}]}, "damaged"),
        ({"images": [{"path": "0.png", "probabilities": [1, 0], "copies": 0}]}, "selects no picture"),
        ({"images": [{"path": "0.png", "probabilities": [0.9, 0.9], "copies": 1}]}, "probabilities are none"),
        ({"images": [{"path": "9.png", "probabilities": [1, 0], "copies": 1}]}, "there is no image"),
    ],
)
def test_selected_labels_that_are_none(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = make_pseudo(tmp_path / "pseudo")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(DatasetError, match=message):
        read_pseudo(path, CLASSES)


def test_selected_labels_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        read_pseudo(tmp_path / "no.json", CLASSES)
    (tmp_path / "cut.json").write_text('{"kind": "class')
    with pytest.raises(DatasetError, match="damaged"):
        read_pseudo(tmp_path / "cut.json", CLASSES)


def numbered(height: int, width: int) -> Any:
    """An image whose pixels encode their row and column."""
    rows, columns = np.mgrid[:height, :width]
    return np.dstack([rows, columns, np.zeros_like(rows)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "fraction", "first", "last"),
    [
        pytest.param((20, 20), 1.0, (0, 0), (19, 19), id="all"),
        pytest.param((20, 60), 1.0, (0, 20), (19, 39), id="wide"),
        pytest.param((60, 20), 1.0, (20, 0), (39, 19), id="tall"),
        pytest.param((40, 40), 0.5, (10, 10), (29, 29), id="half"),
    ],
)
def test_centre_crop(shape: tuple[int, int], fraction: float, first: Any, last: Any) -> None:
    crop = centre_crop(numbered(*shape), 20, fraction)
    assert crop.shape == (20, 20, 3)
    assert tuple(crop[0, 0, :2]) == first and tuple(crop[-1, -1, :2]) == last


def test_random_crops_are_parts_of_the_picture() -> None:
    image = numbered(50, 80)
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(200):
        crop = random_crop(image, 200, 0.35, 0.875, rng).astype(int)
        assert crop.shape == (200, 200, 3)
        height, width = np.ptp(crop[..., 0]) + 1, np.ptp(crop[..., 1]) + 1
        areas.append(height * width / 4000)
        assert 0.7 < width / height < 1.4 or areas[-1] > 0.6  # the fallback to the centre
    assert min(areas) > 0.3 and max(areas) <= 1 and np.ptp(areas) > 0.4
    one = random_crop(image, 32, 1.0, 0.5, rng)
    np.testing.assert_array_equal(one, centre_crop(image, 32, 0.5))


def test_a_pass_shows_every_copy_once_and_passes_differ(tmp_path: Path) -> None:
    items = read_pseudo(make_pseudo(tmp_path / "pseudo"), CLASSES)
    stream = Stream(items, PLAIN, seed=3, number=1)
    passes = [[stream.index(turn * 9 + place) for place in range(9)] for turn in range(3)]
    for order in passes:
        assert Counter(order) == {0: 1, 1: 2, 2: 1, 3: 2, 4: 1, 5: 2}
    assert passes[0] != passes[1] != passes[2]
    again = Stream(items, PLAIN, seed=3, number=1)
    assert [again.index(9 + place) for place in range(9)] == passes[1]
    other = Stream(items, PLAIN, seed=4, number=1)
    assert [other.index(place) for place in range(9)] != passes[0]


def test_batches_begin_anywhere_and_are_shared_among_processes(tmp_path: Path) -> None:
    labelled, _ = read_labelled(make_pictures(tmp_path / "train"))
    pseudo = read_pseudo(make_pseudo(tmp_path / "pseudo"), CLASSES)
    noise = NoiseConfig(rand_augment_magnitude=10.0, operations=("rotate", "contrast"), least_crop=0.5)
    noisy = View(noise, 32, 1.0)

    def batches(rank: int, processes: int, first: int) -> list[Any]:
        streams = [Stream(items, noisy, 0, number) for number, items in enumerate((labelled, pseudo))]
        made = Batches([Share(s, n, rank, processes) for s, n in zip(streams, (2, 6), strict=True)], workers=2)
        found = list(made.steps(first, 4))
        made.close()
        return found

    whole, rest = batches(0, 1, 0), batches(0, 1, 2)
    assert len(whole) == 4 and len(rest) == 2 and whole[0].labelled == 2 and len(whole[0].images) == 8
    for one, other in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        np.testing.assert_array_equal(one.targets, other.targets)
    halves = [batches(rank, 2, 0) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        parts = [half[step] for half in halves]
        assert [part.labelled for part in parts] == [1, 1]
        rows = [parts[0].targets[:1], parts[1].targets[:1], parts[0].targets[1:], parts[1].targets[1:]]
        np.testing.assert_array_equal(np.concatenate(rows), batch.targets)
    with pytest.raises(ConfigError, match="cannot be shared among 4"):
        Share(Stream(labelled, PLAIN, 0, 0), 6, 0, 4)


def test_a_picture_that_is_gone_ends_the_batches(tmp_path: Path) -> None:
    labelled, _ = read_labelled(make_pictures(tmp_path / "train", 1))
    labelled.paths[1].unlink()
    made = Batches([Share(Stream(labelled, PLAIN, 0, 0), 2)], workers=1)
    with pytest.raises(DatasetError, match=r"0\.png"):
        list(made.steps(0, 1))
    made.close()


def test_a_picture_is_as_it_is_without_augmentation(tmp_path: Path) -> None:
    image = make_picture(1, 0)[:32, :32]
    cv2.imwrite(str(tmp_path / "a.png"), image)
    items = Items((tmp_path / "a.png",), np.ones((1, 2), np.float32), np.ones(1, np.int64))
    np.testing.assert_array_equal(Stream(items, PLAIN, 0, 0).sample(5, 0), image)


@pytest.mark.parametrize(
    ("epochs", "pictures", "batch", "steps"),
    [(1, 8, 4, (2, 2)), (2, 9, 4, (3, 6)), (1.5, 8, 4, (2, 3)), (0.1, 8, 4, (2, 1)), (3, 2, 4, (1, 3))],
)
def test_steps(epochs: float, pictures: int, batch: int, steps: tuple[int, int]) -> None:
    each = steps_of(pictures, batch)
    assert (each, ClassifierSchedule(epochs).total_steps(each)) == steps
