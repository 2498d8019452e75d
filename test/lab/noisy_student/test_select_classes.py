"""Selected labels of a classifier, as written, and as read by a student's training."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")
pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from classifier_runs import CLASSES, make_picture

from gaussian_yolo_node.lab.classification.data import read_pseudo
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.lab.noisy_student.select_classes import ClassRules, select_classification
from gaussian_yolo_node.lab.noisy_student.tables import ClassificationRow, Kind, Labels

PROBABILITIES = ((0.9, 0.1), (0.4, 0.6), (0.55, 0.45), (0.8, 0.2))


def make_labels(folder: Path, kind: Kind = "classification") -> Labels:
    """Labels of four images in a folder."""
    folder.mkdir(exist_ok=True)
    rows = []
    for index, probabilities in enumerate(PROBABILITIES):
        cv2.imwrite(str(folder / f"{index}.png"), make_picture(0, index))
        row = ClassificationRow(f"{index}.png", str(folder), "all", index, 36, 44, np.array(probabilities, np.float32))
        rows.append(row)
    teacher = {"name": "t", "hash": "0" * 64, "classes": list(CLASSES)}
    return Labels(kind, teacher, 0.05, (str(folder),), tuple(rows), ())


def test_a_student_reads_what_was_selected(tmp_path: Path) -> None:
    output = tmp_path / "out" / "selected.json"
    counts = select_classification(make_labels(tmp_path / "drive"), output, ClassRules(0.6, 2))
    assert counts == {"images": 3, "of": 4, "showings": 4, "classes": {"dark": 2, "light": 2}}
    items = read_pseudo(output, CLASSES)
    assert [path.resolve() for path in items.paths] == [tmp_path / "drive" / f"{index}.png" for index in (0, 1, 3)]
    np.testing.assert_allclose(items.targets, [PROBABILITIES[index] for index in (0, 1, 3)], atol=1e-6)
    assert items.copies.tolist() == [1, 2, 1]
    document = json.loads(output.read_text())
    assert document["rules"] == {"threshold": 0.6, "per_class": 2, "hard": False}
    assert document["teacher"]["name"] == "t"


def test_hard_labels(tmp_path: Path) -> None:
    output = tmp_path / "selected.json"
    select_classification(make_labels(tmp_path / "drive"), output, ClassRules(hard=True))
    assert read_pseudo(output, CLASSES).targets.tolist() == [[1, 0], [0, 1], [1, 0], [1, 0]]


def test_the_same_labels_are_selected_the_same(tmp_path: Path) -> None:
    labels = make_labels(tmp_path / "drive")
    for name in ("one", "other"):
        select_classification(labels, tmp_path / f"{name}.json", ClassRules(per_class=3))
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "other.json").read_bytes()


def test_labels_that_cannot_be_selected_from(tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"no label has a probability of 0\.95: lower the threshold"):
        select_classification(make_labels(tmp_path / "drive"), tmp_path / "selected.json", ClassRules(0.95))
    with pytest.raises(SelectionError, match="labels for detection"):
        select_classification(make_labels(tmp_path / "drive", "detection"), tmp_path / "selected.json", ClassRules())
    assert not (tmp_path / "selected.json").exists()
