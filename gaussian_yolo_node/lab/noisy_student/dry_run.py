"""What the steps of a chain would take: steps, memory and GPU hours, from shapes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import read_card, resolve_model
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.classification.checkpoint import build_network, load_classifier
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.data import read_labelled, steps_of
from gaussian_yolo_node.lab.complexity import Complexity, complexity, onnx_complexity
from gaussian_yolo_node.lab.noisy_student.chain_config import ChainConfig
from gaussian_yolo_node.lab.noisy_student.shards import plan_shards
from gaussian_yolo_node.lab.training.checkpoint import network_of
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.labels import load_sources

CLASSES = 1000  # of a classifier whose recipe names none and whose data are not counted: ImageNet's
TRAINING = 3  # forward pass, and twice as much for both gradients
OPERATIONS = 2  # of one multiply-accumulate
# Of each parameter in training, float32: weight, gradient, average, and the optimiser's moments.
COPIES = {"sgd": 4, "adamw": 5}
VALUE = 4  # bytes
GIB = 2**30


class DryRunError(GaussianYoloError):
    """The number of images is not known."""


@dataclass(frozen=True)
class Cost:
    """One step of a chain.

    Attributes:
        name: as in the manifest.
        size: height and width that the network sees, px.
        parameters: of the network.
        images: that pass through it; in training `steps` times the images of a step.
        steps: optimiser steps; 0 for labelling.
        operations: floating-point operations of the whole step.
        fixed_bytes: memory of the network, in training with gradients, average and optimiser.
        image_bytes: memory of each image of a step; in training, what the gradients need.
    """

    name: str
    size: tuple[int, int]
    parameters: int
    images: int
    steps: int
    operations: float
    fixed_bytes: int
    image_bytes: int


@dataclass(frozen=True)
class _Network:
    """A network of a chain, on the meta device: cost of one image, and memory that its gradients need."""

    size: tuple[int, int]
    cost: Complexity
    image_bytes: int = 0


def costs(config: ChainConfig, labelled: int | None = None, unlabelled: int | None = None) -> list[Cost]:
    """The labellings and trainings of a chain, in order; nothing is read but recipes, and data for missing counts.

    Args:
        labelled: labelled images; None counts those of each recipe's data.
        unlabelled: None counts those of the sources.

    Raises:
        DryRunError: the sources do not tell their number of images before they are read.
        GaussianYoloError: a recipe, or data to be counted, cannot be used.
    """
    if unlabelled is None:
        counts = [shard.count for shard in plan_shards(config.unlabelled)]
        if None in counts:
            raise DryRunError("the images in tar shards are not counted before they are read: give --unlabelled N")
        unlabelled = sum(count or 0 for count in counts)
    training = cache(partial(_training, config, labelled))
    found = []
    if config.teacher:
        teacher = _given(config.teacher)
    else:
        teacher, cost = training(Path(config.teacher_recipe), 0.0)
        found.append(replace(cost, name="0_teacher train"))
    for number, one in enumerate(config.rounds, start=1):
        name = f"{number}_{one.name}"
        found.append(_labelling(f"{name} label", teacher, unlabelled))
        teacher, cost = training(Path(one.recipe), one.ratio)
        found.append(replace(cost, name=f"{name} train"))
    return found


def lines(found: Sequence[Cost], tflops: float) -> list[str]:
    """One line for each step and their sum; hours are those of one GPU that computes `tflops` * 10^12 operations a
    second."""
    lines = []
    for cost in found:
        height, width = cost.size
        work = f"{cost.images:,} images"
        memory = f"{cost.fixed_bytes / GIB:.1f} GiB"
        if cost.steps:
            work = f"{cost.steps:,} steps of {cost.images // cost.steps:,} images"
            memory += f" and {cost.image_bytes / GIB:.2f} GiB an image"
        lines.append(
            f"{cost.name}: {height}x{width} px, {cost.parameters / 1e6:.1f} M parameters, {work}, {memory}, "
            f"{_hours(cost, tflops):,.1f} GPU hours"
        )
    total = sum(_hours(cost, tflops) for cost in found)
    return [*lines, f"{total:,.1f} GPU hours at {tflops:g} TFLOP/s"]


def _hours(cost: Cost, tflops: float) -> float:
    return cost.operations / (tflops * 1e12) / 3600


def _labelling(name: str, teacher: _Network, images: int) -> Cost:
    parameters, macs = teacher.cost.parameters, teacher.cost.macs
    # The largest feature map and its successor are far below a training's memory; they are not counted.
    return Cost(name, teacher.size, parameters, images, 0, OPERATIONS * macs * images, VALUE * parameters, 0)


def _training(config: ChainConfig, labelled: int | None, recipe: Path, ratio: float) -> tuple[_Network, Cost]:
    root = Path(config.data) if config.data else None
    settings: ClassifierConfig | TrainConfig
    if config.kind == "classification":
        network, known, settings = _classifier(ClassifierConfig.load(recipe), root, labelled)
    else:
        network, known, settings = _detector(TrainConfig.load(recipe), root, labelled)
    schedule = settings.schedule
    if isinstance(settings, ClassifierConfig):
        per_epoch, batch = steps_of(known, schedule.batch_size), round(schedule.batch_size * (1 + ratio))
    else:  # pseudo labels lengthen the epochs of a detector
        per_epoch, batch = max(1, int(known * (1 + ratio)) // schedule.batch_size), schedule.batch_size
    steps = schedule.total_steps(per_epoch)
    parameters = network.cost.parameters
    operations = float(TRAINING * OPERATIONS * network.cost.macs) * steps * batch
    fixed = VALUE * COPIES[schedule.optimizer] * parameters
    return network, Cost("", network.size, parameters, steps * batch, steps, operations, fixed, network.image_bytes)


def _classifier(
    config: ClassifierConfig, root: Path | None, labelled: int | None
) -> tuple[_Network, int, ClassifierConfig]:
    classes = len(config.model.classes) or CLASSES
    if labelled is None:
        items, names = read_labelled((root or Path(config.data.root)) / config.data.train, config.model.classes)
        labelled, classes = len(items), len(names)
    return _measured(partial(build_network, config, classes), (config.model.image_size,) * 2), labelled, config


def _detector(config: TrainConfig, root: Path | None, labelled: int | None) -> tuple[_Network, int, TrainConfig]:
    if labelled is None:
        images = load_sources(root or Path(config.data.root), config.data.train, config.model.classes)
        labelled = int(sum(image.weight for image in images))
    return _measured(partial(network_of, config.model), config.schedule.crop_size), labelled, config


def _given(teacher: str) -> _Network:
    if teacher.endswith(".pt"):
        classifier = load_classifier(Path(teacher))
        size = (classifier.image_size,) * 2
        return _Network(size, complexity(classifier.model, size))
    import onnx

    path = resolve_model(teacher)
    card = read_card({entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}, path)
    return _Network(card.input_size, onnx_complexity(path))


def _measured(make: Callable[[], nn.Module], size: tuple[int, int]) -> _Network:
    with torch.device("meta"):
        model = make()
    return _Network(size, complexity(model, size), gradient_bytes(model, size))


def gradient_bytes(model: nn.Module, size: tuple[int, int]) -> int:
    """Memory that the backward pass of one image needs, bytes: all that autograd keeps, in float32.

    Args:
        model: on the meta device; takes `[B,3,H,W]`.
        size: H and W, px.
    """
    parameters = {id(parameter) for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(value: Tensor) -> Tensor:
        if id(value) not in parameters:
            kept[value.untyped_storage()._cdata] = value
        return value

    images = 2  # batch norm needs more than one value for each channel
    training = model.training
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        model.train()(torch.empty(images, 3, *size, device="meta"))
    model.train(training)
    return sum(value.untyped_storage().nbytes() for value in kept.values()) // images
