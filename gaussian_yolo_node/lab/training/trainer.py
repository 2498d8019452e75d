"""The training state of a detector, as saved in checkpoints, and the training step."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo
from gaussian_yolo_node.lab.training.checkpoint import (
    CheckpointError,
    WeightAverage,
    network_of,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from gaussian_yolo_node.lab.training.config import TrainConfig
from gaussian_yolo_node.lab.training.depthwise import use_fast_depthwise
from gaussian_yolo_node.lab.training.distributed import Processes, share_batch_norms
from gaussian_yolo_node.lab.training.initialise import initial_model
from gaussian_yolo_node.lab.training.loader import Batch
from gaussian_yolo_node.lab.training.loss import make_loss
from gaussian_yolo_node.lab.training.optimizer import freeze, make_optimizer, rate_factor, train_mode

log = logging.getLogger("gaussian_yolo.train")
Means = dict[str, float]


class TrainingError(GaussianYoloError):
    """Training cannot continue."""


class Trainer:
    """Model, optimiser, averaged weights, latest validation and position of one run.

    Args:
        config: the recipe.
        steps_per_epoch: optimiser steps.
        device: of the network.
        processes: of the run; each process gets its share of every batch.
        output: folder for a batch with a non-finite loss; None does not save it.
        root, frames: see `initial_model`.

    Attributes:
        epoch: finished epochs. step: finished optimiser steps; done: finished steps of the current epoch.
        validation: latest average precisions by name, and their `epoch`.
        best: value and epoch of the best validation by `config.best_metric`; stale: validations since.
        stop_requested: set it to stop all processes after the next step.
    """

    def __init__(
        self,
        config: TrainConfig,
        steps_per_epoch: int,
        *,
        device: torch.device | None = None,
        processes: Processes | None = None,
        output: Path | None = None,
        root: Path | None = None,
        frames: Callable[[], Iterable[Tensor]] = tuple,
    ) -> None:
        schedule = config.schedule
        self.config = config
        self.device = device or torch.device("cpu")
        self.processes = processes or Processes()
        self.output = output
        self.steps_per_epoch = steps_per_epoch
        self.total_steps = steps_per_epoch * schedule.epochs
        self.epoch = self.step = self.done = self.stale = 0
        self.validation: Means = {}
        self.best: Means = {}
        self.stop_requested = self.stopped = False
        self._totals: Means = {}
        # The type stub of Module.to lacks memory_format.
        model: Any = initial_model(config.model, root, frames)
        model = model.to(self.device, memory_format=torch.channels_last)
        freeze(model, schedule.frozen)
        if self.device.type == "cpu" and schedule.autocast and schedule.fast_depthwise:
            use_fast_depthwise(model)  # float32 already has fast kernels
        if self.processes.count > 1:
            share_batch_norms(model)
        self.model: GaussianYolo = model
        self.network: nn.Module = model
        if self.processes.count > 1:
            self.network = DistributedDataParallel(model, gradient_as_bucket_view=True)
        self._buffers_before = [buffer.detach().clone() for buffer in model.buffers()]
        self.average = WeightAverage(self.model, schedule.ema_decay)
        self.loss = make_loss(config.model.anchors, STRIDES, len(config.model.classes), config.loss)
        self.optimizer = make_optimizer(self.model, schedule)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        bfloat = self.device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        self._half = torch.bfloat16 if bfloat else torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=schedule.autocast and not bfloat)

    def train_epoch(self, loader: Iterable[Batch]) -> Means:
        """Train the rest of the epoch; returns mean losses by name. Raises TrainingError if one is not finite."""
        for _ in self.steps(loader):
            pass
        return self.finish_epoch()

    def steps(self, loader: Iterable[Batch]) -> Iterator[Means]:
        """Train the rest of the epoch until `stop_requested`; yields the losses of each step.

        Args:
            loader: yields the batches from step `done` on.

        Raises:
            TrainingError: a loss or gradient is not finite; the message names the file with the batch.
        """
        train_mode(self.model, self.config.schedule)
        batches = iter(loader)
        while parts := list(islice(batches, self.config.schedule.accumulate)):
            losses = self._step(parts)
            self.step += 1
            self.done += 1
            for name, value in losses.items():
                self._totals[name] = self._totals.get(name, 0.0) + value
            yield losses
            if self.stopped:
                return

    def finish_epoch(self) -> Means:
        """Finish the epoch; returns its mean losses by name."""
        means = self.means()
        self.epoch += 1
        self.done = 0
        self._totals = {}
        return means

    def means(self) -> Means:
        """Mean losses of the epoch so far, by name."""
        return {name: total / max(self.done, 1) for name, total in self._totals.items()}

    def _step(self, parts: Sequence[Batch]) -> Means:
        schedule = self.config.schedule
        # The network's random draws depend only on the position, like the samples.
        torch.manual_seed((schedule.seed * 1_000_003 + self.step) * 4096 + self.processes.rank)
        factor = rate_factor(self.step, self.total_steps, schedule)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        torch._foreach_copy_(self._buffers_before, list(self.model.buffers()))
        self.optimizer.zero_grad(set_to_none=True)
        sums = torch.zeros(0)
        names: list[str] = []
        for index, batch in enumerate(parts):
            whole = index == len(parts) - 1 or self.processes.count == 1
            with nullcontext() if whole else cast(Any, self.network).no_sync():
                names, terms, total, positives = self._losses(batch)
                # Mean over the positives of all parts and processes: sum first, divide once their number is known.
                weight = max(positives, 1)
                self.scaler.scale(total * (weight * self.processes.count)).backward()
            values = torch.cat([terms * weight, terms.new_tensor([positives, self.stop_requested])])
            sums = values if index == 0 else sums + values
        *totals, positives_sum, stop = self.processes.sum(sums).tolist()
        self.stopped = stop > 0
        count = max(positives_sum, 1)
        means = {name: value / count for name, value in zip(names, totals, strict=True)} | {"positives": positives_sum}
        norm = self._finish_gradients(schedule.batch_size if schedule.normalise_by == "images" else count)
        # A float16 overflow only lowers the loss scale; an overflow at scale 1 or less is an error.
        overflow_expected = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if not all(map(math.isfinite, totals)) or not (math.isfinite(norm) or overflow_expected):
            raise self._broken(parts, means, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.model)
        return means

    def _losses(self, batch: Batch) -> tuple[list[str], Tensor, Tensor, int]:
        """Names and values of the loss terms (means over the positives), their sum, and the number of positives."""
        images = batch.images.to(self.device, non_blocking=True).float()
        with torch.autocast(self.device.type, self._half, enabled=self.config.schedule.autocast):
            heads = self.network(images)
        truths = (batch.boxes, batch.class_ids, batch.box_weights)
        boxes, class_ids, box_weights = ([item.to(self.device) for item in items] for items in truths)
        losses = self.loss(heads, boxes, class_ids, box_weights)
        terms = {f.name: value for f in fields(losses) if isinstance(value := getattr(losses, f.name), Tensor)}
        return list(terms), torch.stack([term.detach() for term in terms.values()]), losses.total, losses.positives

    def _finish_gradients(self, divisor: float) -> float:
        """Divide and clip the gradients; returns their norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        learning = [p for p in self.model.parameters() if p.grad is not None]
        torch._foreach_div_([cast(Tensor, p.grad) for p in learning], divisor)
        limit = self.config.schedule.clip_norm
        return float(nn.utils.clip_grad_norm_(learning, limit or math.inf))

    @torch.no_grad()
    def _broken(self, parts: Sequence[Batch], means: Means, norm: float) -> TrainingError:
        """Save the batch and the model before it; returns the error naming the file."""
        for buffer, before in zip(self.model.buffers(), self._buffers_before, strict=True):
            buffer.copy_(before)
        what = "the gradient" if all(map(math.isfinite, means.values())) else "the loss"
        text = f"{what} is not finite at epoch {self.epoch}, step {self.done} of it"
        if self.output is None:
            return TrainingError(f"{text}: lower schedule.learning_rate")
        suffix = f"_{self.processes.rank}" if self.processes.count > 1 else ""
        path = self.output / f"nonfinite{suffix}.pt"
        document = {
            "config": self.config.to_dict(),
            "epoch": self.epoch,
            "step": self.done,
            "losses": means,
            "gradient_norm": norm,
            "batches": [batch._asdict() for batch in parts],
            "model": self.model.state_dict(),
        }
        write_checkpoint(path, document)
        return TrainingError(
            f"{text}: its images, boxes and the model before it are in {path}; look at them, or lower "
            "schedule.learning_rate"
        )

    def validate(self, root: Path) -> None:
        """Set `validation` to the average precisions of the averaged weights on the validation sources.

        The main process evaluates and broadcasts the figures.
        """
        from gaussian_yolo_node.lab.training.validate import average_precisions

        figures: Means = {}
        if self.processes.main:
            model = network_of(self.config.model)
            model.load_state_dict(self.average.state)
            figures = average_precisions(model.eval().to(self.device), self.config, root)
        self.validation = {**self.processes.share(figures), "epoch": self.epoch}

    def is_best(self) -> bool:
        """True if the latest validation is the best so far; updates `best` and `stale`.

        Raises:
            TrainingError: the validation lacks the selected figure.
        """
        metric = self.config.best_metric
        if metric not in self.validation:
            raise TrainingError(
                f"the validation gives no {metric!r}, only {', '.join(self.validation)}: set schedule.best_metric to "
                "one of these"
            )
        value = self.validation[metric]
        better = not self.best or value > self.best["value"]
        self.stale = 0 if better else self.stale + 1
        if better:
            self.best = {"value": value, "epoch": self.epoch}
        return better

    def save(self, path: Path) -> None:
        """Save the state for `restore`; only the main process writes, all hold the same state."""
        if not self.processes.main:
            return
        state = {
            "model": self.model.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "done": self.done,
            "totals": self._totals,
            "steps_per_epoch": self.steps_per_epoch,
            "validation": self.validation,
            "best": self.best,
            "stale": self.stale,
        }
        save_checkpoint(path, self.config, self.epoch, state)

    def restore(self, path: Path) -> None:
        """Continue from the checkpoint `path`.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another architecture or epoch length.
        """
        document = read_checkpoint(path)
        done, length = int(document.get("done", 0)), int(document.get("steps_per_epoch", self.steps_per_epoch))
        if done and length != self.steps_per_epoch:
            raise CheckpointError(
                f"{path} stands within an epoch of {length} steps, but data and batch size now make "
                f"{self.steps_per_epoch}: restore them, or start anew without --resume"
            )
        try:
            self.model.load_state_dict(document["model"])
            self.optimizer.load_state_dict(document["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this config: start anew without --resume") from error
        if document.get("scaler"):
            self.scaler.load_state_dict(document["scaler"])
        self.average.state = {key: value.to(self.device, copy=True) for key, value in document["ema"].items()}
        self.average.updates = int(document["ema_updates"])
        self.validation = document.get("validation", {})
        self.best, self.stale = document.get("best", {}), int(document.get("stale", 0))
        self.epoch, self.step, self.done = int(document["epoch"]), int(document["step"]), done
        self._totals = dict(document.get("totals", {}))
