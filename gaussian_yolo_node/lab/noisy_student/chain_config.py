"""Configuration of `gaussian-yolo noisy-student iterate`: one YAML file, fully validated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gaussian_yolo_node.lab.training.config import ConfigError, build_section, mapping_of, read_yaml


@dataclass(frozen=True)
class TrainOptions:
    """Training options outside the recipe."""

    resume: bool = False
    data: Path | None = None
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int | None = None


@dataclass(frozen=True)
class Round:
    """One student.

    Attributes:
        name: of its folder, and of its steps in the manifest.
        recipe: YAML training recipe, relative to the chain's file. Its own sources are the labelled ones.
        ratio: unlabelled images per labelled image in a batch (1 for B0, 3 for B1..B7, 14 for L2 in the paper).
        start_from_teacher: start from the teacher's weights where shapes match; in the paper students start fresh.
        select: options of `select_boxes.BoxRules` or `select_classes.select_classification`.
    """

    name: str
    recipe: str
    ratio: float = 1.0
    start_from_teacher: bool = False
    select: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChainConfig:
    """A chain.

    Attributes:
        unlabelled: image folders, WebDataset shards or bags; relative to the data folder.
        rounds: the students, each the teacher of the next.
        data: data folder, relative to the working directory.
        teacher: the first teacher: name of a shipped model, a model file, or a classifier checkpoint; "" with
            `teacher_recipe`.
        teacher_recipe: recipe of the first teacher, relative to the chain's file.
        score_threshold: minimum score of a detector's labels.
        seed: of all trainings; None uses the recipes' seeds.
    """

    kind: Literal["detection", "classification"]
    unlabelled: tuple[str, ...]
    rounds: tuple[Round, ...]
    data: str = "."
    teacher: str = ""
    teacher_recipe: str = ""
    score_threshold: float = 0.05
    engine: Literal["local", "ray"] = "local"
    workers: int = 1
    address: str = ""
    seed: int | None = None

    @classmethod
    def load(cls, path: Path) -> ChainConfig:
        """Read a YAML file.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or of the wrong type.
        """
        top = dict(mapping_of(read_yaml(path, "chain"), str(path), "the document"))
        rounds = top.pop("rounds", None)
        if not isinstance(rounds, list) or not rounds:
            raise ConfigError(f"{path}: 'rounds' must list at least one student, with name and recipe")
        built = tuple(_round(entry, str(path), index) for index, entry in enumerate(rounds, start=1))
        config: ChainConfig = build_section(cls, {**top, "rounds": []}, str(path), "chain")
        config = cls(**{**config.__dict__, "rounds": built})
        config._check(path)
        return config

    def _check(self, path: Path) -> None:
        names = [one.name for one in self.rounds]
        for name in names:
            if not name or name != Path(name).name or name.startswith("."):
                raise ConfigError(f"{path}: the name of a round becomes a folder's: {name!r} cannot")
            if names.count(name) > 1:
                raise ConfigError(f"{path}: two rounds have the name {name!r}")
        if bool(self.teacher) == bool(self.teacher_recipe):
            raise ConfigError(f"{path}: give either 'teacher', a model, or 'teacher_recipe', to train one")
        if not self.unlabelled:
            raise ConfigError(f"{path}: 'unlabelled' names no images")
        if self.workers < 1:
            raise ConfigError(f"{path}: workers must be at least 1, not {self.workers}")
        for one in self.rounds:
            if not 0 < one.ratio < 1000:
                raise ConfigError(f"{path}: ratio of round {one.name!r} must be above 0, not {one.ratio:g}")
        for recipe in filter(None, (self.teacher_recipe, *(one.recipe for one in self.rounds))):
            if not (path.parent / recipe).is_file():
                raise ConfigError(f"{path}: there is no recipe {path.parent / recipe}")


def _round(entry: object, source: str, number: int) -> Round:
    values: Mapping[str, Any] = mapping_of(entry, source, f"round {number}")
    built: Round = build_section(Round, values, source, f"round {number}")
    return built
