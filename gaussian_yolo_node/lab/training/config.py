"""The training recipe: one YAML file, checked field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from gaussian_yolo_node import documents
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.augment import AugmentConfig
from gaussian_yolo_node.lab.training.loss import LossConfig
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
    # Checkpoint (.pt), model file (.onnx) or Darknet weights of the backbone to start from, where shapes match; a path
    # relative to the working directory or to data.root. `{file: path}` is equivalent; "" for none.
    init: str = ""
    score_threshold: float = 0.3  # written on the model's card
    iou_threshold: float = 0.45


@dataclass(frozen=True)
class DataConfig:
    """Paths of the sources are relative to root; root and cache are relative to the working directory."""

    root: str
    train: tuple[dict[str, Any], ...]
    validation: tuple[dict[str, Any], ...]
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

    epochs: Positive
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
        if self.nesterov and self.optimizer != "sgd":
            raise ConfigError("schedule.nesterov is an option of optimizer sgd")
        if (self.rate_schedule == "step") != bool(self.rate_steps):
            raise ConfigError("schedule.rate_steps and rate_schedule step need each other")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Optimiser steps of the run; at least 1."""
        return max(1, math.ceil(self.epochs * steps_per_epoch - 1e-9))


@dataclass(frozen=True)
class ScheduleConfig(Schedule):
    """Optimisation of a detector."""

    epochs: Count
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
class Recipe:
    """What the recipes of all tasks have."""

    name: str
    schedule: Schedule

    @classmethod
    def load(cls: type[AnyRecipe], path: Path) -> AnyRecipe:
        """Read a YAML file.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or wrong.
        """
        return cls.from_dict(read_yaml(path, "recipe"), str(path))

    @classmethod
    def from_dict(cls: type[AnyRecipe], document: object, source: str) -> AnyRecipe:
        """Build from a parsed document; errors name `source`."""
        return read(cls, document, source, ConfigError)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads."""
        values: dict[str, Any] = _listed(asdict(self))
        return values


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
        model = document.get("model") if isinstance(document, Mapping) else None
        if isinstance(document, Mapping) and isinstance(model, Mapping):
            start = model.get("init")
            if isinstance(start, Mapping) and list(start) == ["file"]:
                document = {**document, "model": {**model, "init": start["file"]}}
        return super().from_dict(document, source)

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


def read_yaml(path: Path, what: str) -> object:
    """The document of a YAML file; errors call it `what`. Raises ConfigError if it cannot be read."""
    return documents.read_yaml(path, what, ConfigError)


def _listed(value: Any) -> Any:
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
