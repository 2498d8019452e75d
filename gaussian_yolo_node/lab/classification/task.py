"""The task of training a classifier."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gaussian_yolo_node.lab.classification.checkpoint import (
    Classifier,
    build_network,
    check_classifier,
    initial_network,
)
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.data import (
    Batch,
    Batches,
    Items,
    Share,
    Stream,
    View,
    read_labelled,
    read_pseudo,
    steps_of,
)
from gaussian_yolo_node.lab.classification.evaluate import accuracy
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError
from gaussian_yolo_node.lab.training.distributed import Processes
from gaussian_yolo_node.lab.training.task import Means, Task


class Data:
    """The images of a recipe."""

    def __init__(self, config: ClassifierConfig) -> None:
        data, root = config.data, Path(config.data.root)
        self.labelled, self.classes = read_labelled(root / data.train, config.model.classes)
        self.pseudo: Items | None = read_pseudo(root / data.pseudo, self.classes) if data.pseudo else None
        self.validation: Items | None = None
        if data.validation:
            self.validation, _ = read_labelled(root / data.validation, self.classes)


class ClassificationTask(Task):
    """See `training.task.Task`. An epoch is one pass over the labelled images."""

    config: ClassifierConfig
    best_metric = "top1"

    def __init__(self, config: ClassifierConfig, data: Data, processes: Processes | None = None) -> None:
        self.config, self.data, self.classes = config, data, data.classes
        self.validates = data.validation is not None
        network, schedule = config.model, config.schedule
        self.steps_per_epoch = steps_of(len(data.labelled), schedule.batch_size)
        self.smoothing = schedule.label_smoothing
        view = View(config.noise, network.image_size, network.crop_fraction)
        counts = [(data.labelled, schedule.batch_size)]
        if data.pseudo is not None and config.unlabelled_batch:
            counts.append((data.pseudo, config.unlabelled_batch))
        processes = processes or Processes()
        shares = [
            Share(Stream(items, view, schedule.seed, number), count, processes.rank, processes.count)
            for number, (items, count) in enumerate(counts)
        ]
        self.loader = Batches(shares, config.data.workers)

    def network(self, device: torch.device) -> nn.Module:
        model = initial_network(self.config, len(self.classes))
        self.normalisation = model.normalisation
        return model

    def batches(self, epoch: int, start: int, end: int) -> Iterable[Batch]:
        before = epoch * self.steps_per_epoch
        return self.loader.steps(before + start, before + end)

    def inputs(self, batch: Batch, device: torch.device) -> Tensor:
        return self.normalisation(batch.images.to(device).float()).contiguous(memory_format=torch.channels_last)

    def losses(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        targets = batch.targets.to(outputs.device)
        labelled, unlabelled = student_loss(outputs, targets, batch.labelled, self.smoothing)
        sums = torch.stack([labelled.detach(), unlabelled.detach()])
        counts = sums.new_tensor([batch.labelled, len(targets) - batch.labelled, 1])
        # All processes have equally many images, so the gradient is the mean of their means.
        return (labelled + unlabelled) / len(targets), torch.cat([sums, counts])

    def divisor(self, sums: Sequence[float]) -> float:
        return sums[-1]

    def means(self, sums: Sequence[float]) -> Means:
        labelled, unlabelled, known, pseudo, _ = sums
        means = {"loss": (labelled + unlabelled) / (known + pseudo), "labelled": labelled / known}
        return means | ({"unlabelled": unlabelled / pseudo} if pseudo else {})

    def validate(self, weights: Mapping[str, Tensor], device: torch.device) -> Means:
        """`top1` and `top5`."""
        assert self.data.validation is not None
        model = build_network(self.config, len(self.classes))
        model.load_state_dict(weights)
        figures = accuracy(Classifier(model.eval().to(device), self.classes, self.config, 0), self.data.validation)
        return {name: figures[name] for name in ("top1", "top5")}

    def state(self) -> dict[str, Any]:
        return {"classifier": {"classes": list(self.classes)}}

    def accept(self, document: dict[str, Any], path: Path) -> dict[str, Any]:
        check_classifier(document, path)
        classes = tuple(document["classifier"]["classes"])
        if int(document["steps_per_epoch"]) != self.steps_per_epoch or classes != self.classes:
            raise CheckpointError(
                f"{path} is of other data or another batch size: restore them, or start anew without --resume"
            )
        if "seen" not in document:
            return document
        # Written before detectors and classifiers had one loop.
        epoch = math.ceil((document["step"] - document["seen"]) / self.steps_per_epoch)
        validation = {**document["validation"], "epoch": epoch} if document["validation"] else {}
        return {**document, "done": document["seen"], "epoch": epoch, "validation": validation}

    def close(self) -> None:
        self.loader.close()

    def __str__(self) -> str:
        pseudo = len(self.data.pseudo.paths) if self.data.pseudo else 0
        labelled = len(self.data.labelled.paths)
        return f"{labelled} labelled and {pseudo} pseudo-labelled images of {len(self.classes)} classes"


def student_loss(logits: Tensor, targets: Tensor, labelled: int, smoothing: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the labelled images, and over the pseudo-labelled ones; divide their sum by B.

    Noisy Student, algorithm 1: the mean over the combined batch of labels and soft pseudo labels.

    Args:
        logits: `[B,C]`.
        targets: `[B,C]` probabilities, the labelled images first.
        labelled: number of labelled images. Only their targets are smoothed; a teacher's are already soft.
        smoothing: label smoothing, spread over all C classes (Szegedy et al., CVPR 2016).
    """
    smoothed = targets.clone()
    smoothed[:labelled] = targets[:labelled] * (1 - smoothing) + smoothing / targets.shape[1]
    losses = -(smoothed * logits.log_softmax(1)).sum(1)
    return losses[:labelled].sum(), losses[labelled:].sum()
