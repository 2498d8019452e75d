"""Transfer to another classification set (Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019).

A new last layer learns on the frozen features of a network, or all of the network learns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.lab.classification.checkpoint import build_network, load_classifier
from gaussian_yolo_node.lab.classification.cifar import TEST, TRAIN, find_cifar, unpack_cifar
from gaussian_yolo_node.lab.classification.config import (
    ClassifierConfig,
    ClassifierSchedule,
    ImagesConfig,
    NetworkConfig,
    NoiseConfig,
)
from gaussian_yolo_node.lab.classification.data import read_labelled
from gaussian_yolo_node.lab.classification.evaluate import accuracy
from gaussian_yolo_node.lab.classification.train import train_classifier
from gaussian_yolo_node.labels import DatasetError
from gaussian_yolo_node.settings import Count, Natural, Positive, bounds, check, option

PRETRAINED = "efficientnet_lite0"
TEST_FOLDERS = (TEST, "val", "validation")
RECIPE = "recipe.yaml"
UNPACKED = "pictures"


class TransferError(GaussianYoloError):
    """Invalid options of a transfer; the message names the option."""


@dataclass(frozen=True)
class Transfer:
    """Options.

    Attributes:
        frozen: only the last layer learns.
        size: side of the square network input, px.
        epochs, batch_size, learning_rate, seed: of the training; learning_rate is the peak of a cosine.
    """

    frozen: bool = False
    size: Annotated[int, bounds(least=8)] = 224
    epochs: Positive = 10.0
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    seed: Natural = 0

    def __post_init__(self) -> None:
        check(self, TransferError, option)


def transfer(model: str, data: Path, output: Path, options: Transfer, **training: Any) -> dict[str, float]:
    """Train on a new set and test.

    Args:
        model: checkpoint of a classifier (.pt), or `PRETRAINED` with its ImageNet weights.
        data: folder with `train` and `test` (or `val`, `validation`), each a folder per class; or with the binary
            version of CIFAR-10 or CIFAR-100, which is unpacked into the output.
        output: folder of the checkpoint, the recipe and CIFAR's pictures.
        training: `resume`, `threads`, `device`, `console`: see `training.loop.train`.

    Returns:
        `top1` and `top5` on the test pictures, 0..1, and the number of `images`.

    Raises:
        GaussianYoloError: one sentence naming the error.
    """
    recipe = transfer_recipe(model, *_splits(data, output), options)
    write_whole(output / RECIPE, yaml.safe_dump(recipe.to_dict(), sort_keys=False))
    classifier = load_classifier(train_classifier(recipe, output, **training))
    return accuracy(classifier, read_labelled(Path(recipe.data.validation), classifier.classes)[0])


def transfer_recipe(model: str, train: Path, test: Path, options: Transfer) -> ClassifierConfig:
    """The recipe of a transfer. Raises GaussianYoloError for an unknown model or unusable data."""
    if model == PRETRAINED:
        network = NetworkConfig(PRETRAINED, pretrained=True)
    elif model.endswith(".pt"):
        path = Path(model)
        network = replace(load_classifier(path).config.model, pretrained=False, init=str(path.resolve()))
    else:
        raise TransferError(f"MODEL {model!r} must be a classifier's checkpoint (.pt) or {PRETRAINED}")
    _, classes = read_labelled(train)
    # Pictures are seen whole: CIFAR's objects fill them.
    network = replace(network, image_size=options.size, crop_fraction=1.0, classes=classes)
    recipe = ClassifierConfig(
        f"transfer_{network.backbone}",
        ClassifierSchedule(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            seed=options.seed,
            freeze_batch_norm=options.frozen,
        ),
        "classification",
        ImagesConfig(str(train.resolve()), validation=str(test.resolve())),
        network,
        # Frozen features are those of pictures as they are.
        NoiseConfig(enabled=False, least_crop=1.0, flip=0.0) if options.frozen else NoiseConfig(False, least_crop=0.5),
    )
    if options.frozen:
        learned = [name for name, _ in build_network(recipe, len(classes)).named_parameters()]
        frozen = dict.fromkeys(f"{name.partition('.')[0]}." for name in learned if not name.startswith("classifier."))
        recipe = replace(recipe, schedule=replace(recipe.schedule, frozen=tuple(frozen)))
    return recipe


def _splits(data: Path, output: Path) -> tuple[Path, Path]:
    """Folders of the training and the test pictures."""
    if not data.is_dir():
        raise DatasetError(f"DATA {data} is no folder")
    layout = find_cifar(data)
    root = data if layout is None else unpack_cifar(data, layout, output / UNPACKED)
    test = next((root / name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    if test is None or not (root / TRAIN).is_dir():
        raise DatasetError(
            f"{data} must have the folders {TRAIN} and {TEST}, with a folder per class in each, or be the binary "
            "version of CIFAR-10 or CIFAR-100"
        )
    return root / TRAIN, test
