#!/usr/bin/env python3
r"""Gain of Noisy Student for a detector, with and without the use of sigmas (docs/paper_facts.md, section 4).

Each seed draws a third of the labelled frames for the teacher, which starts from COCO's weights: random frames of
KITTI's object set, and a contiguous section of each of two drives and of CamVid's, because neighbours of a labelled
frame are nearly labelled. The teacher labels all other frames of the four. Each student continues from the teacher's
weights for the same number of steps, with the noise of `NOISE` or without. `anew` starts from COCO's weights with
noise, like the paper's students, for as many steps as teacher and student. `continued` is the control: the same number
of further steps with only the teacher's labels. The averaged weights of the last epoch are measured on three sets:
average precision, and how many errors lie within one sigma.

    pip install '.[train,cpu,scale,bench]'
    python benchmarks/noisy_student_detection.py --data DATA --report docs
    python benchmarks/noisy_student_detection.py --data DATA --report docs --length 3 --jobs 12 \
        --variants continued,score,weighed,noised    # on a GPU

DATA holds kitti/, camvid/ and, beside it, weights/yolox_nano_coco.onnx. Run it again to continue an interrupted call.
"""

from __future__ import annotations

import copy
import json
import logging
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from detector_trainings import Data, Deadline, Minutes, Seeds, Threads, parse_seeds, result
from noisy_student_report import write_figure, write_table

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.noisy_student.detector_steps import DetectorSteps, select_detections
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.select_boxes import BoxRules
from gaussian_yolo_node.lab.operating_points import LabelledSet, load_sets
from gaussian_yolo_node.lab.training.train import CHECKPOINT
from gaussian_yolo_node.processes import run_until_signal

NAME = "noisy_student_detection"
SHARE = 1 / 3  # of the labelled frames, for the teacher
# Images and labels of the frames to learn from.
DRIVES = {
    "object": ("kitti/object/image_2", "kitti/object/label_2"),
    "drive_0095_right": ("kitti/drive_0095_right/image", "kitti/drive_0095_right/label_2"),
    "drive_0052": ("kitti/drive_0052/image", "kitti/drive_0052/label_2"),
    "camvid": ("camvid/image", "camvid/label_2"),
}
STRETCHES = ("drive_0095_right", "camvid")
# Frames of validation sets, as patterns of their stems.
LEAKS = {"object": ("000087", "000097"), "camvid": ("Seq05VD_*",)}
WEIGHTS = {"object": 2.0, "drive_0095_right": 0.5, "drive_0052": 2.0, "camvid": 0.5}
POSITIVE, IGNORE, MAX_SIGMA = 0.4, 0.1, 0.25
NOISE = {
    "augment": {"rand_augment_ops": 1, "rand_augment_magnitude": 5.0},
    "model": {"dropout": 0.1},  # csp_darknet_nano has no stochastic depth
}
TEACHER = {"epochs": 60, "mosaic_off_epochs": 9, "learning_rate": 0.001}
STUDENT = {"epochs": 30, "mosaic_off_epochs": 5, "learning_rate": 0.0005, "ema_decay": 0.998}
LABELLED_ALONE = 2  # epochs for the same number of steps


@dataclass(frozen=True)
class Variant:
    """One kind of student. rules: None for no pseudo labels; anew: start from COCO's weights."""

    title: str
    rules: BoxRules | None
    noise: bool = False
    anew: bool = False


BY_SCORE = BoxRules(POSITIVE, IGNORE, weights="none")
BY_SIGMA = BoxRules(POSITIVE, IGNORE, MAX_SIGMA, weights="none")
WEIGHED = BoxRules(POSITIVE, IGNORE, MAX_SIGMA)
VARIANTS = {
    "continued": Variant("teacher, continued on its labels", None),
    "score": Variant("student, boxes by score", BY_SCORE),
    "filtered": Variant("student, boxes by score and sigma", BY_SIGMA),
    "weighed": Variant("student, by score and sigma, weighed by sigma", WEIGHED),
    "noised": Variant("the same under noise", WEIGHED, noise=True),
    "anew": Variant("the same under noise, from COCO's weights", WEIGHED, noise=True, anew=True),
}


def main(
    data: Data,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the trainings and their results.", show_default=f"out/{NAME}")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder to write table, figure and numbers to.", show_default="OUTPUT")
    ] = None,
    recipe: Annotated[Path, typer.Option(help="Training recipe, YAML.")] = Path(
        "benchmarks/noisy_student_detection.yaml"
    ),
    seeds: Seeds = "0,1,2",
    length: Annotated[int, typer.Option(min=1, help="Times as many epochs of the students.")] = 1,
    variants: Annotated[str, typer.Option(help="Students, with commas between.")] = ",".join(VARIANTS),
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time.")] = 1,
    workers: Annotated[int, typer.Option(min=0, help="Processes of a training that make its batches.")] = 1,
    threads: Threads = 0,
    minutes: Minutes = 0,
) -> None:
    """Train teachers and students, evaluate, compare; finished trainings in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name = NAME if length == 1 else f"{NAME}_x{length}"
    output = output or Path("out") / name
    try:
        base = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        base["schedule"]["workers"] = workers
        numbers = parse_seeds(seeds)
        students = {one: VARIANTS[one] for one in variants.replace(",", " ").split()}
    except KeyError as error:
        sys.exit(f"--variants: there is no {error}; there are {', '.join(VARIANTS)}")
    except OSError as error:
        sys.exit(f"error: {error}")
    try:
        sets = load_sets(base["data"]["validation"], data, base["model"]["classes"])
        experiment = Experiment(base, data.resolve(), output, length, threads, sets)
        deadline = Deadline(minutes)
        results = in_turn(jobs, [partial(experiment.teacher, seed) for seed in numbers], deadline)
        results += in_turn(
            jobs,
            [partial(experiment.student, seed, one) for seed in numbers[: len(results)] for one in students],
            deadline,
        )
    except (GaussianYoloError, OSError) as error:
        sys.exit(f"error: {error}")
    folder = report or output
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "seeds": numbers,
        "length": length,
        "noise": NOISE,
        "results": results,
    }
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    titles = {"teacher": "teacher", **{key: one.title for key, one in students.items()}}
    write_table(document, titles, folder / f"{name}.md", folder / f"{name}.png")
    write_figure(results, titles, folder / f"{name}.png")
    print((folder / f"{name}.md").read_text(encoding="utf-8"))


def in_turn(jobs: int, trainings: list[Callable[[], dict[str, Any]]], deadline: Deadline) -> list[dict[str, Any]]:
    """Results of trainings, `jobs` at a time, in order; one at a time, those that were begun before the deadline."""
    if jobs == 1:
        return [train() for train in trainings if not deadline.passed]
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        return [job.result() for job in [pool.submit(train) for train in trainings]]


@dataclass(frozen=True)
class Experiment:
    """Settings of all trainings; length: factor of the students' epochs."""

    base: dict[str, Any]
    data: Path
    output: Path
    length: int
    threads: int
    sets: Sequence[LabelledSet]

    def teacher(self, seed: int) -> dict[str, Any]:
        """Train and label with a seed's teacher; returns its figures."""
        place = self._place(seed)
        labelled = draw_labelled(self.data, seed)
        found = self._trained("teacher", seed, self._teacher_recipe(seed, labelled))
        pictures = unlabelled_folder(self.data, labelled, place)
        model = DetectorSteps(seed).deploy(place / "teacher", f"teacher_{seed}")
        label([str(pictures)], str(model), place / "labels", score_threshold=0.05)
        return found

    def student(self, seed: int, name: str) -> dict[str, Any]:
        """Select labels of a seed's teacher and train on them; returns figures and selection counts."""
        place = self._place(seed)
        labelled = draw_labelled(self.data, seed)
        selected, counts = place / f"selected_{name}.json", {}
        rules = VARIANTS[name].rules
        if rules is not None:
            counts = select_detections(place / "labels", selected, rules)
        teacher = self._teacher_recipe(seed, labelled)
        document = student_recipe(
            teacher, name, place, selected, counts.get("images", 0), weight_of(labelled), self.length
        )
        return {**self._trained(name, seed, document), "selected": counts}

    def _place(self, seed: int) -> Path:
        place = self.output / f"seed{seed}"
        place.mkdir(parents=True, exist_ok=True)
        return place

    def _teacher_recipe(self, seed: int, labelled: dict[str, list[str]]) -> dict[str, Any]:
        lists = write_lists(labelled, self._place(seed))
        return teacher_recipe(self.base, seed, self.data, lists)

    def _trained(self, name: str, seed: int, document: dict[str, Any]) -> dict[str, Any]:
        return result(name, seed, document, self._place(seed) / name, self.data, self.sets, self.threads)


def draw_labelled(data: Path, seed: int) -> dict[str, list[str]]:
    """Stems of the frames labelled for the teacher, for each of `DRIVES`."""
    rng = np.random.default_rng(seed)
    drawn = {}
    for drive, (_, labels) in DRIVES.items():
        stems = sorted(path.stem for path in (data / labels).glob("*.txt") if not leaks(drive, path.stem))
        count = max(1, round(SHARE * len(stems)))
        if drive in STRETCHES:
            start = int(rng.integers(len(stems) - count + 1))
            drawn[drive] = stems[start : start + count]
        else:
            drawn[drive] = sorted(str(stem) for stem in rng.permutation(stems)[:count])
    return drawn


def leaks(drive: str, stem: str) -> bool:
    """Whether a frame belongs to a validation set."""
    return any(fnmatch(stem, pattern) for pattern in LEAKS.get(drive, ()))


def weight_of(labelled: dict[str, list[str]]) -> float:
    """Number of labelled images per epoch."""
    return sum(WEIGHTS[drive] * len(stems) for drive, stems in labelled.items())


def write_lists(labelled: dict[str, list[str]], place: Path) -> dict[str, str]:
    """Write one list file per drive."""
    for drive, stems in labelled.items():
        (place / f"{drive}.txt").write_text("".join(f"{stem}\n" for stem in stems), encoding="utf-8")
    return {drive: str((place / f"{drive}.txt").resolve()) for drive in labelled}


def unlabelled_folder(data: Path, labelled: dict[str, list[str]], place: Path) -> Path:
    """A folder of links to all frames without labels for the teacher."""
    pictures = place / "unlabelled"
    for number, (drive, (images, _)) in enumerate(DRIVES.items()):
        folder = pictures / f"{number}_{drive}"
        folder.mkdir(parents=True, exist_ok=True)
        for path in sorted((data / images).iterdir()):
            link = folder / path.name
            if path.stem not in labelled[drive] and not leaks(drive, path.stem) and not link.exists():
                link.symlink_to(path.resolve())
    return pictures


def teacher_recipe(base: dict[str, Any], seed: int, data: Path, lists: dict[str, str]) -> dict[str, Any]:
    """The recipe with the drawn labels as data. It does not validate: no epoch is picked by its accuracy."""
    document = copy.deepcopy(base)
    document["name"] = f"{NAME}_teacher"
    document["data"]["root"] = str(data)
    document["data"]["train"] = [
        {"format": "kitti", "images": images, "labels": labels, "list": lists[drive], "weight": WEIGHTS[drive]}
        for drive, (images, labels) in DRIVES.items()
    ]
    document["data"]["validation"] = []
    document["schedule"] |= {**lengthened(TEACHER, 1), "seed": seed}
    return document


def lengthened(schedule: dict[str, Any], length: int) -> dict[str, Any]:
    """`length` times as many epochs."""
    return {**schedule, **{key: schedule[key] * length for key in ("epochs", "mosaic_off_epochs")}}


def student_recipe(
    teacher: dict[str, Any], name: str, place: Path, selected: Path, images: int, labelled: float, length: int
) -> dict[str, Any]:
    """The teacher's recipe, from its weights, with as many pseudo-labelled as labelled images per epoch."""
    variant, document = VARIANTS[name], copy.deepcopy(teacher)
    document["name"] = f"{NAME}_{name}"
    times = length if variant.rules is not None else length * LABELLED_ALONE
    document["schedule"] |= lengthened(TEACHER if variant.anew else STUDENT, times)
    if not variant.anew:
        document["model"]["init"] = str((place / "teacher" / CHECKPOINT).resolve())
    if variant.rules is not None:
        source = {"format": "pseudo", "labels": str(selected.resolve()), "weight": round(labelled / images, 4)}
        document["data"]["train"].append(source)
    if variant.noise:
        for section, values in NOISE.items():
            document[section] = {**(document.get(section) or {}), **values}
    return document


if __name__ == "__main__":
    run_until_signal(lambda: typer.run(main))
