"""The training recipe: one YAML file, checked field by field."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from gaussian_yolo_node.detector.model import shipped_models
from gaussian_yolo_node.documents import read_yaml
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.augment import AugmentConfig
from gaussian_yolo_node.lab.training.loss import LossConfig
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.sources import check_keys
from gaussian_yolo_node.settings import Count, Fraction, Must, Natural, Positive, read

MULTIPLE = 32  # the network's coarsest stride, px; height and width are multiples of it
CanvasSize = Annotated[
    tuple[int, int],
    "height and width in px,",
    Must(f"multiples of {MULTIPLE}", lambda size: all(side > 0 and side % MULTIPLE == 0 for side in size)),
]
Anchors = Annotated[
    tuple[tuple[tuple[float, float], ...], ...],
    "a list of heads, with as many anchors for each stride",
    Must("(32, 16, 8)", lambda heads: len(heads) == 3 and len(set(map(len, heads))) == 1 and len(heads[0]) > 0),
]
AnyRecipe = TypeVar("AnyRecipe", bound="Recipe")


class ConfigError(GaussianYoloError):
    """A training config cannot be used; the message names file and field."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture. anchors: `[S][A][2]` w, h in canvas px, in the order of the heads (strides 32, 16, 8)."""

    classes: Annotated[tuple[str, ...], "a list of", Must("at least one class", len)]
    anchors: Anchors
    input_size: CanvasSize  # of the deployed canvas
    backbone: str = "efficientnet_lite0"
    neck: str = "light"  # or "yolov3", the official neck, or "csp", YOLOX's
    width: int = 128
    activation: str = ""  # of csp_darknet_nano and the neck csp: silu, hard_swish, relu; "" for silu
    pretrained: bool = True  # ImageNet weights for the backbone, unless init is set
    # Student noise (docs/paper_facts.md, section 4), in training only: drop rate of the last residual branch, which
    # decreases linearly to the first; and rate of channel dropout before the heads.
    stochastic_depth: Fraction = 0.0
    dropout: Fraction = 0.0
    # Checkpoint (.pt), model file (.onnx), name of a shipped model, or Darknet weights of the backbone to start from,
    # where shapes match. `{file: path}` is equivalent; "" for none.
    init: str = ""
    score_threshold: float = 0.3  # written on the model's card
    iou_threshold: float = 0.45


@dataclass(frozen=True)
class DataConfig:
    """Paths of the sources are relative to root, which `--data` replaces; root and cache are relative to the recipe."""

    train: Annotated[tuple[dict[str, Any], ...], "a list of sources, each with format and the keys of that format"]
    validation: Annotated[tuple[dict[str, Any], ...], "a list of sources of format kitti; [] for none"]
    root: str = "."
    licence: str = ""
    cache: str = ""  # folder of decoded frames, for data sets larger than memory; see `frame_cache`

    @property
    def validation_names(self) -> list[str]:
        """Names of the validation sets: `name`, or else the labels path; empty for a single set without a name."""
        named = [str(source.get("name") or source.get("labels", "")) for source in self.validation]
        return named if len(named) > 1 or any("name" in source for source in self.validation) else []


@dataclass(frozen=True)
class Schedule:
    """Optimisation of any network. learning_rate is the peak; for a detector's backbone it is multiplied by
    backbone_rate."""

    EPOCHS: ClassVar[str] = "a number above 0"

    epochs: Positive | None = None
    steps: Natural = 0  # optimiser steps of the whole run, instead of epochs
    batch_size: Count = 8  # images per optimiser step, over all processes
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9  # of SGD
    nesterov: bool = False
    learning_rate: float = 1e-3
    backbone_rate: float = 0.5
    weight_decay: float = 0.02
    rate_schedule: Literal["cosine", "constant", "step"] = "cosine"
    final_rate: float = 0.02  # share of the peak, at the end of the cosine
    rate_steps: tuple[int, ...] = ()  # optimiser steps after which the rate of "step" decreases ..
    rate_decay: float = 0.1  # .. by this factor
    warmup_steps: int = 200
    warmup_power: float = 1.0  # 1 is linear; 4 is Darknet's burn-in
    ema_decay: float = 0.998
    clip_norm: float = 10.0  # 0 disables clipping
    frozen: tuple[str, ...] = ()  # name prefixes of parameters that are not trained, such as `backbone.`
    freeze_batch_norm: bool = False  # keep the statistics of the initial weights
    validate_every: Count = 5  # epochs; the last epoch is always validated
    patience: int = 0  # stop after this many validations without improvement; 0 never stops
    checkpoint_minutes: float = 10.0  # between checkpoints within an epoch; 0 saves only after epochs
    seed: Natural = 0

    def __post_init__(self) -> None:
        """Raises ConfigError for options that exclude each other."""
        if self.epochs is None and not self.steps:
            raise ConfigError(f"schedule.epochs is missing; it must be {self.EPOCHS}, unless there are schedule.steps")
        if self.epochs is not None and self.steps:
            raise ConfigError("schedule.epochs and schedule.steps exclude each other")
        if self.nesterov and self.optimizer != "sgd":
            raise ConfigError("schedule.nesterov is an option of optimizer sgd")
        if (self.rate_schedule == "step") != bool(self.rate_steps):
            raise ConfigError("schedule.rate_steps and rate_schedule step need each other")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the run; at least 1."""
        if self.epochs is None:
            return self.steps
        return max(1, math.ceil(self.epochs * steps_per_epoch - 1e-9))


@dataclass(frozen=True)
class ScheduleConfig(Schedule):
    """Optimisation of a detector."""

    EPOCHS: ClassVar[str] = "a whole number at least 1"

    epochs: Count | None = None
    accumulate: Count = 1  # sequential parts of a step, each with its own batch norm statistics
    crop_size: CanvasSize = (256, 640)  # of the training canvas
    # Range of the canvas size relative to crop_size, drawn per step. Objects scale with it.
    multi_scale: tuple[float, float] = (1.0, 1.0)
    normalise_by: Literal["positives", "images"] = "positives"  # divisor of the loss
    autocast: bool = True  # half precision in the network; the loss stays float32
    mosaic_off_epochs: int = 0  # number of last epochs without mosaic
    fast_depthwise: bool = True  # with autocast on a CPU: see `depthwise`; each canvas size compiles once
    best_metric: str = ""  # validation figure that selects best.pt; "" for "AP50 <first class>"
    workers: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_size % self.accumulate:
            raise ConfigError("schedule.batch_size must be a multiple of schedule.accumulate")
        if not 0 < self.multi_scale[0] <= self.multi_scale[1] or not training_sizes(self):
            raise ConfigError(
                f"schedule.multi_scale {list(self.multi_scale)} must be the least and greatest share of crop_size, "
                "with a multiple of 32 between"
            )


@dataclass(frozen=True)
class Recipe(ABC):
    """What the recipes of all tasks have."""

    name: str
    schedule: Schedule

    @classmethod
    def load(cls: type[AnyRecipe], path: Path) -> AnyRecipe:
        """Read a YAML file. Its relative paths start at its folder, and are absolute in what is returned.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or wrong.
        """
        return cls.from_dict(read_yaml(path, "recipe", ConfigError), str(path)).placed(path.parent)

    @classmethod
    def from_dict(cls: type[AnyRecipe], document: object, source: str) -> AnyRecipe:
        """Build from a parsed document; errors name `source`."""
        return read(cls, document, source, ConfigError)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads."""
        values: dict[str, Any] = _listed(asdict(self))
        return values

    @abstractmethod
    def placed(self: AnyRecipe, folder: Path) -> AnyRecipe:
        """The recipe with absolute paths; relative ones start at `folder`."""


@dataclass(frozen=True)
class TrainConfig(Recipe):
    """One training of a detector."""

    schedule: ScheduleConfig
    model: ModelConfig
    data: DataConfig
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @classmethod
    def from_dict(cls, document: object, source: str) -> TrainConfig:
        """Build from a parsed document; errors name `source`."""
        if isinstance(document, Mapping) and "kind" in document:
            if document["kind"] != "detection":
                raise ConfigError(
                    f"{source}: kind {document['kind']!r} is not a detector's; leave it out, or train a "
                    "classifier with `gaussian-yolo noisy-student train`"
                )
            document = {key: value for key, value in document.items() if key != "kind"}
        model = document.get("model") if isinstance(document, Mapping) else None
        if isinstance(document, Mapping) and isinstance(model, Mapping):
            start = model.get("init")
            if isinstance(start, Mapping) and list(start) == ["file"]:
                document = {**document, "model": {**model, "init": start["file"]}}
        return super().from_dict(document, source)

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """See `Recipe.load`. Raises ConfigError also for a source of data without a key that its format needs."""
        config = super().load(path)
        for section in ("train", "validation"):
            for number, source in enumerate(getattr(config.data, section)):
                try:
                    check_keys(source, f"{path}: data.{section}[{number}]")
                except DatasetError as error:
                    raise ConfigError(str(error)) from error
        return config

    def placed(self, folder: Path) -> TrainConfig:
        data = replace(self.data, root=place(folder, self.data.root), cache=place(folder, self.data.cache))
        return replace(self, data=data, model=replace(self.model, init=place_model(folder, self.model.init)))

    def __post_init__(self) -> None:
        """Raises ConfigError for a metric that no validation gives."""
        sets = ["", *(f"{name}/" for name in self.data.validation_names)]
        kinds = [f"{kind} {name}" for kind in ("AP50", "AP") for name in self.model.classes] + ["mAP50", "mAP"]
        figures = [prefix + kind for prefix in sets for kind in kinds]
        if self.best_metric not in figures:
            raise ConfigError(f"schedule.best_metric must be one of {', '.join(figures)}")

    @property
    def best_metric(self) -> str:
        """The validation figure that selects the best epoch."""
        return self.schedule.best_metric or f"AP50 {self.model.classes[0]}"


def training_sizes(schedule: ScheduleConfig) -> list[tuple[int, int]]:
    """Canvas heights and widths, multiples of 32 px, over the range of `multi_scale`.

    The shorter side takes every multiple in the range; the longer one keeps the aspect ratio as closely as possible.
    """
    short, long = sorted(schedule.crop_size)
    least, greatest = (short * factor for factor in schedule.multi_scale)
    # The tolerance keeps sides on the bounds in spite of rounding.
    sides = range(max(1, math.ceil(least / MULTIPLE - 1e-6)), math.floor(greatest / MULTIPLE + 1e-6) + 1)
    pairs = [(side * MULTIPLE, max(1, round(side * long / short)) * MULTIPLE) for side in sides]
    return pairs if schedule.crop_size[0] <= schedule.crop_size[1] else [(long, short) for short, long in pairs]


def place(folder: Path, path: str) -> str:
    """`path` as an absolute one, starting at `folder` if it is relative; "" stays."""
    return os.path.abspath(folder / Path(path).expanduser()) if path else path


def place_model(folder: Path, model: str) -> str:
    """As `place`, but the name of a shipped model stays, unless there is a file of that name."""
    return model if model in shipped_models() and not (folder / model).is_file() else place(folder, model)


def _listed(value: Any) -> Any:
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
