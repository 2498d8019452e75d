"""The training recipe: one YAML file, validated field by field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast, get_args, get_origin, get_type_hints

import yaml

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.augment import AugmentConfig
from gaussian_yolo_node.lab.training.loss import LossConfig

MULTIPLE = 32  # the network's coarsest stride, px; height and width are multiples of it


class ConfigError(GaussianYoloError):
    """A training config cannot be used; the message names file and field."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture. anchors: `[S][A][2]` w, h in canvas px, in the order of the heads (strides 32, 16, 8)."""

    classes: tuple[str, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    input_size: tuple[int, int]  # height, width of the deployed canvas, px
    backbone: str = "efficientnet_lite0"
    neck: str = "light"  # or "yolov3", the official neck, or "csp", YOLOX's
    width: int = 128
    activation: str = ""  # of csp_darknet_nano and the neck csp: silu, hard_swish, relu; "" for silu
    pretrained: bool = True  # ImageNet weights for the backbone, unless init is set
    # Student noise (docs/paper_facts.md, section 4), in training only: drop rate of the last residual branch, which
    # decreases linearly to the first; and rate of channel dropout before the heads.
    stochastic_depth: float = 0.0
    dropout: float = 0.0
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
class ScheduleConfig:
    """Optimisation. learning_rate is the peak; for the backbone it is multiplied by backbone_rate."""

    epochs: int
    batch_size: int = 8  # images per optimiser step, over all processes
    accumulate: int = 1  # sequential parts of a step, each with its own batch norm statistics
    crop_size: tuple[int, int] = (256, 640)  # height, width of the training canvas, px
    # Range of the canvas size relative to crop_size, drawn per step. Objects scale with it.
    multi_scale: tuple[float, float] = (1.0, 1.0)
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
    normalise_by: Literal["positives", "images"] = "positives"  # divisor of the loss
    ema_decay: float = 0.998
    clip_norm: float = 10.0  # 0 disables clipping
    autocast: bool = True  # half precision in the network; the loss stays float32
    mosaic_off_epochs: int = 0  # number of last epochs without mosaic
    frozen: tuple[str, ...] = ()  # name prefixes of parameters that are not trained, such as `backbone.`
    freeze_batch_norm: bool = False  # keep the statistics of the initial weights
    fast_depthwise: bool = True  # with autocast on a CPU: see `depthwise`; each canvas size compiles once
    validate_every: int = 5  # epochs
    best_metric: str = ""  # validation figure that selects best.pt; "" for "AP50 <first class>"
    patience: int = 0  # stop after this many validations without improvement; 0 never stops
    checkpoint_minutes: float = 10.0  # between checkpoints within an epoch; 0 saves only after epochs
    workers: int = 1
    seed: int = 0


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    name: str
    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    loss: LossConfig = field(default_factory=LossConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read a YAML config.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or of the wrong type.
        """
        return cls.from_dict(read_yaml(path, "training config"), str(path))

    @classmethod
    def from_dict(cls, document: object, source: str) -> TrainConfig:
        """Build from a parsed document; errors name `source`."""
        top = mapping_of(document, source, "the document")
        sections = {"model": ModelConfig, "data": DataConfig, "schedule": ScheduleConfig}
        optional = {"loss": LossConfig, "augment": AugmentConfig}
        unknown = set(top) - {"name"} - set(sections) - set(optional)
        if unknown:
            raise ConfigError(f"{source}: unknown section {sorted(unknown)[0]!r}")
        for key in ("name", *sections):
            if key not in top:
                raise ConfigError(f"{source}: section {key!r} is missing")
        values = {key: mapping_of(top[key], source, key) for key in (*sections, *optional) if key in top}
        start = values["model"].get("init")
        if isinstance(start, dict) and list(start) == ["file"]:
            values["model"] = {**values["model"], "init": start["file"]}
        built = {
            key: build_section(kind, values[key], source, key)
            for key, kind in {**sections, **optional}.items()
            if key in values
        }
        config = cls(name=str(top["name"]), **built)
        config._check(source)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads."""
        return cast("dict[str, Any]", _listed(asdict(self)))

    @property
    def best_metric(self) -> str:
        """The validation figure that selects the best epoch."""
        return self.schedule.best_metric or f"AP50 {self.model.classes[0]}"

    def _check(self, source: str) -> None:
        schedule = self.schedule
        sizes = {"model.input_size": self.model.input_size, "schedule.crop_size": schedule.crop_size}
        for label, size in sizes.items():
            if any(side <= 0 or side % MULTIPLE for side in size):
                raise ConfigError(f"{source}: {label} must be height and width, multiples of 32, not {list(size)}")
        if not self.model.classes:
            raise ConfigError(f"{source}: model.classes must name at least one class")
        counts = [len(head) for head in self.model.anchors]
        if len(counts) != 3 or not counts[0] or len(set(counts)) > 1:
            raise ConfigError(f"{source}: model.anchors needs as many anchors for each stride (32, 16, 8)")
        for label in ("epochs", "batch_size", "accumulate", "validate_every"):
            if getattr(schedule, label) < 1:
                raise ConfigError(f"{source}: schedule.{label} must be at least 1, not {getattr(schedule, label)}")
        for label in ("stochastic_depth", "dropout"):
            if not 0 <= getattr(self.model, label) < 1:
                raise ConfigError(f"{source}: model.{label} must be at least 0 and below 1")
        if schedule.batch_size % schedule.accumulate:
            raise ConfigError(f"{source}: schedule.batch_size must be a multiple of schedule.accumulate")
        if not 0 < schedule.multi_scale[0] <= schedule.multi_scale[1] or not training_sizes(schedule):
            raise ConfigError(
                f"{source}: schedule.multi_scale {list(schedule.multi_scale)} must be the least and greatest share of "
                "crop_size, with a multiple of 32 between"
            )
        if schedule.nesterov and schedule.optimizer != "sgd":
            raise ConfigError(f"{source}: schedule.nesterov is an option of optimizer sgd")
        if (schedule.rate_schedule == "step") != bool(schedule.rate_steps):
            raise ConfigError(f"{source}: schedule.rate_steps and rate_schedule step need each other")
        sets = ["", *(f"{name}/" for name in self.data.validation_names)]
        kinds = [f"{kind} {name}" for kind in ("AP50", "AP") for name in self.model.classes] + ["mAP50", "mAP"]
        figures = [prefix + kind for prefix in sets for kind in kinds]
        if self.best_metric not in figures:
            raise ConfigError(f"{source}: schedule.best_metric must be one of {', '.join(figures)}")


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
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {what} {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error


def mapping_of(value: object, source: str, where: str) -> Mapping[str, Any]:
    """`value` if it is a mapping. Raises ConfigError naming file and place otherwise."""
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: {where} must be a mapping")
    return value


def build_section(kind: type, values: Mapping[str, Any], source: str, where: str) -> Any:
    """Build the dataclass `kind` from the values of a section, with lists as tuples.

    Raises:
        ConfigError: a field is unknown, missing or of the wrong type; the message names file, section and field.
    """
    known = get_type_hints(kind)
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{source}: unknown field {where}.{key}; known: {', '.join(known)}")
        complaint = _complaint(value, known[key])
        if complaint:
            raise ConfigError(f"{source}: {where}.{key} must be {complaint}, not {value!r}")
    try:
        return kind(**{key: _frozen(value) for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{source}: section {where}: {error}") from error
    except GaussianYoloError as error:
        raise ConfigError(f"{source}: {error}") from error


def _complaint(value: object, kind: Any) -> str:
    """Description of type `kind` if `value` is not of it; else ""."""
    if kind is float or kind is int:
        whole = isinstance(value, int) or (kind is float and isinstance(value, float))
        return "" if whole and not isinstance(value, bool) else "a number" if kind is float else "a whole number"
    if kind is bool:
        return "" if isinstance(value, bool) else "true or false"
    if kind is str:
        return "" if isinstance(value, str) else "a text"
    if get_origin(kind) is Literal:
        return "" if value in get_args(kind) else f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) is tuple:
        members = get_args(kind)
        if not isinstance(value, (list, tuple)):
            return "a list"
        if members[-1] is not Ellipsis and len(value) != len(members):
            return f"a list of {len(members)}"
        each = members[:1] * len(value) if members[-1] is Ellipsis else members
        return next((f"a list whose items are each {c}" for c in map(_complaint, value, each) if c), "")
    if get_origin(kind) is dict:
        return "" if isinstance(value, dict) else "a mapping"
    return ""


def _frozen(value: Any) -> Any:
    """Lists as tuples, recursively."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _listed(value: Any) -> Any:
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, (list, tuple)) else value
