"""Configuration of `gaussian-yolo noisy-student iterate`: one YAML file, fully validated."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.lab.training.config import ConfigError, place, place_model
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
    recipe: Annotated[str, "the path of a training recipe"]
    ratio: Annotated[float, bounds(above=0, below=1000)] = 1.0
    start_from_teacher: bool = False
    select: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ChainConfig:
    """A chain. Relative paths start at the folder of its file, those of data at the data folder.

    Attributes:
        unlabelled: image folders, WebDataset shards or bags.
        rounds: the students, each the teacher of the next.
        data: data folder, also of the recipes; "" for the file's, and the recipes' own.
        teacher: the first teacher: name of a shipped model or a model file; of classifiers a checkpoint (.pt); "" with
            `teacher_recipe`.
        teacher_recipe: recipe of the first teacher.
        score_threshold: minimum score of a detector's labels.
        seed: of all trainings; None uses the recipes' seeds.
    """

    kind: Literal["detection", "classification"]
    unlabelled: Annotated[tuple[str, ...], "a list of at least one source of images", Must("", len)]
    rounds: Annotated[tuple[Round, ...], "a list of at least one student, with name and recipe", Must("", len)]
    data: str = ""
    teacher: str = ""
    teacher_recipe: str = ""
    score_threshold: float = 0.05
    engine: Literal["local", "ray"] = "local"
    workers: Count = 1
    address: str = ""
    seed: int | None = None

    @classmethod
    def load(cls, path: Path, data: Path | None = None) -> ChainConfig:
        """Read a YAML file; its paths become absolute.

        Args:
            data: replaces the file's `data`.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or wrong.
        """
        config = read(cls, read_yaml(path, "chain", ConfigError), path, ConfigError)
        folder = path.parent
        root = place(folder, config.data) if data is None else str(data.absolute())
        config = replace(
            config,
            data=root,
            unlabelled=tuple(place(Path(root or folder), source) for source in config.unlabelled),
            teacher=place_model(folder, config.teacher),
            teacher_recipe=place(folder, config.teacher_recipe),
            rounds=tuple(replace(one, recipe=place(folder, one.recipe)) for one in config.rounds),
        )
        for recipe in filter(None, (config.teacher_recipe, *(one.recipe for one in config.rounds))):
            if not Path(recipe).is_file():
                raise ConfigError(f"{path}: there is no recipe {recipe}")
        return config

    def __post_init__(self) -> None:
        """Raises ConfigError for settings that exclude each other."""
        names = [one.name for one in self.rounds]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two rounds have the name {name!r}")
        if bool(self.teacher) == bool(self.teacher_recipe):
            raise ConfigError("give either 'teacher', a model, or 'teacher_recipe', to train one")
        if self.teacher and (self.kind == "classification") != self.teacher.endswith(".pt"):
            wanted = {
                "detection": "a shipped model or a model file: `gaussian-yolo export` makes one of a checkpoint",
                "classification": "the checkpoint (.pt) of a classifier",
            }
            raise ConfigError(f"teacher {self.teacher} must be {wanted[self.kind]}")
