"""Noisy Student for classifiers and, with sigmas, for detectors (Xie et al., CVPR 2020).

The chain: a teacher labels, labels are selected, a student is trained and becomes the next teacher. `select` and
`train` are two of its steps alone; `labelling` is the third. See docs/paper_facts.md, section 4.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml
from rich.console import Console

from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.errors import install_line
from gaussian_yolo_node.file_names import files_in
from gaussian_yolo_node.files import file_hash, write_whole
from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig, Round
from gaussian_yolo_node.lab.noisy_student.labelling import label
from gaussian_yolo_node.lab.noisy_student.manifest import Done, Manifest
from gaussian_yolo_node.lab.noisy_student.shards import plan_shards
from gaussian_yolo_node.lab.noisy_student.tables import read_labels
from gaussian_yolo_node.lab.training.config import ConfigError

SELECTED = "selected.json"
RECIPE = "recipe.yaml"


class Steps(Protocol):
    """The steps that differ between classifiers and detectors."""

    def select(self, labels: Path, output: Path, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the selected labels; returns counts."""
        ...

    def opened(self, teacher: str) -> Any:
        """What `check` takes of a given teacher. GaussianYoloError if it cannot label."""
        ...

    def check(self, path: Path, root: Path | None, one: Round | None, teacher: Any) -> Any:
        """Read the recipe, its data, and the options of a round; returns what `check` of the next round takes.

        Args:
            teacher: of the round, as `opened` or `check` returned it.

        Raises:
            GaussianYoloError: one of them cannot be used.
        """
        ...

    def recipe(
        self, path: Path, root: Path | None, selected: Path | None, one: Round | None, teacher: Path | None
    ) -> Any:
        """The training recipe, JSON-ready, with the selected labels added to its data; `root` replaces its data
        folder."""
        ...

    def train(self, recipe: Path, output: Path, console: Console | None) -> Mapping[str, Any]:
        """Start or continue a training; returns counts."""
        ...

    def deploy(self, output: Path, name: str) -> Path:
        """The labelling model of a finished training; created if missing."""
        ...


@dataclass(frozen=True)
class Student:
    """A trained student or the first teacher: its labelling model, and its checkpoint if there is one."""

    name: str
    model: Path
    checkpoint: Path | None
    steps: Mapping[str, Done]


def iterate(
    config_path: Path, output: Path, *, data: Path | None = None, console: Console | None = None
) -> list[Student]:
    """Run a chain. Finished steps in `output` are skipped, interrupted ones continue.

    Recipes, data, sources and teacher are read and checked before anything is written.

    Args:
        config_path: see `ChainConfig`.
        output: folder of all results: one subfolder per teacher and student, and `manifest.json`.
        data: replaces the chain's data folder.

    Returns:
        teacher and students in order.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: calling again continues the run.
    """
    config = ChainConfig.load(config_path, data)
    steps = steps_of(config.kind, config.seed)
    check_chain(config, steps)
    chain = _Chain(config, output, Manifest(output), steps, console)
    students = [chain.first()]
    for number, one in enumerate(config.rounds, start=1):
        students.append(chain.round(number, one, students[-1]))
    return students


def check_chain(config: ChainConfig, steps: Steps) -> None:
    """Raises GaussianYoloError for anything that a step of the chain could not use."""
    plan_shards(config.unlabelled)
    if config.engine == "ray" and find_spec("ray") is None:
        raise ConfigError(f"engine ray is not installed: {install_line('scale')}, or use engine local")
    root = _root(config)
    if config.teacher:
        before = steps.opened(config.teacher)
    else:
        before = steps.check(Path(config.teacher_recipe), root, None, None)
    for one in config.rounds:
        before = steps.check(Path(one.recipe), root, one, before)


def _root(config: ChainConfig) -> Path | None:
    return Path(config.data) if config.data else None


def steps_of(kind: Literal["detection", "classification"], seed: int | None) -> Steps:
    """The steps of a kind; `seed` replaces that of the recipes."""
    if kind == "classification":
        from gaussian_yolo_node.lab.noisy_student.classifier_steps import ClassifierSteps

        return ClassifierSteps(seed)
    from gaussian_yolo_node.lab.noisy_student.detector_steps import DetectorSteps

    return DetectorSteps(seed)


def select(labels: Path, output: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """Select labels for a student from a folder of labels; returns counts.

    Args:
        labels: folder written by `label`.
        output: JSON file, a source for training.
        options: of `select_boxes.BoxRules` for detections, of `select_classes.ClassRules` for classes.

    Raises:
        GaussianYoloError: one sentence naming the labels or options that cannot be used.
    """
    return dict(steps_of(read_labels(labels).kind, None).select(labels, output, options))


def train(recipe: Path, output: Path, **options: Any) -> Path:
    """Train the student of a recipe; `kind: classification` marks a classifier's, a detector's recipe has no kind.

    Args:
        options: see `training.train.run`.

    Returns:
        the latest checkpoint.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: `resume` continues.
    """
    document = read_yaml(recipe, "recipe", ConfigError)
    kind = document.get("kind", "detection") if isinstance(document, dict) else "detection"
    if kind == "classification":
        from gaussian_yolo_node.lab.classification.config import ClassifierConfig
        from gaussian_yolo_node.lab.classification.train import train_classifier

        return train_classifier(ClassifierConfig.load(recipe), output, **options)
    if kind != "detection":
        raise ConfigError(f"{recipe}: kind must be classification or detection, not {kind!r}")
    from gaussian_yolo_node.lab.training.train import run

    return run(recipe, output, **options)


@dataclass(frozen=True)
class _Chain:
    config: ChainConfig
    output: Path
    manifest: Manifest
    steps: Steps
    console: Console | None

    def first(self) -> Student:
        if self.config.teacher:
            given = Path(self.config.teacher)
            # Checkpoints are not looked up by name.
            model = given if given.suffix == ".pt" else resolve_model(self.config.teacher)
            return Student("teacher", model, given if given.suffix == ".pt" else None, {})
        recipe = self.steps.recipe(Path(self.config.teacher_recipe), _root(self.config), None, None, None)
        return self._trained("0_teacher", recipe, {})

    def round(self, number: int, one: Round, teacher: Student) -> Student:
        """Label, select, train."""
        name = f"{number}_{one.name}"
        place = self.output / name
        labels, selected = place / "labels", place / SELECTED
        labelled = self._step(
            f"{name} label",
            {
                "teacher": file_hash(teacher.model),
                "unlabelled": list(self.config.unlabelled),
                "score_threshold": self.config.score_threshold,
            },
            lambda: self._label(teacher, labels),
        )
        chosen = self._step(
            f"{name} select",
            {"labels": _digest(labelled.outputs), "select": one.select},
            lambda: ([selected], self.steps.select(labels, selected, one.select)),
        )
        start = teacher.checkpoint or teacher.model
        recipe = self.steps.recipe(Path(one.recipe), _root(self.config), selected, one, start)
        return self._trained(name, recipe, {"selected": chosen.outputs[f"{name}/{SELECTED}"]}, labelled, chosen)

    def _label(self, teacher: Student, labels: Path) -> tuple[list[Path], Mapping[str, Any]]:
        config = self.config
        summary = label(
            config.unlabelled,
            str(teacher.model),
            labels,
            engine=config.engine,
            workers=config.workers,
            address=config.address,
            score_threshold=config.score_threshold,
            console=self.console,
        )
        files = files_in(labels, (".json", ".parquet"))
        return files, {"images": summary.images, "skipped": summary.skipped}

    def _trained(self, name: str, recipe: Any, inputs: Mapping[str, Any], *before: Done) -> Student:
        place = self.output / name
        training, recipe_path = place / "training", place / RECIPE
        checkpoint = training / "last.pt"

        def train() -> tuple[list[Path], Mapping[str, Any]]:
            place.mkdir(parents=True, exist_ok=True)
            text = yaml.safe_dump(recipe, sort_keys=False)
            if not recipe_path.exists() or recipe_path.read_text(encoding="utf-8") != text:
                write_whole(recipe_path, text)
            return [checkpoint], self.steps.train(recipe_path, training, self.console)

        trained = self._step(f"{name} train", {"recipe": _digest(recipe), **inputs}, train)
        model = self.steps.deploy(training, name)
        names = ("label", "select", "train")[-1 - len(before) :]
        return Student(name, model, checkpoint, dict(zip(names, (*before, trained), strict=True)))

    def _step(self, name: str, inputs: Mapping[str, Any], make: Any) -> Done:
        before = self.manifest.steps.get(name)
        done = self.manifest.run(name, inputs, make)
        if self.console is not None:
            counts = ", ".join(f"{key} {value}" for key, value in done.counts.items())
            self.console.print(f"{name}: {counts}{' (done before)' if done is before else ''}", highlight=False)
        return done


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
