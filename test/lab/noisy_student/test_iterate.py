"""Chains of teachers and students: complete, interrupted, and invalid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
pytest.importorskip("pyarrow", reason="pyarrow is not installed (extra 'scale')")

from training_runs import make_document

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.noisy_student import detector_steps
from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig
from gaussian_yolo_node.lab.noisy_student.iterate import Student, check_chain, iterate, select, steps_of, train
from gaussian_yolo_node.lab.noisy_student.manifest import ManifestError
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.lab.training.config import ConfigError

REPOSITORY = Path(__file__).resolve().parents[3]
# A network trained for one epoch has low scores.
UNSURE = {"positive": 0.0, "ignore": 0.0, "max_sigma": None}


def make_chain(folder: Path, **changes: Any) -> Path:
    """Data, recipes and config of a chain of two students below `folder`; the labelled images are also unlabelled."""
    recipe = make_document(folder / "data", epochs=1)
    recipe["data"]["validation"] = [
        {"format": "kitti", "images": "image", "labels": "label"},
    ]
    (folder / "teacher.yaml").write_text(yaml.safe_dump(recipe))
    recipe["model"] |= {"dropout": 0.1}
    recipe["augment"] = {"rand_augment_ops": 2}
    (folder / "student.yaml").write_text(yaml.safe_dump(recipe))
    document = {
        "kind": "detection",
        "teacher_recipe": "teacher.yaml",
        "data": str(folder / "data"),
        "unlabelled": ["image"],
        "score_threshold": 0.001,
        "rounds": [
            {"name": "one", "recipe": "student.yaml", "select": UNSURE},
            {"name": "two", "recipe": "student.yaml", "ratio": 2, "start_from_teacher": True, "select": UNSURE},
        ],
        **changes,
    }
    path = folder / "chain.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in document.items() if value is not None}))
    return path


def times(output: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in output.rglob("*.*") if path.name != "manifest.json"}


class Finished(NamedTuple):
    """A chain that was interrupted in the training of its first student: `before` has the times of its files then."""

    folder: Path
    students: Sequence[Student]
    before: dict[str, int]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A chain that is run once for all tests; its outputs are in `out`."""
    folder = tmp_path_factory.mktemp("chain")
    chain, output, whole = make_chain(folder), folder / "out", detector_steps.run

    def stopped(recipe: Path, *arguments: Any, **options: Any) -> Path:
        if recipe.parent.name == "1_one":
            raise KeyboardInterrupt
        return whole(recipe, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(detector_steps, "run", stopped)
        with pytest.raises(KeyboardInterrupt):
            iterate(chain, output)
    before = times(output)
    return Finished(folder, iterate(chain, output), before)


def test_a_chain_is_run_once_and_each_student_teaches_the_next(finished: Finished) -> None:
    folder, students, _ = finished
    chain, output = folder / "chain.yaml", folder / "out"
    assert [student.name for student in students] == ["0_teacher", "1_one", "2_two"]
    assert list(json.loads((output / "manifest.json").read_text())["steps"]) == [
        "0_teacher train", "1_one label", "1_one select", "1_one train", "2_two label", "2_two select", "2_two train",
    ]  # fmt: skip
    for student in students[1:]:
        assert student.steps["label"].counts["images"] == 4
        assert "AP50 car" in student.steps["train"].counts
    hashes = [json.loads((output / name / "labels/labels.json").read_text())["teacher"]["hash"]
              for name in ("1_one", "2_two")]  # fmt: skip
    assert hashes[0] != hashes[1]
    recipe = yaml.safe_load((output / "2_two/recipe.yaml").read_text())
    assert recipe["model"]["init"] == str(students[1].checkpoint)
    # Four labelled images, two repetitions each, and twice as many repetitions of four others.
    assert recipe["data"]["train"][-1]["weight"] == 4
    before = times(output)
    assert iterate(chain, output) == students
    assert times(output) == before


def test_an_interrupted_chain_goes_on(finished: Finished) -> None:
    made = {Path(path).name for path in finished.before}
    assert {"last.pt", "selected.json", "recipe.yaml"} <= made
    assert {path: time for path, time in times(finished.folder / "out").items() if path in finished.before} == (
        finished.before
    )


def test_another_chain_in_the_same_folder_is_refused(finished: Finished) -> None:
    folder = finished.folder
    chain = yaml.safe_load((folder / "chain.yaml").read_text())
    chain["rounds"] = [{"name": "one", "recipe": "student.yaml", "select": {**UNSURE, "weights": "none"}}]
    (folder / "another.yaml").write_text(yaml.safe_dump(chain))
    with pytest.raises(ManifestError, match="step '1_one select' was made with another select"):
        iterate(folder / "another.yaml", folder / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "segmentation"}, "kind must be one of detection, classification"),
        ({"kind": None}, "kind is missing; it must be one of detection, classification"),
        ({"teacher": "a.onnx", "teacher_recipe": None, "kind": "classification"}, "a.onnx must be the checkpoint"),
        ({"teacher": "a.pt", "teacher_recipe": None}, "a.pt must be a shipped model or a model file: `gaussian-yolo"),
        ({"teacher": "a.onnx"}, "give either 'teacher', a model, or 'teacher_recipe'"),
        ({"teacher_recipe": None}, "give either 'teacher'"),
        ({"teacher_recipe": "gone.yaml"}, "there is no recipe .*gone.yaml"),
        ({"unlabelled": []}, "unlabelled must be a list of at least one source of images, not \\[\\]"),
        ({"rounds": []}, "rounds must be a list of at least one student, with name and recipe"),
        ({"rounds": [{"name": "a"}]}, r"rounds\[0\].recipe is missing"),
        (
            {"rounds": [{"name": "a/b", "recipe": "student.yaml"}]},
            "rounds\\[0\\].name must be the name of a folder, not 'a/b'",
        ),
        ({"rounds": [{"name": "a", "recipe": "student.yaml"}] * 2}, "two rounds have the name 'a'"),
        ({"rounds": [{"name": "a", "recipe": "gone.yaml"}]}, "there is no recipe"),
        (
            {"rounds": [{"name": "a", "recipe": "student.yaml", "ratio": 0}]},
            "rounds\\[0\\].ratio must be a number above 0 and below 1000, not 0",
        ),
        (
            {"rounds": [{"name": "a", "recipe": "student.yaml", "speed": 1}]},
            r"unknown field rounds\[0\].speed; known: name, recipe",
        ),
        ({"workers": 0}, "workers must be a whole number at least 1, not 0"),
        ({"colour": "red"}, "chain.yaml: unknown field colour"),
    ],
)
def test_a_chain_that_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ChainConfig.load(make_chain(tmp_path, **changes))


def broken(folder: Path, **changes: Any) -> str:
    """A student's recipe with changes to its sections."""
    document = yaml.safe_load((folder / "student.yaml").read_text())
    for section, values in changes.items():
        document[section] |= values
    (folder / "broken.yaml").write_text(yaml.safe_dump(document))
    return "broken.yaml"


@pytest.mark.parametrize(
    ("changes", "recipe", "message"),
    [
        ({"unlabelled": ["image", "imaeg"]}, {}, "imaeg"),
        ({}, {"model": {"classes": None}}, "broken.yaml: model.classes must be a list"),
        ({}, {"data": {"train": [{"format": "kitti", "images": "image", "labels": "gone"}]}}, "gone"),
        ({}, {"data": {"validation": [{"format": "coco", "images": "image", "labels": "label"}]}}, "kitti only"),
        ({"select": {"max_sigmas": 0.2}}, {}, "the selection: unknown field max_sigmas; did you mean max_sigma"),
        ({"start_from_teacher": True}, {"model": {"backbone": "csp_darknet_nano", "neck": "csp"}},
         "broken.yaml cannot start_from_teacher: no weight of the teacher fits the model"),
        ({"teacher": "csp_nano_driving", "teacher_recipe": None, "start_from_teacher": True}, {},
         r"broken.yaml cannot start_from_teacher: .*csp_nano_driving.onnx has \d+ convolutions where"),
        ({"teacher": "gone.onnx", "teacher_recipe": None}, {}, "gone.onnx"),
    ],
)  # fmt: skip
def test_the_whole_chain_is_checked_before_anything_begins(
    tmp_path: Path, changes: dict[str, Any], recipe: dict[str, Any], message: str
) -> None:
    make_chain(tmp_path)
    of_round = {key: value for key, value in changes.items() if key in ("select", "start_from_teacher")}
    of_chain = {key: value for key, value in changes.items() if key not in of_round}
    last = {"name": "two", "recipe": broken(tmp_path, **recipe), **of_round}
    first = [] if "teacher" in changes else [{"name": "one", "recipe": "student.yaml"}]
    chain = make_chain(tmp_path, rounds=[*first, last], **of_chain)
    with pytest.raises(GaussianYoloError, match=message):
        iterate(chain, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_shipped_detector_starts_a_student_of_its_kind(tmp_path: Path) -> None:
    """What docs/noisy_student.md shows: the default model teaches and starts a student."""
    make_chain(tmp_path)
    default = yaml.safe_load((REPOSITORY / "engines/csp_nano_driving.yaml").read_text())
    recipe = broken(tmp_path, model={**default["model"], "init": "", "classes": ["car", "pedestrian", "cyclist"]})
    one = {"name": "one", "recipe": recipe, "start_from_teacher": True}
    config = ChainConfig.load(make_chain(tmp_path, rounds=[one], teacher="csp_nano_driving", teacher_recipe=None))
    check_chain(config, steps_of("detection", None))
    written = steps_of("detection", None).recipe(tmp_path / recipe, None, None, None, None)
    assert written["data"]["root"] == str(tmp_path / "data")


def test_selecting_with_an_option_that_there_is_not() -> None:
    with pytest.raises(SelectionError, match="the selection: unknown field hard; known: positive, ignore"):
        detector_steps.rules_of({"hard": True})
    with pytest.raises(SelectionError, match="positive must be a number at least 0 and at most 1, not 'high'"):
        detector_steps.rules_of({"positive": "high"})


def test_a_recipe_of_no_kind_of_student(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("kind: segmentation\n")
    with pytest.raises(ConfigError, match="kind must be classification or detection, not 'segmentation'"):
        train(tmp_path / "recipe.yaml", tmp_path / "out")


def test_nothing_sure_enough_is_said(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"nothing in .* is sure enough"):
        select(finished.folder / "out/1_one/labels", tmp_path / "selected.json", {"positive": 1.0})


def make_classified(folder: Path) -> Path:
    """Two classes of three bright or dark images each, six unlabelled images, and the config of a chain."""
    rng = np.random.default_rng(0)
    for name, count in (("data/labelled/bright", 3), ("data/labelled/dark", 3), ("data/unlabelled", 6)):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            bright = name.endswith("bright") or (name.endswith("unlabelled") and index % 2)
            picture = rng.integers(*((150, 255) if bright else (0, 100)), (16, 16, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{index}.png"), picture)
    recipe = {
        "kind": "classification",
        "name": "brightness",
        "data": {"train": "labelled", "validation": "labelled"},
        "model": {"backbone": "mobilenet_v2", "image_size": 16},
        "schedule": {"epochs": 1, "batch_size": 4, "warmup_steps": 1},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    chain = {
        "kind": "classification",
        "teacher_recipe": "recipe.yaml",
        "data": str(folder / "data"),
        "unlabelled": ["unlabelled"],
        "seed": 3,
        "rounds": [
            {"name": "one", "recipe": "recipe.yaml", "ratio": 1.5, "select": {"threshold": 0.0, "per_class": 4}},
            {"name": "two", "recipe": "recipe.yaml", "start_from_teacher": True, "select": {"threshold": 0.0}},
        ],
    }
    path = folder / "chain.yaml"
    path.write_text(yaml.safe_dump(chain))
    return path


def test_a_chain_of_classifiers(tmp_path: Path) -> None:
    chain, output = make_classified(tmp_path), tmp_path / "out"
    students = iterate(chain, output)
    assert [student.model.name for student in students] == ["last.pt"] * 3
    assert [student.steps["label"].counts["images"] for student in students[1:]] == [6, 6]
    recipe = yaml.safe_load((output / "1_one/recipe.yaml").read_text())
    assert recipe["schedule"]["unlabelled_ratio"] == 1.5 and recipe["schedule"]["seed"] == 3
    recipe = yaml.safe_load((output / "2_two/recipe.yaml").read_text())
    assert recipe["model"]["init"] == str(students[1].checkpoint)
    before = times(output)
    assert iterate(chain, output) == students and times(output) == before
    with pytest.raises(SelectionError, match="the selection: unknown field max_sigma; known: threshold"):
        select(output / "1_one/labels", tmp_path / "selected.json", {"max_sigma": 0.1})
