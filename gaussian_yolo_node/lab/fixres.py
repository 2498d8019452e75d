"""FixRes (Touvron et al., NeurIPS 2019; docs/paper_facts.md, section 4): short fine-tuning at the inference size.

Random crops make objects larger in training than at inference. A network therefore works best at a larger inference
size, once its last layers are adapted to the new activation statistics. The shallow layers and their batch norms are
frozen, and there is no augmentation.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.classification.checkpoint import Classifier, load_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig, ImagesConfig
from gaussian_yolo_node.lab.classification.data import read_labelled
from gaussian_yolo_node.lab.classification.evaluate import accuracy
from gaussian_yolo_node.lab.classification.train import train_classifier
from gaussian_yolo_node.lab.networks.blocks import TableBackbone
from gaussian_yolo_node.lab.training.augment import AugmentConfig
from gaussian_yolo_node.lab.training.checkpoint import Trained, load_trained, network_of, read_checkpoint
from gaussian_yolo_node.lab.training.config import MULTIPLE, TrainConfig
from gaussian_yolo_node.lab.training.exported import open_trained
from gaussian_yolo_node.lab.training.loop import refuse_run
from gaussian_yolo_node.lab.training.train import run
from gaussian_yolo_node.lab.training.validate import average_precisions, check_sources
from gaussian_yolo_node.settings import Natural, check, option

CLASSIFIER_EPOCHS = 1.5  # as in the paper
DETECTOR_EPOCHS = 2
# Share of the recipe's peak rate: the weights are only adapted.
RATE_SHARE = 0.1
RECIPE = "recipe.yaml"
REPORT = "fixres.json"


class FixResError(GaussianYoloError):
    """Invalid fine-tuning; the message names the option."""


@dataclass(frozen=True)
class FixRes:
    """Options of the fine-tuning.

    Attributes:
        size: height and width, px; square for a classifier.
        epochs: None for 1.5 (classifier) or 2 (detector, whole epochs only).
        last_stages: number of last backbone stages to train as well. 0, as in the paper, trains a classifier's last
            layer and batch norm, or everything after a detector's backbone.
        learning_rate: peak; None for a tenth of the recipe's.
    """

    size: tuple[int, int]
    epochs: float | None = None
    last_stages: Natural = 0
    learning_rate: float | None = None

    def __post_init__(self) -> None:
        check(self, FixResError, option)


@dataclass(frozen=True)
class Outcome:
    """The fine-tuned checkpoint, and figures: the given checkpoint at its own size (`before`) and at the new size
    (`larger`), and the fine-tuned one (`after`). They are of the validation data; without those, a classifier's are of
    the images it was tuned on, a detector has none."""

    checkpoint: Path
    before: dict[str, float] = field(default_factory=dict)
    larger: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)


def fixres(checkpoint: Path, data: Path, options: FixRes, output: Path, **training: Any) -> Outcome:
    """Fine-tune a classifier's or a detector's training checkpoint, or a detector's model file.

    Args:
        checkpoint: `last.pt` or `best.pt`; of a detector also a model file with its recipe beside it, or the name of a
            shipped model.
        data: a recipe (.yaml) to take the data from; or labelled images for a classifier (see
            `classification.data.read_labelled`), or the data folder for a detector, replacing the recipe's root.
        output: folder for the new checkpoint, its recipe, and the figures, `fixres.json`.
        training: `resume`, `threads`, `device`, `console`: see `training.loop.train`.

    Raises:
        GaussianYoloError: one sentence naming the error.
        KeyboardInterrupt: stopped by SIGINT, SIGTERM or SIGHUP; `resume` continues.
    """
    refuse_run(output, resume=bool(training.get("resume")))
    if not data.exists():
        raise FixResError(f"there is no recipe or data {data}")
    if checkpoint.suffix == ".pt" and "classifier" in read_checkpoint(checkpoint):
        outcome = _of_classifier(checkpoint, data, options, output, training)
    else:
        outcome = _of_detector(checkpoint, data, options, output, training)
    figures = {"before": outcome.before, "larger": outcome.larger, "after": outcome.after}
    write_whole(output / REPORT, json.dumps({"size": list(options.size), **figures}, indent=1) + "\n")
    return outcome


def _of_classifier(checkpoint: Path, data: Path, options: FixRes, output: Path, training: dict[str, Any]) -> Outcome:
    classifier = load_classifier(checkpoint)
    recipe = classifier_recipe(classifier, checkpoint, data, options)
    write_whole(output / RECIPE, yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    tuned = train_classifier(recipe, output, **training)
    judged = recipe.data.validation or recipe.data.train
    items, _ = read_labelled(Path(recipe.data.root) / judged, classifier.classes)
    larger = accuracy(classifier, items, recipe.model.image_size)
    return Outcome(tuned, accuracy(classifier, items), larger, accuracy(load_classifier(tuned), items))


def _of_detector(checkpoint: Path, data: Path, options: FixRes, output: Path, training: dict[str, Any]) -> Outcome:
    checkpoint, trained = open_trained(checkpoint)
    recipe = detector_recipe(trained, checkpoint, data, options)
    check_sources(recipe)
    write_whole(output / RECIPE, yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    tuned = run(output / RECIPE, output, **training)
    if not recipe.data.validation:
        return Outcome(tuned)
    root, own = Path(recipe.data.root), replace(trained.config, data=recipe.data)
    larger = average_precisions(trained.model, recipe, root)
    after = average_precisions(load_trained(tuned).model, recipe, root)
    return Outcome(tuned, average_precisions(trained.model, own, root), larger, after)


def classifier_recipe(classifier: Classifier, checkpoint: Path, data: Path, options: FixRes) -> ClassifierConfig:
    """The recipe of the fine-tuning. Raises FixResError for an invalid option."""
    config = classifier.config
    height, width = options.size
    if height != width:
        raise FixResError(f"a classifier sees a square: give one side as size, not {height}x{width}")
    if height <= config.model.image_size:
        raise FixResError(
            f"size {height} is not larger than the {config.model.image_size} px that {checkpoint} was trained at"
        )
    if data.suffix in (".yaml", ".yml"):
        images = replace(ClassifierConfig.load(data).data, pseudo="")
    else:
        images = ImagesConfig(str(data.resolve()), workers=config.data.workers, licence=config.data.licence)
    model = classifier.model
    last = [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)][-1]
    learning = ["classifier.", f"{last}."]
    if options.last_stages:
        stages = _last_stages(model, options.last_stages)
        learning += [*(f"blocks.{stage}." for stage in stages), "conv_head.", "bn2."]
    rate = options.learning_rate or config.schedule.learning_rate * RATE_SHARE
    recipe = replace(
        config,
        name=f"{config.name}_fixres{height}",
        data=images,
        model=replace(
            config.model,
            image_size=height,
            classes=classifier.classes,
            pretrained=False,
            init=str(checkpoint.resolve()),
        ),
        # No augmentation, as at inference.
        noise=replace(config.noise, enabled=False, least_crop=1.0, flip=0.0),
        schedule=replace(
            config.schedule,
            steps=0,
            epochs=CLASSIFIER_EPOCHS if options.epochs is None else options.epochs,
            learning_rate=rate,
            warmup_steps=0,
            frozen=tuple(shallow(model, learning)),
        ),
    )
    return ClassifierConfig.from_dict(recipe.to_dict(), "fixres")


def detector_recipe(trained: Trained, checkpoint: Path, data: Path, options: FixRes) -> TrainConfig:
    """The recipe of the fine-tuning: whole frames, anchors scaled with the size. Raises FixResError."""
    config = trained.config
    new, old = options.size, config.model.input_size
    if any(side % MULTIPLE for side in new):
        raise FixResError(f"size {new[0]}x{new[1]} of a detector needs multiples of {MULTIPLE}")
    if new[0] * new[1] <= old[0] * old[1] or new[0] < old[0] or new[1] < old[1]:
        raise FixResError(f"size {new[0]}x{new[1]} is not larger than the {old[0]}x{old[1]} of {checkpoint}")
    epochs = DETECTOR_EPOCHS if options.epochs is None else options.epochs
    if epochs != int(epochs):
        raise FixResError(f"a detector's epochs are whole: {epochs} are not")
    down, across = new[0] / old[0], new[1] / old[1]
    anchors = tuple(tuple((w * across, h * down) for w, h in head) for head in config.model.anchors)
    network = config.model
    frozen: tuple[str, ...] = ("backbone.",)
    if options.last_stages:
        model = network_of(network)
        stages = _last_stages(model.backbone, options.last_stages)
        frozen = tuple(f"backbone.{name}" for name in shallow(model.backbone, [f"blocks.{n}." for n in stages]))
    sources = TrainConfig.load(data).data if data.suffix in (".yaml", ".yml") else replace(config.data, root=str(data))
    schedule = config.schedule
    recipe = replace(
        config,
        name=f"{config.name}_fixres{new[0]}x{new[1]}",
        data=sources,
        model=replace(
            network,
            input_size=new,
            anchors=anchors,
            pretrained=False,
            stochastic_depth=0.0,
            dropout=0.0,
            init=str(checkpoint.resolve()),
        ),
        schedule=replace(
            schedule,
            steps=0,
            epochs=int(epochs),
            crop_size=new,
            multi_scale=(1.0, 1.0),
            learning_rate=options.learning_rate or schedule.learning_rate * RATE_SHARE,
            rate_schedule="cosine",
            rate_steps=(),
            warmup_steps=0,
            mosaic_off_epochs=0,
            frozen=frozen,
            validate_every=int(epochs) or 1,
            patience=0,
        ),
        augment=replace(
            AugmentConfig(scale=(1.0, 1.0), aspect=0.0, flip=0.0, hue=0.0, saturation=1.0, exposure=1.0, mosaic=0.0),
            min_visible=config.augment.min_visible,
            min_size=config.augment.min_size,
        ),
    )
    return TrainConfig.from_dict(recipe.to_dict(), "fixres")


def shallow(model: nn.Module, learning: Sequence[str], prefix: str = "") -> Iterator[str]:
    """The shortest name prefixes that cover all parameters and batch norms outside `learning`.

    Args:
        learning: prefixes of whole modules, including the dot (`blocks.6.`).
    """
    for name, child in model.named_children():
        place = f"{prefix}{name}."
        if place in learning or not any(True for _ in child.parameters()):
            continue
        if any(wanted.startswith(place) for wanted in learning):
            yield from shallow(child, learning, place)
        else:
            yield place


def _last_stages(backbone: nn.Module, count: int) -> range:
    """Indices of a backbone's last stages. Raises FixResError unless at least one stage remains frozen."""
    if not isinstance(backbone, TableBackbone):
        raise FixResError("this backbone is not made of stages: leave last_stages at 0")
    stages = len(backbone.blocks)
    if count >= stages:
        raise FixResError(f"last_stages {count} leaves nothing shallow: the backbone has {stages} stages")
    return range(stages - count, stages)
