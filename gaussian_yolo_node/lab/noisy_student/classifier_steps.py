"""The steps of a classifier chain, as in the paper; checkpoints label directly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from gaussian_yolo_node.lab.classification.checkpoint import load_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.train import CHECKPOINT, train_classifier
from gaussian_yolo_node.lab.noisy_student.chain_config import Round
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.lab.noisy_student.select_classes import ClassRules, select_classification
from gaussian_yolo_node.lab.noisy_student.tables import read_labels
from gaussian_yolo_node.lab.training.config import ConfigError
from gaussian_yolo_node.settings import read


class ClassifierSteps:
    """See `iterate.Steps`."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed

    def select(self, labels: Path, output: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        rules = read(ClassRules, options, "the selection", SelectionError)
        return select_classification(read_labels(labels), output, rules)

    def recipe(self, path: Path, root: Path, selected: Path | None, one: Round | None, teacher: Path | None) -> Any:
        config = ClassifierConfig.load(path)
        if self.seed is not None:
            config = config.seeded(self.seed)
        recipe = config.to_dict()
        recipe["data"]["root"] = str(root)
        if selected is not None and one is not None:
            recipe["data"]["pseudo"] = os.path.abspath(selected)
            recipe["schedule"]["unlabelled_ratio"] = one.ratio
            if one.start_from_teacher:
                if teacher is None:
                    raise ConfigError(f"round {one.name!r}: the teacher is no checkpoint to start from")
                recipe["model"] |= {"init": str(teacher), "pretrained": False}
        return recipe

    def train(self, recipe: Path, output: Path, root: Path, console: Console | None) -> Mapping[str, Any]:
        resume = (output / CHECKPOINT).exists()
        checkpoint = train_classifier(ClassifierConfig.load(recipe), output, resume=resume, console=console)
        trained = load_classifier(checkpoint)
        return {"epochs": trained.epochs, **trained.validation}

    def deploy(self, output: Path, name: str) -> Path:
        return output / CHECKPOINT
