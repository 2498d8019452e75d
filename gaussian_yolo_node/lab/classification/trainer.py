"""The training state of a classifier, as saved in checkpoints, and the training step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gaussian_yolo_node.lab.classification.checkpoint import (
    Classifier,
    as_tensor,
    build_network,
    initial_network,
    normalised,
    read_classifier,
    save_classifier,
)
from gaussian_yolo_node.lab.classification.config import ClassifierConfig
from gaussian_yolo_node.lab.classification.data import Batch, Items
from gaussian_yolo_node.lab.classification.evaluate import accuracy
from gaussian_yolo_node.lab.classification.loss import student_loss
from gaussian_yolo_node.lab.networks.blocks import Backbone
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, WeightAverage
from gaussian_yolo_node.lab.training.distributed import Processes, share_batch_norms
from gaussian_yolo_node.lab.training.optimizer import freeze, make_optimizer, rate_factor, train_mode
from gaussian_yolo_node.lab.training.trainer import TrainingError


class ClassifierTrainer:
    """Model, optimiser, averaged weights and position of one run.

    Args:
        config: the recipe.
        classes: in the order of the outputs.
        steps_per_epoch, total_steps: optimiser steps.
        device: of the network.
        processes: of the run; each process gets its share of every batch.

    Attributes:
        step: completed optimiser steps.
        validation: latest `top1` and `top5` of the averaged weights; empty before the first validation.
        stop_requested: set it to stop all processes after the next step; then `stopped` is set.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        classes: Sequence[str],
        steps_per_epoch: int,
        total_steps: int,
        *,
        device: torch.device | None = None,
        processes: Processes | None = None,
    ) -> None:
        self.config, self.classes = config, tuple(classes)
        self.steps_per_epoch, self.total_steps = steps_per_epoch, total_steps
        self.device = device or torch.device("cpu")
        self.processes = processes or Processes()
        self.schedule = config.schedule
        self.step = 0
        self.validation: dict[str, float] = {}
        self.stop_requested = self.stopped = False
        self._totals: dict[str, float] = {}
        self._seen = 0  # number of steps in the totals
        # The type stub of Module.to lacks memory_format.
        model: Any = initial_network(config, len(self.classes))
        self.model: Backbone = model.to(self.device, memory_format=torch.channels_last)
        freeze(self.model, self.schedule.frozen)
        if self.processes.count > 1:
            share_batch_norms(self.model)
        self.network: nn.Module = self.model
        if self.processes.count > 1:
            self.network = DistributedDataParallel(self.model, gradient_as_bucket_view=True)
        self.average = WeightAverage(self.model, config.schedule.ema_decay)
        self.optimizer = make_optimizer(self.model, self.schedule)

    def learn(self, batch: Batch) -> None:
        """One optimiser step. Raises TrainingError if the loss or gradient is not finite."""
        schedule = self.config.schedule
        # The network's random draws depend only on the position, like the images.
        torch.manual_seed((schedule.seed * 1_000_003 + self.step) * 4096 + self.processes.rank)
        train_mode(self.model, self.schedule)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate_at(self.step)
        images = normalised(as_tensor(batch.images).to(self.device), self.model.normalisation)
        targets = torch.from_numpy(batch.targets).to(self.device)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.network(images.contiguous(memory_format=torch.channels_last))
        labelled, unlabelled = student_loss(logits, targets, batch.labelled, schedule.label_smoothing)
        total = (labelled + unlabelled) / len(targets)
        total.backward()
        learning = [p for p in self.model.parameters() if p.grad is not None]
        norm = float(nn.utils.clip_grad_norm_(learning, schedule.clip_norm or math.inf))
        sums = torch.stack([labelled.detach(), unlabelled.detach()]).cpu().double()
        counts = [batch.labelled, len(targets) - batch.labelled, float(self.stop_requested)]
        sums = self.processes.sum(torch.cat([sums, sums.new_tensor(counts)]).to(self.device)).cpu()
        if not math.isfinite(norm) or not torch.isfinite(sums).all():
            raise TrainingError(
                f"the loss or its gradient is not finite at step {self.step}: lower schedule.learning_rate"
            )
        self.optimizer.step()
        self.average.update(self.model)
        self.step += 1
        self._count(*sums.tolist())

    def _count(self, labelled: float, unlabelled: float, known: float, pseudo: float, stop: float) -> None:
        self.stopped = stop > 0
        self._seen += 1
        terms = {"loss": (labelled + unlabelled) / (known + pseudo), "labelled": labelled / known}
        if pseudo:
            terms["unlabelled"] = unlabelled / pseudo
        for name, value in terms.items():
            self._totals[name] = self._totals.get(name, 0.0) + value

    @property
    def epochs(self) -> int:
        """Finished epochs, including a final partial epoch."""
        return math.ceil(self.step / self.steps_per_epoch) - (self._seen > 0)

    @property
    def rate(self) -> float:
        """Learning rate of the latest step."""
        return self._rate_at(max(self.step - 1, 0))

    def _rate_at(self, step: int) -> float:
        return self.config.schedule.learning_rate * rate_factor(step, self.total_steps, self.schedule)

    @property
    def at_end_of_epoch(self) -> bool:
        """True after the last step of an epoch, until `finish_epoch` is called."""
        return self._seen > 0 and (self.step % self.steps_per_epoch == 0 or self.step == self.total_steps)

    def means(self) -> dict[str, float]:
        """Mean losses of the epoch so far, by name."""
        return {name: total / max(self._seen, 1) for name, total in self._totals.items()}

    def finish_epoch(self) -> dict[str, float]:
        """Mean losses of the epoch by name; resets them for the next."""
        means = self.means()
        self._totals, self._seen = {}, 0
        return means

    def classifier(self) -> Classifier:
        """A classifier with the averaged weights."""
        model = build_network(self.config, len(self.classes))
        model.load_state_dict(self.average.state)
        return Classifier(model.eval().to(self.device), self.classes, self.config, self.step / self.steps_per_epoch)

    def validate(self, items: Items) -> None:
        """Set `validation`; the main process evaluates and broadcasts the figures."""
        figures: dict[str, float] = {}
        if self.processes.main:
            figures = accuracy(self.classifier(), items)
            del figures["images"]
        self.validation = self.processes.share(figures)

    def save(self, path: Path) -> None:
        """Save the state for `restore`; only the main process writes, all hold the same state."""
        if not self.processes.main:
            return
        state = {
            "epoch": self.step / self.steps_per_epoch,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "model": self.model.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "totals": self._totals,
            "seen": self._seen,
            "validation": self.validation,
        }
        save_classifier(path, self.config, self.classes, state)

    def restore(self, path: Path) -> None:
        """Continue from the checkpoint `path`.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another network, dataset or epoch length.
        """
        document = read_classifier(path)
        if int(document["steps_per_epoch"]) != self.steps_per_epoch or self._classes_of(document) != self.classes:
            raise CheckpointError(
                f"{path} is of other data or another batch size: restore them, or start anew without --resume"
            )
        try:
            self.model.load_state_dict(document["model"])
            self.optimizer.load_state_dict(document["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this recipe: start anew without --resume") from error
        self.average.state = {key: value.to(self.device, copy=True) for key, value in document["ema"].items()}
        self.average.updates = int(document["ema_updates"])
        self.step, self._seen = int(document["step"]), int(document["seen"])
        self._totals, self.validation = dict(document["totals"]), dict(document["validation"])

    @staticmethod
    def _classes_of(document: dict[str, Any]) -> tuple[str, ...]:
        return tuple(cast("list[str]", document["classifier"]["classes"]))
