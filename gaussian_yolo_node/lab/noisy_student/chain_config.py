"""Configuration of `gaussian-yolo noisy-student iterate`: one YAML file, fully validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from gaussian_yolo_node.lab.training.config import ConfigError, read_yaml
from gaussian_yolo_node.settings import Count, Must, bounds, read

FolderName = Annotated[
    str, "the name of a folder", Must("", lambda name: name == Path(name).name and name[:1] not in ("", "."))
]


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

    name: FolderName
    recipe: str
    ratio: Annotated[float, bounds(above=0, below=1000)] = 1.0
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
    unlabelled: Annotated[tuple[str, ...], "a list of at least one source of images", Must("", len)]
    rounds: Annotated[tuple[Round, ...], "a list of at least one student, with name and recipe", Must("", len)]
    data: str = "."
    teacher: str = ""
    teacher_recipe: str = ""
    score_threshold: float = 0.05
    engine: Literal["local", "ray"] = "local"
    workers: Count = 1
    address: str = ""
    seed: int | None = None

    @classmethod
    def load(cls, path: Path) -> ChainConfig:
        """Read a YAML file.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or wrong.
        """
        config = read(cls, read_yaml(path, "chain"), path, ConfigError)
        for recipe in filter(None, (config.teacher_recipe, *(one.recipe for one in config.rounds))):
            if not (path.parent / recipe).is_file():
                raise ConfigError(f"{path}: there is no recipe {path.parent / recipe}")
        return config

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that exclude each other."""
        names = [one.name for one in self.rounds]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two rounds have the name {name!r}")
        if bool(self.teacher) == bool(self.teacher_recipe):
            raise ConfigError("give either 'teacher', a model, or 'teacher_recipe', to train one")
