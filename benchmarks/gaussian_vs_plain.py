#!/usr/bin/env python3
"""What the Gaussian loss and the detection criterion bring (Choi et al., ICCV 2019, Tables 3 to 5), on one recipe.

Each seed trains the recipe twice, with YOLOv3's loss and with Gaussian YOLOv3's, all else the same. The second network
is scored twice: by objectness times class, as if it knew no sigma, and by the detection criterion. So the table tells
what the loss brings from what the criterion brings. Judged on the recipe's validation sources: average precision, and
right and wrong detections above score 0.5.

    pip install 'gaussian_yolo[train,cpu,bench]'
    python benchmarks/gaussian_vs_plain.py --report docs            # writes docs/gaussian_vs_plain.{md,png}
    python benchmarks/gaussian_vs_plain.py --epochs 2 --size 192x640 --crop 160x384 --output out/quick

A call that was stopped goes on where it was when it is repeated.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from gaussian_vs_plain_report import write_figure, write_table
from torch import nn

from gaussian_yolo_node.commands.sizes import parse_size
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.evaluation.bdd import bdd_correct
from gaussian_yolo_node.evaluation.matching import box_areas, intersection_areas
from gaussian_yolo_node.lab.networks.gaussian_yolo import BOX_ENTRIES, GaussianYolo
from gaussian_yolo_node.lab.training.checkpoint import load_trained
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.train import CHECKPOINT, run
from gaussian_yolo_node.lab.training.validate import average_precisions, detect
from gaussian_yolo_node.labels import IGNORE, load_sources, read_image

NAME = "gaussian_vs_plain"
# Loss -> the ways its network is scored.
VARIANTS = {"yolov3": ("plain",), "gaussian": ("gaussian loss", "gaussian loss and criterion")}
WITHOUT_SIGMA = ("plain", "gaussian loss")
COUNT_SCORE = 0.5
COUNT_IOUS = (0.75, 0.5)  # BDD's, and one for boxes that were learnt from little data
# Share of a detection's own area inside an ignore region that lets it count neither way, as in the KITTI evaluation.
IGNORED_SHARE = 0.5
NO_SIGMA_LOGIT = -50.0


@dataclass(frozen=True)
class Changes:
    """What differs from the recipe file; None leaves a value. Sizes are height and width, px."""

    epochs: int | None
    input_size: tuple[int, int] | None
    crop_size: tuple[int, int] | None
    batch_size: int | None


def main(
    recipe: Annotated[Path, typer.Option(help="Training recipe, YAML.")] = Path(
        "engines/efficientnet_lite0_kitti_1.yaml"
    ),
    output: Annotated[Path, typer.Option(help="Folder of the trainings and their results.")] = Path(f"out/{NAME}"),
    report: Annotated[
        Path | None, typer.Option(help="Folder to write the table and the figure to.", show_default="OUTPUT")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Data folder.", show_default="the recipe's")] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, with commas between.")] = "0,1,2",
    epochs: Annotated[int | None, typer.Option(min=1, show_default="the recipe's")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas that the networks run on.", show_default="the recipe's")
    ] = None,
    crop: Annotated[
        str | None, typer.Option(metavar="HxW", help="Canvas that they learn on.", show_default="the recipe's")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Images a step.", show_default="the recipe's")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 leaves torch's choice.")] = 0,
) -> None:
    """Train, score, compare; finished trainings in OUTPUT are not repeated."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        changes = Changes(epochs, parse_size(size) if size else None, parse_size(crop) if crop else None, batch)
        results = [
            result(loss, seed, read_recipe(recipe), changes, output, data, threads)
            for seed in parse_seeds(seeds)
            for loss in VARIANTS
        ]
    except GaussianYoloError as error:
        sys.exit(f"error: {error}")
    folder = report or output
    folder.mkdir(parents=True, exist_ok=True)
    write_table(results, command(recipe, changes, seeds), folder / f"{NAME}.md")
    write_figure(results, folder / f"{NAME}.png")
    print((folder / f"{NAME}.md").read_text(encoding="utf-8"))


def result(
    loss: str,
    seed: int,
    recipe: dict[str, Any],
    changes: Changes,
    output: Path,
    data: Path | None,
    threads: int,
) -> dict[str, Any]:
    """What OUTPUT/LOSS_seedN.json holds of this very training; without it, train and score.

    Raises:
        GaussianYoloError: the recipe or data cannot be used.
        SystemExit: the file, or an unfinished training, is of another recipe.
    """
    document = derive(recipe, loss, seed, changes)
    folder = output / f"{loss}_seed{seed}"
    path, written = folder.with_suffix(".json"), folder / "recipe.yaml"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        check_same(found["recipe"], document, path)
        return found
    TrainConfig.from_dict(document, f"{recipe['name']} with --epochs, --size, --crop and --batch")
    if written.exists():
        check_same(yaml.safe_load(written.read_text(encoding="utf-8")), document, folder)
    folder.mkdir(parents=True, exist_ok=True)
    written.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    print(f"== {loss}, seed {seed}", flush=True)
    checkpoint = run(written, folder, resume=(folder / CHECKPOINT).exists(), data_root=data, threads=threads)
    scored = score(checkpoint, loss, recipe, data or Path(recipe["data"]["root"]))
    found = {
        "loss": loss,
        "seed": seed,
        "recipe": document,
        "torch": torch.__version__,
        "variants": scored,
    }
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
    return found


def derive(recipe: dict[str, Any], loss: str, seed: int, changes: Changes) -> dict[str, Any]:
    """The recipe with its changes, for one loss and seed.

    The last epoch's weights are judged, so training itself validates nothing, and no epoch is picked by its accuracy.
    """
    document = copy.deepcopy(recipe)
    document["name"] = f"{NAME}_{loss}"
    model, schedule = document["model"], document["schedule"]
    document["data"]["validation"] = []
    schedule["patience"] = 0
    schedule["seed"] = seed
    document["loss"] = {**(document.get("loss") or {}), "kind": loss}
    if changes.input_size is not None:
        # Objects shrink with the canvas, and their anchors with them.
        pairs = zip(changes.input_size, model["input_size"], strict=True)
        shrink = min(new / old for new, old in pairs)
        model["anchors"] = [[[round(side * shrink, 1) for side in a] for a in head] for head in model["anchors"]]
        model["input_size"] = list(changes.input_size)
    if changes.crop_size is not None:
        schedule["crop_size"] = list(changes.crop_size)
    if changes.batch_size is not None:
        schedule["batch_size"] = changes.batch_size
    if changes.epochs is not None:
        share = changes.epochs / schedule["epochs"]
        schedule["mosaic_off_epochs"] = round(schedule.get("mosaic_off_epochs", 0) * share)
        schedule["epochs"] = changes.epochs
    return document


def score(checkpoint: Path, loss: str, recipe: dict[str, Any], data: Path) -> dict[str, dict[str, Any]]:
    """Figures of each way to score the network, by `VARIANTS`: average precisions as the training's validation gives
    them, and counts of detections."""
    document = yaml.safe_load((checkpoint.parent / "recipe.yaml").read_text(encoding="utf-8"))
    config = TrainConfig.from_dict({**document, "data": {**recipe["data"], "root": str(data)}}, str(checkpoint))
    network = load_trained(checkpoint).model
    figures = {}
    for variant in VARIANTS[loss]:
        model = without_sigma(network) if variant in WITHOUT_SIGMA else network
        figures[variant] = {**average_precisions(model, config, data), **count(model, config, data)}
    return figures


def without_sigma(model: GaussianYolo) -> GaussianYolo:
    """The same network with sigmas of 0, so that its criterion is objectness times class."""
    model = copy.deepcopy(model)
    for head in model.heads:
        assert isinstance(head, nn.Conv2d) and head.bias is not None
        with torch.no_grad():
            head.weight.view(-1, BOX_ENTRIES + model.num_classes, *head.weight.shape[1:])[:, 1:8:2] = 0
            head.bias.view(-1, BOX_ENTRIES + model.num_classes)[:, 1:8:2] = NO_SIGMA_LOGIT
    return model


def count(model: GaussianYolo, config: TrainConfig, data: Path) -> dict[str, Any]:
    """Right and wrong detections of all classes above `COUNT_SCORE`, in BDD's protocol at each of `COUNT_IOUS`.

    Wrong ones on ignore regions do not count. `wrong_before`: wrong detections of a better score than the first,
    second, .. right one, at IoU 0.5, whatever their score.
    """
    truths: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    ignorable: list[bool] = []
    images = load_sources(data, config.data.validation, config.model.classes)
    for image in images:
        objects = image.class_ids != IGNORE
        names = np.array(config.model.classes)
        for box, name in zip(image.boxes[objects], names[image.class_ids[objects]], strict=True):
            truths.append({"name": str(image.path), "category": str(name), "bbox": box.tolist()})
        found = detect(model, config.model, read_image(image.path))
        boxes = found.boxes.astype(np.float64)
        inside = intersection_areas(boxes, image.boxes[~objects].astype(np.float64))
        covered = (inside > 0) & (inside >= IGNORED_SHARE * box_areas(boxes)[:, None])
        ignorable += [bool(row.any()) for row in covered]
        for box, name, value in zip(boxes, names[found.class_ids], found.scores.tolist(), strict=True):
            detections.append({"name": str(image.path), "category": str(name), "bbox": box.tolist(), "score": value})
    scores = np.array([detection["score"] for detection in detections])
    order = np.argsort(-scores, kind="stable")
    figures: dict[str, Any] = {"frames": len(images), "truths": len(truths)}
    for iou in COUNT_IOUS:
        right = bdd_correct(truths, detections, iou)
        wrong = ~right & ~np.array(ignorable, bool)
        figures[f"right{100 * iou:.0f}"] = int((right & (scores > COUNT_SCORE)).sum())
        figures[f"wrong{100 * iou:.0f}"] = int((wrong & (scores > COUNT_SCORE)).sum())
        if iou == 0.5:
            figures["wrong_before"] = np.cumsum(wrong[order])[right[order]].tolist()
    return figures


def read_recipe(path: Path) -> dict[str, Any]:
    """The recipe as plain values. Raises ConfigError where it is none."""
    TrainConfig.load(path)
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def check_same(found: Any, wanted: dict[str, Any], place: Path) -> None:
    if found != wanted:
        sys.exit(f"{place} is of another recipe or other options; remove it or give another --output")


def parse_seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.replace(",", " ").split()]
    except ValueError:
        sys.exit(f"--seeds is {text!r}; give whole numbers with commas between")


def command(recipe: Path, changes: Changes, seeds: str) -> str:
    """What to type to repeat the comparison, wherever the data are."""
    options = {"recipe": str(recipe), "data": "DATA", "seeds": ",".join(map(str, parse_seeds(seeds)))}
    for name, value in (("epochs", changes.epochs), ("batch", changes.batch_size)):
        options |= {name: str(value)} if value is not None else {}
    for name, pair in (("size", changes.input_size), ("crop", changes.crop_size)):
        options |= {name: f"{pair[0]}x{pair[1]}"} if pair is not None else {}
    return " ".join([f"python benchmarks/{NAME}.py", *(f"--{name} {value}" for name, value in options.items())])


if __name__ == "__main__":
    typer.run(main)
