"""The training state of a network, as saved in checkpoints, and the training step."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.training.checkpoint import CheckpointError, WeightAverage, read_checkpoint, write_checkpoint
from gaussian_yolo_node.lab.training.distributed import Processes, share_batch_norms
from gaussian_yolo_node.lab.training.optimizer import freeze, make_optimizer, rate_factor, train_mode
from gaussian_yolo_node.lab.training.task import Means, Task

log = logging.getLogger("gaussian_yolo.train")


class TrainingError(GaussianYoloError):
    """Training cannot continue."""


class Trainer:
    """Model, optimiser, averaged weights, latest validation and position of one run.

    Args:
        task: what is trained.
        device: of the network.
        processes: of the run; each process gets its share of every batch.
        output: folder for a batch with a non-finite loss; None does not save it.

    Attributes:
        epoch: finished epochs. step: finished optimiser steps; done: finished steps of the current epoch.
        epochs, total_steps: of the whole run; the last epoch may be shorter.
        validation: latest figures by name, and their `epoch`.
        best: value and epoch of the best validation by `task.best_metric`; stale: validations since.
        stop_requested: set it to stop all processes after the current step; then `stopped` is set.
    """

    def __init__(
        self,
        task: Task,
        *,
        device: torch.device | None = None,
        processes: Processes | None = None,
        output: Path | None = None,
    ) -> None:
        self.task, self.config = task, task.config
        self.schedule = schedule = task.config.schedule
        self.device = device or torch.device("cpu")
        self.processes = processes or Processes()
        self.output = output
        self.steps_per_epoch = task.steps_per_epoch
        self.total_steps = schedule.total_steps(self.steps_per_epoch)
        self.epochs = math.ceil(self.total_steps / self.steps_per_epoch)
        self.epoch = self.step = self.done = self.stale = 0
        self.validation: Means = {}
        self.best: Means = {}
        self.stop_requested = self.stopped = False
        self._totals: Means = {}
        # The type stub of Module.to lacks memory_format.
        model: Any = task.network(self.device)
        self.model: nn.Module = model.to(self.device, memory_format=torch.channels_last)
        freeze(self.model, schedule.frozen)
        self.network = self.model
        if self.processes.count > 1:
            share_batch_norms(self.model)
            self.network = DistributedDataParallel(self.model, gradient_as_bucket_view=True)
        self._buffers_before = [buffer.detach().clone() for buffer in self.model.buffers()]
        self.average = WeightAverage(self.model, schedule.ema_decay)
        self.optimizer = make_optimizer(self.model, schedule)
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        bfloat = self.device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
        self._half = torch.bfloat16 if bfloat else torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=task.autocast and not bfloat)

    @property
    def rate(self) -> float:
        """Highest learning rate of the latest step."""
        return max(group["lr"] for group in self.optimizer.param_groups)

    def train_epoch(self, batches: Iterable[Any] | None = None) -> Means:
        """Train the rest of the epoch; returns mean losses by name. Raises TrainingError if one is not finite."""
        for _ in self.steps(batches):
            pass
        return self.finish_epoch()

    def steps(self, batches: Iterable[Any] | None = None) -> Iterator[Means]:
        """Train the rest of the epoch until `stop_requested`; yields the losses of each step.

        Args:
            batches: of the rest of the epoch; default: the task's.

        Raises:
            TrainingError: a loss or gradient is not finite; the message names the file with the batch.
        """
        train_mode(self.model, self.schedule)
        end = min(self.steps_per_epoch, self.total_steps - self.epoch * self.steps_per_epoch)
        rest = iter(self.task.batches(self.epoch, self.done, end) if batches is None else batches)
        while parts := list(islice(rest, self.task.accumulate)):
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

    def _step(self, parts: Sequence[Any]) -> Means:
        # The network's random draws depend only on the position, like the samples.
        torch.manual_seed((self.schedule.seed * 1_000_003 + self.step) * 4096 + self.processes.rank)
        factor = rate_factor(self.step, self.total_steps, self.schedule)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        torch._foreach_copy_(self._buffers_before, list(self.model.buffers()))
        self.optimizer.zero_grad(set_to_none=True)
        values = torch.zeros(0)
        for index, batch in enumerate(parts):
            whole = index == len(parts) - 1 or self.processes.count == 1
            with nullcontext() if whole else cast(Any, self.network).no_sync():
                inputs = self.task.inputs(batch, self.device)
                with torch.autocast(self.device.type, self._half, enabled=self.task.autocast):
                    outputs = self.network(inputs)
                total, sums = self.task.losses(outputs, batch)
                # Sum over all parts and processes first, divide once by what the whole batch says.
                self.scaler.scale(total * self.processes.count).backward()
            values = sums if index == 0 else values + sums
        totals = self.processes.sum(values).tolist()
        means = self.task.means(totals)
        norm = self._finish_gradients(self.task.divisor(totals))
        # A float16 overflow only lowers the loss scale; an overflow at scale 1 or less is an error.
        overflow_expected = self.scaler.is_enabled() and self.scaler.get_scale() > 1
        if not all(map(math.isfinite, totals)) or not (math.isfinite(norm) or overflow_expected):
            raise self._broken(parts, means, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.model)
        # Last, so that a request during the step is met with this step. All processes stop together.
        self.stopped = bool(self.processes.sum(values.new_tensor([self.stop_requested])).item())
        return means

    def _finish_gradients(self, divisor: float) -> float:
        """Divide and clip the gradients; returns their norm before clipping."""
        self.scaler.unscale_(self.optimizer)
        learning = [p for p in self.model.parameters() if p.grad is not None]
        torch._foreach_div_([cast(Tensor, p.grad) for p in learning], divisor)
        return float(nn.utils.clip_grad_norm_(learning, self.schedule.clip_norm or math.inf))

    @torch.no_grad()
    def _broken(self, parts: Sequence[Any], means: Means, norm: float) -> TrainingError:
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
            f"{text}: its images, their labels and the model before it are in {path}; look at them, or lower "
            "schedule.learning_rate"
        )

    def validation_due(self) -> bool:
        """True after the last epoch and every `validate_every` epochs, until `validate` is called."""
        regular = self.epoch > 0 and self.done == 0 and self.epoch % self.schedule.validate_every == 0
        due = self.epoch == self.epochs or regular
        return self.task.validates and due and self.validation.get("epoch") != self.epoch

    def validate(self) -> None:
        """Set `validation`; the main process evaluates the averaged weights and broadcasts the figures."""
        figures = self.task.validate(self.average.state, self.device) if self.processes.main else {}
        self.validation = {**self.processes.share(figures), "epoch": self.epoch}

    def is_best(self) -> bool:
        """True if the latest validation is the best so far; updates `best` and `stale`.

        Raises:
            TrainingError: the validation lacks the selected figure.
        """
        metric = self.task.best_metric
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
        document = {
            **self.task.state(),
            "config": self.config.to_dict(),
            "epoch": self.epoch,
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
        write_checkpoint(path, document)

    def restore(self, path: Path) -> None:
        """Continue from the checkpoint `path`.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another architecture, data or epoch length.
        """
        document = self.task.accept(read_checkpoint(path), path)
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
            raise CheckpointError(f"{path} does not fit this recipe: start anew without --resume") from error
        if document.get("scaler"):
            self.scaler.load_state_dict(document["scaler"])
        self.average.state = {key: value.to(self.device, copy=True) for key, value in document["ema"].items()}
        self.average.updates = int(document["ema_updates"])
        self.epoch, self.step, self.done = int(document["epoch"]), int(document["step"]), done
        self.validation = dict(document.get("validation", {}))
        self.best, self.stale = document.get("best", {}), int(document.get("stale", 0))
        self._totals = dict(document.get("totals", {}))
