"""The steps of a detector chain: selection by score and sigma, training, and export for the next labelling."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import prepare_target, write_whole
from gaussian_yolo_node.lab.networks.folded import start_from
from gaussian_yolo_node.lab.networks.gaussian_yolo import GaussianYolo
from gaussian_yolo_node.lab.noisy_student.chain_config import Round
from gaussian_yolo_node.lab.noisy_student.select_boxes import BoxRules, SelectionError, select_boxes
from gaussian_yolo_node.lab.noisy_student.select_classes import IMAGES
from gaussian_yolo_node.lab.noisy_student.shards import extract
from gaussian_yolo_node.lab.noisy_student.tables import DetectionRow, read_labels
from gaussian_yolo_node.lab.noisy_student.teachers import open_teacher
from gaussian_yolo_node.lab.training.checkpoint import export_checkpoint, fitting_names, load_trained, network_of
from gaussian_yolo_node.lab.training.config import ConfigError, TrainConfig
from gaussian_yolo_node.lab.training.train import CHECKPOINT, check_files, run
from gaussian_yolo_node.lab.training.validate import check_sources
from gaussian_yolo_node.labels import load_sources
from gaussian_yolo_node.labels.pseudo import FORMAT
from gaussian_yolo_node.settings import read

MODEL = "model.onnx"


def select_detections(labels: Path, output: Path, rules: BoxRules) -> dict[str, Any]:
    """Write the pseudo labels of a folder of labels as a source for training, see `labels.pseudo`.

    Args:
        labels: folder written by `noisy-student label`.
        output: JSON file; images in bags and shards are extracted to `images/` beside it.

    Returns:
        counts: images, repetitions, boxes by class, ignore regions, mean weights.

    Raises:
        GaussianYoloError: the labels are of the wrong kind, unfinished or damaged, or the selection is empty.
    """
    found = read_labels(labels)
    rows = [row for row in found.rows if isinstance(row, DetectionRow)]
    if found.kind != "detection":
        raise SelectionError(f"{labels} holds labels for {found.kind}, not for detection")
    chosen = select_boxes([row.predictions for row in rows], rules)
    kept = [(row, one) for row, one in zip(rows, chosen, strict=True) if one.copies]
    if not kept:
        raise SelectionError(
            f"nothing in {labels} is sure enough for a pseudo label: lower positive, or raise max_sigma"
        )
    prepare_target(output)
    paths = extract([(row.source, row.image) for row, _ in kept], output.parent / IMAGES)
    records = [one.to_dict(os.path.relpath(paths[row.source, row.image], output.parent)) for row, one in kept]
    boxes = [name for _, one in kept for name, ignored in zip(one.classes, one.ignored, strict=True) if not ignored]
    weights = np.concatenate([one.weights[~one.ignored] for _, one in kept])
    counts: dict[str, Any] = {
        "images": len(kept),
        "of": len(rows),
        "showings": sum(one.copies for _, one in kept),
        "boxes": {name: boxes.count(name) for name in found.teacher["classes"] if name in boxes},
        "ignore_regions": sum(int(one.ignored.sum()) for _, one in kept),
        "mean_weights": [round(float(value), 3) for value in weights.mean(0)] if len(weights) else [],
    }
    document = {
        "format": FORMAT,
        "kind": "detection",
        "teacher": dict(found.teacher),
        "rules": rules.to_dict(),
        "counts": counts,
        "images": records,
    }
    write_whole(output, json.dumps(document) + "\n")
    return counts


class DetectorSteps:
    """See `iterate.Steps`."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed

    def select(self, labels: Path, output: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return select_detections(labels, output, rules_of(options))

    def opened(self, teacher: str) -> Path:
        open_teacher(teacher).close()
        return resolve_model(teacher)

    def check(
        self, path: Path, root: Path | None, one: Round | None, teacher: Path | GaussianYolo | None
    ) -> GaussianYolo:
        config = TrainConfig.load(path)
        data = root or Path(config.data.root)
        check_sources(config)
        check_files(config, data)
        load_sources(data, config.data.train, config.model.classes)
        with torch.device("meta"):  # only shapes are compared
            network = network_of(config.model)
        if one is not None:
            rules_of(one.select)
            if one.start_from_teacher:
                try:
                    if isinstance(teacher, Path):
                        start_from(network, teacher, config.model.classes, config.model.anchors, ())
                    elif teacher is not None:
                        fitting_names(network, teacher.state_dict(), "the teacher")
                except GaussianYoloError as error:
                    raise ConfigError(f"{path} cannot start_from_teacher: {error}") from error
        return network

    def recipe(
        self, path: Path, root: Path | None, selected: Path | None, one: Round | None, teacher: Path | None
    ) -> Any:
        config = TrainConfig.load(path)
        data = root or Path(config.data.root)
        recipe = config.to_dict()
        recipe["data"]["root"] = str(data)
        if self.seed is not None:
            recipe["schedule"]["seed"] = self.seed
        if selected is not None and one is not None:
            recipe["data"]["train"].append(self._pseudo_source(config, data, selected, one.ratio))
            if one.start_from_teacher and teacher is not None:
                recipe["model"]["init"] = os.path.abspath(teacher)
        return recipe

    def _pseudo_source(self, config: TrainConfig, root: Path, selected: Path, ratio: float) -> dict[str, Any]:
        """The selected labels, weighted to show `ratio` of them per labelled image in an epoch."""
        labelled = sum(image.weight for image in load_sources(root, config.data.train, config.model.classes))
        source = {"format": "pseudo", "labels": os.path.abspath(selected)}
        pseudo = sum(image.weight for image in load_sources(root, [source], config.model.classes))
        return {**source, "weight": round(ratio * labelled / pseudo, 6)}

    def train(self, recipe: Path, output: Path, console: Console | None) -> Mapping[str, Any]:
        checkpoint = run(recipe, output, resume=(output / CHECKPOINT).exists(), console=console)
        trained = load_trained(checkpoint)
        figures = {name: round(value, 4) for name, value in trained.validation.items() if name.startswith("AP50 ")}
        return {"epochs": trained.epochs, **figures}

    def deploy(self, output: Path, name: str) -> Path:
        model = output / MODEL
        if not model.exists():
            export_checkpoint(output / CHECKPOINT, model, name=name)
        return model


def rules_of(options: Mapping[str, Any]) -> BoxRules:
    """Rules from a mapping; a `max_sigma` of null is none. Raises SelectionError for an unknown or invalid option."""
    given = {name: value for name, value in options.items() if (name, value) != ("max_sigma", None)}
    return read(BoxRules, given, "the selection", SelectionError)
