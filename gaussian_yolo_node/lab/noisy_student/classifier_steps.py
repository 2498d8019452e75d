"""The steps of a classifier chain, as in the paper; checkpoints label directly."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gaussian_yolo_node.lab.classification.checkpoint import build_network, load_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.task import Data
from gaussian_yolo_node.lab.classification.train import CHECKPOINT, train_classifier
from gaussian_yolo_node.lab.networks.blocks import Backbone
from gaussian_yolo_node.lab.noisy_student.chain_config import Round
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.lab.noisy_student.select_classes import ClassRules, select_classification
from gaussian_yolo_node.lab.noisy_student.tables import read_labels
from gaussian_yolo_node.lab.training.checkpoint import fitting_names
from gaussian_yolo_node.lab.training.config import ConfigError
from gaussian_yolo_node.settings import read


@dataclass(frozen=True)
class Seen:
    """What a check has seen of a teacher."""

    network: Backbone
    classes: tuple[str, ...]


class ClassifierSteps:
    """See `iterate.Steps`."""

    def __init__(self, seed: int | None) -> None:
        self.seed = seed

    def select(self, labels: Path, output: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        return select_classification(read_labels(labels), output, rules_of(options))

    def opened(self, teacher: str) -> Seen:
        classifier = load_classifier(Path(teacher))
        return Seen(classifier.model, classifier.classes)

    def check(self, path: Path, root: Path | None, one: Round | None, teacher: Seen | None) -> Seen:
        config = self._load(path, root)
        classes = Data(config).classes
        with torch.device("meta"):  # only shapes are compared
            network = build_network(config, len(classes))
        if one is not None and teacher is not None:
            rules_of(one.select)
            if teacher.classes != classes:
                raise ConfigError(
                    f"{path}: the teacher knows {', '.join(teacher.classes)}, the data have {', '.join(classes)}"
                )
            if one.start_from_teacher:
                fitting_names(network, teacher.network.state_dict(), f"the teacher of {path}")
        return Seen(network, classes)

    def _load(self, path: Path, root: Path | None) -> ClassifierConfig:
        config = ClassifierConfig.load(path)
        return config if root is None else replace(config, data=replace(config.data, root=str(root)))

    def recipe(
        self, path: Path, root: Path | None, selected: Path | None, one: Round | None, teacher: Path | None
    ) -> Any:
        config = self._load(path, root)
        if self.seed is not None:
            config = config.seeded(self.seed)
        recipe = config.to_dict()
        if selected is not None and one is not None:
            recipe["data"]["pseudo"] = os.path.abspath(selected)
            recipe["schedule"]["unlabelled_ratio"] = one.ratio
            if one.start_from_teacher:
                recipe["model"] |= {"init": str(teacher and teacher.absolute()), "pretrained": False}
        return recipe

    def train(self, recipe: Path, output: Path, console: Console | None) -> Mapping[str, Any]:
        resume = (output / CHECKPOINT).exists()
        checkpoint = train_classifier(ClassifierConfig.load(recipe), output, resume=resume, console=console)
        trained = load_classifier(checkpoint)
        return {"epochs": trained.epochs, **trained.validation}

    def deploy(self, output: Path, name: str) -> Path:
        return output / CHECKPOINT


def rules_of(options: Mapping[str, Any]) -> ClassRules:
    """Rules from a mapping. Raises SelectionError for an unknown or invalid option."""
    return read(ClassRules, options, "the selection", SelectionError)
