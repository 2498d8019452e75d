#!/usr/bin/env python3
"""Gain of the Gaussian loss and of the detection criterion (Choi et al., ICCV 2019, Tables 3 to 5) with one recipe.

Each seed trains the recipe twice, with YOLOv3's loss and with Gaussian YOLOv3's; everything else, including the initial
weights, is the same. The Gaussian network is scored twice: by objectness times class, ignoring sigma (criterion
`confidence`), and by the detection criterion (`gaussian`). This separates the gain of the loss from the gain of the
criterion. Evaluation uses float32 ONNX files on each of the recipe's validation sets: average precision per class, true
and false positives above score 0.5, and false positives at equal recall.

    pip install '.[train,cpu,bench]'
    python benchmarks/gaussian_vs_plain.py --data DATA --report docs    # writes docs/gaussian_vs_plain.{md,png}
    python benchmarks/gaussian_vs_plain.py --data DATA --epochs 2 --seeds 0 --output out/quick

Run it again to continue an interrupted call.
"""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from detector_trainings import Output, Recipe, Seeds, Threads, parse_seeds, trained
from gaussian_vs_plain_report import write_figure, write_table

from gaussian_yolo_node.detector.canvas import fitting_canvas
from gaussian_yolo_node.detector.decode import Criterion
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.bdd import judge_class
from gaussian_yolo_node.evaluation.paired import Paired, covers_any, pair
from gaussian_yolo_node.lab.operating_points import EVALUATED_SCORE, LabelledSet, average_precision, load_sets
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.labels.images import image_size, read_image
from gaussian_yolo_node.labels.labelled_frames import FramePredictions
from gaussian_yolo_node.runtime import RuntimeOptions
from gaussian_yolo_node.runtime.base import parse_size, show_size

NAME = "gaussian_vs_plain"
# Loss -> variants of scoring its network, each with its detection criterion.
VARIANTS: dict[str, dict[str, Criterion]] = {
    "yolov3": {"plain": "confidence"},
    "gaussian": {"gaussian loss": "confidence", "gaussian loss and criterion": "gaussian"},
}
COUNT_SCORE = 0.5
COUNT_IOUS = (0.75, 0.5)  # BDD's, and a lower one for boxes learned from little data
# A detection with this share of its area in an ignore region is not counted, as in the KITTI evaluation.
IGNORED_SHARE = 0.5


@dataclass(frozen=True)
class Changes:
    """Changes to the recipe file; None keeps a value. Sizes are height and width, px."""

    epochs: int | None
    input_size: tuple[int, int]
    crop_size: tuple[int, int]
    batch_size: int | None


@dataclass(frozen=True)
class Experiment:
    """Settings of all trainings; data is a folder, sets are the evaluation sets, 0 threads is torch's default."""

    recipe: dict[str, Any]
    changes: Changes
    output: Path
    data: Path
    sets: Sequence[LabelledSet]
    threads: int


def main(
    recipe: Recipe = Path("engines/csp_nano_driving.yaml"),
    output: Output = Path(f"out/{NAME}"),
    report: Annotated[
        Path | None, typer.Option(help="Folder to write the table and the figure to.", show_default="OUTPUT")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="the recipe's")] = None,
    seeds: Seeds = "0,1,2",
    epochs: Annotated[int | None, typer.Option(min=1, show_default="the recipe's")] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Canvas that the networks run on.")] = "192x640",
    crop: Annotated[str, typer.Option(metavar="HxW", help="Canvas that they learn on.")] = "160x448",
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step.", show_default="the recipe's")] = None,
    threads: Threads = 0,
) -> None:
    """Train, score, compare; finished trainings in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        changes = Changes(epochs, parse_size(size), parse_size(crop, "--crop"), batch)
        config = TrainConfig.load(recipe)
        root = data or Path(config.data.root)
        sets = load_sets(config.data.validation, root, config.model.classes)
        document: dict[str, Any] = yaml.safe_load(recipe.read_text(encoding="utf-8"))
        document["model"]["init"] = config.model.init  # the path is relative to the recipe
        experiment = Experiment(document, changes, output, root, sets, threads)
        results = [result(experiment, loss, seed) for seed in parse_seeds(seeds) for loss in VARIANTS]
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    folder = report or output
    folder.mkdir(parents=True, exist_ok=True)
    write_table(results, command(recipe, changes, seeds), folder / f"{NAME}.md")
    write_figure(results, folder / f"{NAME}.png")
    print((folder / f"{NAME}.md").read_text(encoding="utf-8"))


def result(experiment: Experiment, loss: str, seed: int) -> dict[str, Any]:
    """The results in OUTPUT/LOSS_seedN.json of this training; see `detector_trainings.trained`."""
    document = derive(experiment.recipe, loss, seed, experiment.changes)
    folder, threads = experiment.output / f"{loss}_seed{seed}", experiment.threads
    head = {"loss": loss, "seed": seed, "recipe": document, "torch": torch.__version__}
    return trained(
        document, loss, seed, folder, experiment.data, threads,
        lambda checkpoint, config, minutes: {**head, "variants": score(checkpoint, loss, experiment.sets, threads)},
    )  # fmt: skip


def derive(recipe: dict[str, Any], loss: str, seed: int, changes: Changes) -> dict[str, Any]:
    """The recipe with its changes, for one loss and seed.

    The last epoch's weights are evaluated. Training does not validate, so no epoch is selected by its accuracy.
    """
    document = copy.deepcopy(recipe)
    document["name"] = f"{NAME}_{loss}"
    model, schedule = document["model"], document["schedule"]
    document["data"]["validation"] = []
    schedule["patience"] = 0
    schedule["seed"] = seed
    document["loss"] = {**(document.get("loss") or {}), "kind": loss}
    # Objects shrink with the canvas, and so do their anchors.
    shrink = min(new / old for new, old in zip(changes.input_size, model["input_size"], strict=True))
    model["anchors"] = [[[round(side * shrink, 1) for side in a] for a in head] for head in model["anchors"]]
    model["input_size"] = list(changes.input_size)
    schedule["crop_size"] = list(changes.crop_size)
    if changes.batch_size is not None:
        schedule["batch_size"] = changes.batch_size
    if changes.epochs is not None:
        share = changes.epochs / schedule["epochs"]
        schedule["mosaic_off_epochs"] = round(schedule.get("mosaic_off_epochs", 0) * share)
        schedule["epochs"] = changes.epochs
    return document


def score(
    checkpoint: Path, loss: str, sets: Sequence[LabelledSet], threads: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Average precisions and detection counts of each variant of `VARIANTS` on each set.

    Raises:
        GaussianYoloError: the network cannot be run, or a frame cannot be read.
    """
    model = checkpoint.with_name("model.onnx")
    card = export_checkpoint(checkpoint, model)
    scored: dict[str, dict[str, dict[str, Any]]] = {variant: {} for variant in VARIANTS[loss]}
    for each in sets:
        canvas = fitting_canvas(image_size(each.images[0]), card.input_size)
        options = RuntimeOptions(threads, "fp32", input_size=canvas)
        with Detector.open(model, options=options, score_threshold=EVALUATED_SCORE) as detector:
            for variant, criterion in VARIANTS[loss].items():
                detector.criterion = criterion
                paired = pair(each.truths, predictions(detector, each))
                scored[variant][each.name] = {**average_precision(paired), **count(paired)}
    return scored


def predictions(detector: Detector, of: LabelledSet) -> list[FramePredictions]:
    """A detector's detections on a set."""
    return [FramePredictions(path.name, detector(read_image(path)), detector.card.classes) for path in of.images]


def count(paired: Paired) -> dict[str, Any]:
    """True and false positives of all classes above `COUNT_SCORE`, by BDD's protocol at each of `COUNT_IOUS`.

    False positives on ignore regions are not counted. `wrong_before`: number of false positives with a higher score
    than the first, second, .. true positive, at IoU 0.5 and without a score threshold.
    """
    scores, ignored = paired.detections.scores, paired.truths.ignored | (paired.truth_classes == "")
    ignorable = covers_any(paired, np.arange(len(scores)), np.flatnonzero(ignored), IGNORED_SHARE, by_iou=False)
    counting, order = scores > COUNT_SCORE, np.argsort(-scores, kind="stable")
    figures: dict[str, Any] = {"frames": len(paired.names), "truths": int((~ignored).sum())}
    for iou in COUNT_IOUS:
        right = np.zeros(len(scores), bool)
        for name in paired.classes:
            judged = judge_class(paired, name, iou)
            right[judged.rows] = judged.correct
        wrong = ~right & ~ignorable
        figures[f"right{100 * iou:.0f}"] = int((right & counting).sum())
        figures[f"wrong{100 * iou:.0f}"] = int((wrong & counting).sum())
        if iou == 0.5:
            figures["wrong_before"] = np.cumsum(wrong[order])[right[order]].tolist()
    return figures


def command(recipe: Path, changes: Changes, seeds: str) -> str:
    """The command that repeats the comparison; the data folder is a placeholder."""
    options = {"recipe": str(recipe), "data": "DATA", "seeds": ",".join(map(str, parse_seeds(seeds)))}
    for name, value in (("epochs", changes.epochs), ("batch", changes.batch_size)):
        options |= {name: str(value)} if value is not None else {}
    options |= {"size": show_size(changes.input_size), "crop": show_size(changes.crop_size)}
    return " ".join([f"python benchmarks/{NAME}.py", *(f"--{name} {value}" for name, value in options.items())])


if __name__ == "__main__":
    typer.run(main)
