"""The training recipe: one YAML file, validated field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.training.augment import AugmentConfig
from gaussian_yolo_node.training.loss import LossConfig


class ConfigError(GaussianYoloError):
    """A training config cannot be used; the message names file and field."""


@dataclass(frozen=True)
class ModelConfig:
    """Architecture. anchors: `[S][A][2]` w, h in canvas px, in the order of the heads (strides 32, 16, 8)."""

    classes: tuple[str, ...]
    anchors: tuple[tuple[tuple[float, float], ...], ...]
    input_size: tuple[int, int]  # height, width of the deployed canvas, px
    backbone: str = "efficientnet_lite0"
    neck: str = "light"  # or "yolov3", the official one
    width: int = 128
    pretrained: bool = True
    score_threshold: float = 0.3  # written on the model's card
    iou_threshold: float = 0.45


@dataclass(frozen=True)
class DataConfig:
    """Paths are relative to root, which is relative to the working directory."""

    root: str
    train: tuple[dict[str, Any], ...]
    validation: tuple[dict[str, Any], ...]
    licence: str = ""


@dataclass(frozen=True)
class ScheduleConfig:
    """Optimisation. learning_rate is AdamW's peak; the backbone's is multiplied by backbone_rate."""

    epochs: int
    batch_size: int = 8
    crop_size: tuple[int, int] = (256, 640)  # height, width of the training canvas, px
    learning_rate: float = 1e-3
    backbone_rate: float = 0.5
    weight_decay: float = 0.02
    warmup_steps: int = 200
    final_rate: float = 0.02  # of the peak, at the end of the cosine
    ema_decay: float = 0.998
    clip_norm: float = 10.0
    autocast: bool = True  # bfloat16 in the network; the loss stays float32
    mosaic_off_epochs: int = 0  # the last epochs see whole images only
    validate_every: int = 5  # epochs
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
            ConfigError: the file is missing, is no YAML mapping, or has an unknown, missing or ill-typed field.
        """
        try:
            document = yaml.safe_load(path.read_text())
        except OSError as error:
            raise ConfigError(f"cannot read training config {path}: {error.strerror}") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
        return cls.from_dict(document, str(path))

    @classmethod
    def from_dict(cls, document: object, source: str) -> TrainConfig:
        """Build from a parsed document; `source` names it in errors."""
        top = _mapping(document, source, "the document")
        sections = {"model": ModelConfig, "data": DataConfig, "schedule": ScheduleConfig}
        optional = {"loss": LossConfig, "augment": AugmentConfig}
        unknown = set(top) - {"name"} - set(sections) - set(optional)
        if unknown:
            raise ConfigError(f"{source}: unknown section {sorted(unknown)[0]!r}")
        for key in ("name", *sections):
            if key not in top:
                raise ConfigError(f"{source}: section {key!r} is missing")
        built = {
            key: _build(kind, _mapping(top[key], source, key), source, key)
            for key, kind in {**sections, **optional}.items()
            if key in top
        }
        config = cls(name=str(top["name"]), **built)
        config._check(source)
        return config

    def _check(self, source: str) -> None:
        sizes = {"model.input_size": self.model.input_size, "schedule.crop_size": self.schedule.crop_size}
        for label, size in sizes.items():
            if len(size) != 2 or any(side <= 0 or side % 32 for side in size):
                raise ConfigError(f"{source}: {label} must be height and width, multiples of 32, not {list(size)}")
        if [len(head) for head in self.model.anchors] != [3, 3, 3]:
            raise ConfigError(f"{source}: model.anchors needs three anchors a stride (32, 16, 8)")
        for label, value in (("epochs", self.schedule.epochs), ("batch_size", self.schedule.batch_size)):
            if value < 1:
                raise ConfigError(f"{source}: schedule.{label} must be at least 1, not {value}")


def _mapping(value: object, source: str, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{source}: {where} must be a mapping")
    return value


def _build(kind: type, values: Mapping[str, Any], source: str, where: str) -> Any:
    known = {f.name: f for f in fields(kind)}
    for key in values:
        if key not in known:
            raise ConfigError(f"{source}: unknown field {where}.{key}; known: {', '.join(known)}")
    try:
        built = kind(**{key: _frozen(value) for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"{source}: section {where}: {error}") from error
    for key, value in values.items():
        expected = known[key].type
        numeric = expected in ("int", "float")
        if numeric and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise ConfigError(f"{source}: {where}.{key} must be a number, not {value!r}")
    return built


def _frozen(value: Any) -> Any:
    """Lists as tuples, all the way down."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
