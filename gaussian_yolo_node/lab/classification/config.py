"""The recipe of a classifier: one YAML file with `kind: classification` at its top, validated field by field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from gaussian_yolo_node.lab.training.config import ConfigError, ScheduleConfig, build_section, mapping_of, read_yaml
from gaussian_yolo_node.lab.training.rand_augment import OPS, check_rand_augment

KIND = "classification"


@dataclass(frozen=True)
class NetworkConfig:
    """Architecture.

    Attributes:
        backbone, options: name and further arguments of `networks.backbones.create_backbone` (`width` of a MobileNet).
        image_size: side of the square network input, px.
        crop_fraction: share of the image's shorter side in the centre crop at inference.
        classes: names in the order of the outputs; () uses the sorted classes of the training data.
        pretrained: start from ImageNet weights (of `efficientnet_lite0`), except for the classifier.
        init: classifier checkpoint to start from, where shapes match; "" for none.
    """

    backbone: str = "efficientnet_lite0"
    options: dict[str, Any] = field(default_factory=dict)
    image_size: int = 224
    crop_fraction: float = 0.875
    classes: tuple[str, ...] = ()
    pretrained: bool = False
    init: str = ""


@dataclass(frozen=True)
class ImagesConfig:
    """Where the images are; paths are relative to `root`, and `root` to the working directory.

    Attributes:
        train: a folder with one subfolder per class, or a CSV file with the columns `image` and `class`.
        validation: the same for validation; "" for none.
        pseudo: output of `noisy-student select`, unlabelled images with a teacher's probabilities; "" for none.
        workers: threads that read and augment.
    """

    train: str
    root: str = "."
    validation: str = ""
    pseudo: str = ""
    licence: str = ""
    workers: int = 2


@dataclass(frozen=True)
class NoiseConfig:
    """The noise of a student (docs/paper_facts.md, section 4); a teacher is trained with less noise or none.

    Attributes:
        enabled: False disables all noise except the random crop and the flip.
        rand_augment_ops, rand_augment_magnitude: see `training.rand_augment`.
        operations: RandAugment operations to draw from; () for all.
        dropout: on the classifier's input (0.5 in the paper).
        stochastic_depth: drop rate of the last residual branch, decreasing linearly to the first (0.2 in the paper).
        least_crop: minimum share of the image's area in a random crop; 1 disables cropping.
        flip: probability of a horizontal flip.
    """

    enabled: bool = True
    rand_augment_ops: int = 2
    rand_augment_magnitude: float = 15.0
    operations: tuple[str, ...] = ()
    dropout: float = 0.5
    stochastic_depth: float = 0.2
    least_crop: float = 0.35
    flip: float = 0.5

    @property
    def names(self) -> tuple[str, ...]:
        """RandAugment operations to draw from."""
        return self.operations or tuple(OPS)

    @property
    def ops(self) -> int:
        """Operations per image; 0 without noise."""
        return self.rand_augment_ops if self.enabled else 0

    def network(self) -> dict[str, float]:
        """Rates of dropout and stochastic depth."""
        rates = {"dropout": self.dropout, "stochastic_depth": self.stochastic_depth}
        return rates if self.enabled else dict.fromkeys(rates, 0.0)


@dataclass(frozen=True)
class ClassifierSchedule:
    """Optimisation. One epoch is one pass over the *labelled* images.

    Attributes:
        epochs: may be fractional, such as 1.5 for FixRes.
        batch_size: labelled images per optimiser step, over all processes.
        unlabelled_ratio: pseudo-labelled images per labelled image in each step (1, 3 or 14 in the paper).
        label_smoothing: of the labelled loss only.
        frozen: name prefixes of parameters that are not trained; batch-norm statistics with them.
    """

    epochs: float
    batch_size: int = 64
    unlabelled_ratio: float = 1.0
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9  # of SGD
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup_steps: int = 50
    final_rate: float = 0.0  # share of the peak, at the end of the cosine
    ema_decay: float = 0.999
    label_smoothing: float = 0.1
    clip_norm: float = 10.0  # 0 disables clipping
    frozen: tuple[str, ...] = ()
    validate_every: int = 5  # epochs; the last epoch is always validated
    checkpoint_minutes: float = 10.0  # between checkpoints within an epoch; 0 saves only after epochs
    seed: int = 0

    def optimisation(self) -> ScheduleConfig:
        """This schedule for the shared optimiser and learning-rate functions."""
        return ScheduleConfig(
            epochs=1,
            optimizer=self.optimizer,
            momentum=self.momentum,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            backbone_rate=1.0,
            warmup_steps=self.warmup_steps,
            final_rate=self.final_rate,
            frozen=self.frozen,
        )


@dataclass(frozen=True)
class ClassifierConfig:
    """One training of a classifier."""

    name: str
    data: ImagesConfig
    schedule: ClassifierSchedule
    model: NetworkConfig = field(default_factory=NetworkConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    @classmethod
    def load(cls, path: Path) -> ClassifierConfig:
        """Read a YAML file.

        Raises:
            ConfigError: the file is missing or not a YAML mapping, or a field is unknown, missing or of the wrong type.
        """
        return cls.from_dict(read_yaml(path, "recipe"), str(path))

    @classmethod
    def from_dict(cls, document: object, source: str) -> ClassifierConfig:
        """Build from a parsed document; errors name `source`."""
        top = mapping_of(document, source, "the document")
        sections = {
            "data": ImagesConfig, "schedule": ClassifierSchedule, "model": NetworkConfig, "noise": NoiseConfig
        }  # fmt: skip
        unknown = sorted(map(str, set(top) - {"kind", "name", *sections}))
        if unknown:
            raise ConfigError(f"{source}: unknown section {unknown[0]!r}; known: kind, name, {', '.join(sections)}")
        if top.get("kind") != KIND:
            raise ConfigError(f"{source}: 'kind: {KIND}' is missing, which a classifier's recipe has at its top")
        for key in ("name", "data", "schedule"):
            if key not in top:
                raise ConfigError(f"{source}: section {key!r} is missing")
        built: Mapping[str, Any] = {
            key: build_section(kind, mapping_of(top[key], source, key), source, key)
            for key, kind in sections.items()
            if key in top
        }
        config = cls(name=str(top["name"]), **built)
        config._check(source)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Plain values that `from_dict` reads."""
        return {"kind": KIND, **cast("dict[str, Any]", _plain(asdict(self)))}

    def seeded(self, seed: int) -> ClassifierConfig:
        """A copy with another seed."""
        return replace(self, schedule=replace(self.schedule, seed=seed))

    @property
    def unlabelled_batch(self) -> int:
        """Pseudo-labelled images per optimiser step, over all processes; 0 without pseudo labels."""
        return round(self.schedule.batch_size * self.schedule.unlabelled_ratio) if self.data.pseudo else 0

    def _check(self, source: str) -> None:
        model, schedule, noise = self.model, self.schedule, self.noise
        if model.image_size < 8:
            raise ConfigError(f"{source}: model.image_size must be at least 8 px, not {model.image_size}")
        if not 0 < model.crop_fraction <= 1:
            raise ConfigError(f"{source}: model.crop_fraction must be above 0 and at most 1, not {model.crop_fraction}")
        if len(set(model.classes)) != len(model.classes):
            raise ConfigError(f"{source}: model.classes names a class twice")
        if model.pretrained and model.init:
            raise ConfigError(f"{source}: model.pretrained and model.init exclude each other")
        if not schedule.epochs > 0:
            raise ConfigError(f"{source}: schedule.epochs must be above 0, not {schedule.epochs}")
        for label in ("batch_size", "validate_every"):
            if getattr(schedule, label) < 1:
                raise ConfigError(f"{source}: schedule.{label} must be at least 1, not {getattr(schedule, label)}")
        if schedule.learning_rate <= 0:
            raise ConfigError(f"{source}: schedule.learning_rate must be above 0, not {schedule.learning_rate}")
        if schedule.unlabelled_ratio < 0:
            raise ConfigError(
                f"{source}: schedule.unlabelled_ratio must be at least 0, not {schedule.unlabelled_ratio}"
            )
        if schedule.seed < 0 or self.data.workers < 1:
            raise ConfigError(f"{source}: schedule.seed must be at least 0, and data.workers at least 1")
        for label, value in (
            ("schedule.label_smoothing", schedule.label_smoothing),
            ("schedule.ema_decay", schedule.ema_decay),
            ("noise.dropout", noise.dropout),
            ("noise.stochastic_depth", noise.stochastic_depth),
        ):
            if not 0 <= value < 1:
                raise ConfigError(f"{source}: {label} must be at least 0 and below 1, not {value}")
        if not 0 < noise.least_crop <= 1 or not 0 <= noise.flip <= 1:
            raise ConfigError(f"{source}: noise.least_crop must be above 0 and at most 1, noise.flip between 0 and 1")
        check_rand_augment(noise.rand_augment_ops, noise.rand_augment_magnitude, noise.operations)


def _plain(value: Any) -> Any:
    """Tuples as lists, as YAML reads them back."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
