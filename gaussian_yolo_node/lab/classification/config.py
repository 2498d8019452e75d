"""The recipe of a classifier: one YAML file with `kind: classification` at its top, checked field by field."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from gaussian_yolo_node.lab.training.config import ConfigError, Recipe, Schedule, place
from gaussian_yolo_node.lab.training.rand_augment import OPS, check_rand_augment
from gaussian_yolo_node.settings import DISTINCT, Count, Fraction, NotNegative, Positive, Probability, bounds

ImageSource = Annotated[str, "a folder with one subfolder per class, or a CSV file with the columns image and class"]
Share = Annotated[float, bounds(above=0, most=1)]


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
    image_size: Annotated[int, bounds(least=8)] = 224
    crop_fraction: Share = 0.875
    classes: Annotated[tuple[str, ...], DISTINCT] = ()
    pretrained: bool = False
    init: str = ""

    def __post_init__(self) -> None:
        """Raises ConfigError for options that exclude each other."""
        if self.pretrained and self.init:
            raise ConfigError("model.pretrained and model.init exclude each other")


@dataclass(frozen=True)
class ImagesConfig:
    """Where the images are; paths are relative to `root`, which `--data` replaces, and `root` to the recipe.

    Attributes:
        train: a folder with one subfolder per class, or a CSV file with the columns `image` and `class`.
        validation: the same for validation; "" for none.
        pseudo: output of `noisy-student select`, unlabelled images with a teacher's probabilities; "" for none.
        workers: threads that read and augment.
    """

    train: ImageSource
    root: str = "."
    validation: str = ""
    pseudo: str = ""
    licence: str = ""
    workers: Count = 2


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
    dropout: Fraction = 0.5
    stochastic_depth: Fraction = 0.2
    least_crop: Share = 0.35
    flip: Probability = 0.5

    def __post_init__(self) -> None:
        """Raises RandAugmentError for an option out of range."""
        check_rand_augment(self.rand_augment_ops, self.rand_augment_magnitude, self.operations)

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
class ClassifierSchedule(Schedule):
    """Optimisation. One epoch is one pass over the *labelled* images.

    Attributes:
        epochs: may be fractional, such as 1.5 for FixRes.
        batch_size: labelled images per optimiser step, over all processes.
        unlabelled_ratio: pseudo-labelled images per labelled image in each step (1, 3 or 14 in the paper).
        label_smoothing: of the labelled loss only.
    """

    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    final_rate: float = 0.0
    warmup_steps: int = 50
    ema_decay: Fraction = 0.999
    unlabelled_ratio: NotNegative = 1.0
    label_smoothing: Fraction = 0.1


@dataclass(frozen=True)
class ClassifierConfig(Recipe):
    """One training of a classifier."""

    schedule: ClassifierSchedule
    kind: Literal["classification"]
    data: ImagesConfig
    model: NetworkConfig = field(default_factory=NetworkConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)

    def placed(self, folder: Path) -> ClassifierConfig:
        data, model = self.data, self.model
        return replace(
            self,
            data=replace(data, root=place(folder, data.root)),
            model=replace(model, init=place(folder, model.init)),
        )

    def seeded(self, seed: int) -> ClassifierConfig:
        """A copy with another seed."""
        return replace(self, schedule=replace(self.schedule, seed=seed))

    @property
    def unlabelled_batch(self) -> int:
        """Pseudo-labelled images per optimiser step, over all processes; 0 without pseudo labels."""
        return round(self.schedule.batch_size * self.schedule.unlabelled_ratio) if self.data.pseudo else 0
