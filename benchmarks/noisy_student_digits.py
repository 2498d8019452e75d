#!/usr/bin/env python3
"""Noisy Student (Xie et al., CVPR 2020) scaled down to one CPU core: digits, one tenth of them labelled.

scikit-learn's 1,797 handwritten digits (8x8 px, enlarged) are split for each seed: a quarter is held out for testing;
of the others one tenth is labelled. A teacher learns from the labels and labels the rest. A student of the same size
learns from both with noise, and becomes the next teacher. For comparison there are a student without noise and a
teacher with the student's noise, which separates the effect of pseudo labels from that of noise. All train for the
same number of steps.

    pip install '.[train,scale,bench]'
    python benchmarks/noisy_student_digits.py            # writes docs/noisy_student_digits.{json,md,png}
    python benchmarks/noisy_student_digits.py --quick --output out/digits

Every step uses the package's functions: train_classifier, label, select, train_classifier. Run it again to continue an
interrupted call.
"""

from __future__ import annotations

import json
import logging
import shutil
import sys
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import cv2
import numpy as np
import torch
import typer
from noisy_student_digits_report import write_figure, write_table

from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.evaluate import evaluate
from gaussian_yolo_node.lab.classification.train import CHECKPOINT, train_classifier
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.select_classes import ClassRules, select_classification
from gaussian_yolo_node.lab.noisy_student.tables import ClassificationRow, read_labels
from gaussian_yolo_node.runtime.machine import machine

# Operations that preserve the digit: no flips, no inversion; strokes may tilt, shift, thicken and fade.
OPERATIONS = (
    "auto_contrast", "brightness", "contrast", "sharpness", "cutout", "rotate", "shear_x", "shear_y", "translate_x",
    "translate_y",
)  # fmt: skip
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Settings:
    """Settings shared by all runs of a results file. They were chosen on the seeds 100 and 101."""

    image_size: int = 32
    test_share: float = 0.25
    labelled_share: float = 0.1
    backbone: str = "mobilenet_v2"
    width: float = 0.35
    kernels: str = "5"
    steps: int = 300
    batch_size: int = 24
    unlabelled_ratio: int = 3
    learning_rate: float = 4e-3
    ema_decay: float = 0.99
    threshold: float = 0.3
    mild: dict[str, Any] = field(
        default_factory=lambda: {
            "rand_augment_ops": 0, "dropout": 0.2, "stochastic_depth": 0.0, "least_crop": 0.7, "flip": 0.0
        }
    )  # fmt: skip
    noise: dict[str, Any] = field(
        default_factory=lambda: {
            "rand_augment_ops": 2, "rand_augment_magnitude": 3.0, "operations": list(OPERATIONS), "dropout": 0.2,
            "stochastic_depth": 0.1, "least_crop": 0.7, "flip": 0.0,
        }
    )  # fmt: skip


@dataclass(frozen=True)
class Step:
    """One model: its name, its teacher ("" for none), and its part of the recipe."""

    name: str
    teacher: str
    noise: str


STEPS = (
    Step("teacher", "", "mild"),
    Step("student", "teacher", "noise"),
    Step("student without noise", "teacher", "off"),
    Step("second student", "student", "noise"),
    Step("noised teacher", "", "noise"),
)


def main(
    output: Annotated[Path, typer.Option(help="Where .json, .md and .png go, without ending.")] = Path(
        "docs/noisy_student_digits"
    ),
    work: Annotated[Path, typer.Option(help="Folder of pictures, labels and checkpoints.")] = Path("out/digits"),
    quick: Annotated[bool, typer.Option("--quick", help="A minute's worth: one seed, few steps.")] = False,
    seeds: Annotated[str, typer.Option(help="With commas.")] = ",".join(map(str, SEEDS)),
) -> None:
    """Train teachers and students; those in OUTPUT.json are not trained again."""
    logging.basicConfig(level=logging.WARNING)
    torch.set_num_threads(1)  # the networks are too small for several threads
    settings = Settings(steps=8, threshold=0.0) if quick else Settings()
    wanted = [int(seed) for seed in seeds.split(",")][: 1 if quick else None]
    path = output.with_suffix(".json")
    results = read_results(path, settings)
    output.parent.mkdir(parents=True, exist_ok=True)
    for seed in wanted:
        results["data"] = write_digits(work / str(seed), seed, settings)
    # Step by step, so that an early stop leaves complete comparisons.
    for step, seed in product(STEPS, wanted):
        key = f"{step.name} {seed}"
        if key not in results["runs"]:
            started = perf_counter()
            found = run(step, seed, work / str(seed), settings)
            results["runs"][key] = {"name": step.name, "seed": seed, **found}
            write_results(path, results)
            print(f"{key:26} {found['top1']:7.2%}  {perf_counter() - started:4.0f} s", flush=True)
    write_table(results, output.with_suffix(".md"))
    write_figure(results, output.with_suffix(".png"))
    print(output.with_suffix(".md").read_text(encoding="utf-8"))


def run(step: Step, seed: int, folder: Path, settings: Settings) -> dict[str, Any]:
    """Train one model, with its teacher's labels if any; returns top-1 on the held-out digits, and counts."""
    place = folder / step.name.replace(" ", "_")
    figures: dict[str, Any] = {}
    config = recipe(step, seed, folder, settings)
    if step.teacher:
        given = folder / step.teacher.replace(" ", "_") / "labels"
        label([str(folder / "unlabelled")], str(given.parent / CHECKPOINT), given)
        labels = read_labels(given)
        rules = ClassRules(settings.threshold, len(labels.rows) // 10)
        figures = select_classification(labels, place / "selected.json", rules)
        config = replace(config, data=replace(config.data, pseudo=str((place / "selected.json").resolve())))
        truths = {image.name: image.parent.name for image in (folder / "truth").rglob("*.png")}
        rows = [row for row in labels.rows if isinstance(row, ClassificationRow)]
        likeliest = [labels.teacher["classes"][int(row.probabilities.argmax())] for row in rows]
        right = [truths[Path(row.image).name] == name for row, name in zip(rows, likeliest, strict=True)]
        figures = {"showings": figures["showings"], "pseudo_top1": sum(right) / len(right)}
    checkpoint = train_classifier(config, place, resume=(place / CHECKPOINT).exists())
    return {**evaluate(checkpoint, folder / "test"), **figures}


def recipe(step: Step, seed: int, folder: Path, settings: Settings) -> ClassifierConfig:
    """The recipe, with equal steps for all, so that a student's gain is not due to longer training."""
    labelled = sum(1 for _ in (folder / "labelled").rglob("*.png"))
    each = -(-labelled // settings.batch_size)
    noise = settings.noise if step.noise != "mild" else settings.mild
    document = {
        "kind": "classification",
        "name": step.name,
        "data": {"root": str(folder), "train": "labelled", "workers": 1},
        "model": {
            "backbone": settings.backbone,
            "options": {"width": settings.width, "kernels": settings.kernels},
            "image_size": settings.image_size,
            "crop_fraction": 1.0,
        },
        "noise": {**noise, "enabled": step.noise != "off"},
        "schedule": {
            "epochs": settings.steps / each,
            "batch_size": settings.batch_size,
            "unlabelled_ratio": settings.unlabelled_ratio,
            "learning_rate": settings.learning_rate,
            "ema_decay": settings.ema_decay,
            "warmup_steps": settings.steps // 10,
            "seed": seed,
        },
    }
    return ClassifierConfig.from_dict(document, step.name)


def write_digits(folder: Path, seed: int, settings: Settings) -> dict[str, int]:
    """Write the split of a seed as folders; returns numbers of images. `truth` is used only for the report."""
    try:
        from sklearn import datasets
    except ImportError:
        sys.exit("the digits are in scikit-learn: pip install '.[bench]'")
    bunch = datasets.load_digits()
    order = np.random.default_rng([seed, len(bunch.target)]).permutation(len(bunch.target))
    test = round(len(order) * settings.test_share)
    labelled = round((len(order) - test) * settings.labelled_share)
    parts = {"test": order[:test], "labelled": order[test : test + labelled], "truth": order[test + labelled :]}
    counts = {name.replace("truth", "unlabelled"): len(indices) for name, indices in parts.items()}
    if (folder / "unlabelled").exists():
        return counts
    shutil.rmtree(folder, ignore_errors=True)
    for name, indices in parts.items():
        for index in indices:
            picture = enlarged(bunch.images[index], settings.image_size)
            place = folder / name / str(bunch.target[index]) / f"{index:04}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), picture)
    # File names must not reveal the class to the teacher. Renamed at the end, so that a split is written atomically.
    hidden = folder / "hidden"
    hidden.mkdir()
    for picture_path in sorted((folder / "truth").rglob("*.png")):
        shutil.copyfile(picture_path, hidden / picture_path.name)
    hidden.rename(folder / "unlabelled")
    return counts


def enlarged(values: Any, side: int) -> Any:
    """Values 0..16 `[8,8]` as uint8 `[side,side]`."""
    grey = np.clip(np.asarray(values) * 16, 0, 255).astype(np.uint8)
    return cv2.resize(grey, (side, side), interpolation=cv2.INTER_LINEAR)


def read_results(path: Path, settings: Settings) -> dict[str, Any]:
    """The results of an earlier, unfinished call, or empty results; rejects results of other settings."""
    shared = json.loads(json.dumps(asdict(settings)))
    if not path.exists():
        return {
            "settings": shared,
            "machine": f"{machine()}, one thread; torch {torch.__version__}",
            "data": {},
            "runs": {},
        }
    results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if results["settings"] != shared:
        sys.exit(f"{path} is of other settings ({results['settings']}); remove it or give another --output")
    return results


def write_results(path: Path, results: dict[str, Any]) -> None:
    write_whole(path, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
