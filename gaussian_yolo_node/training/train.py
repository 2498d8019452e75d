"""The training loop: `gaussian-yolo train CONFIG`."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.models.gaussian_yolo import STRIDES, GaussianYolo, build_model
from gaussian_yolo_node.training.checkpoint import (
    CheckpointError,
    WeightAverage,
    read_checkpoint,
    save_checkpoint,
)
from gaussian_yolo_node.training.config import TrainConfig
from gaussian_yolo_node.training.datasets import load_sources
from gaussian_yolo_node.training.loader import make_loader
from gaussian_yolo_node.training.loss import GaussianYoloLoss

log = logging.getLogger("gaussian_yolo.train")
CHECKPOINT = "last.pt"


class TrainingError(GaussianYoloError):
    """Training cannot go on."""


def run(
    config_path: Path,
    output: Path,
    *,
    resume: bool = False,
    data_root: Path | None = None,
    threads: int = 0,
) -> Path:
    """Train as the config says.

    Args:
        config_path: YAML recipe.
        output: folder for the checkpoint and the TensorBoard log.
        resume: go on from `output/last.pt`; the curve is the one an uninterrupted run would have had.
        data_root: replaces the config's `data.root`.
        threads: torch's threads; 0 leaves its choice.

    Returns:
        the checkpoint's path.
    """
    from torch.utils.tensorboard import SummaryWriter

    config = TrainConfig.load(config_path)
    root = data_root or Path(config.data.root)
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(config.schedule.seed)
    images = load_sources(root, config.data.train, config.model.classes)
    loader, sampler = make_loader(images, config)
    output.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config, steps_per_epoch=len(loader))
    checkpoint = output / CHECKPOINT
    if resume:
        trainer.restore(checkpoint)
    log.info("%d images, %d steps an epoch, from epoch %d", len(images), len(loader), trainer.epoch)
    with SummaryWriter(str(output / "tensorboard")) as board:
        while trainer.epoch < config.schedule.epochs:
            sampler.epoch = trainer.epoch
            started = time.monotonic()
            means = trainer.train_epoch(loader)
            trainer.save(checkpoint)
            for name, value in means.items():
                board.add_scalar(f"train/{name}", value, trainer.epoch)
            text = "  ".join(f"{name} {value:.4g}" for name, value in means.items())
            log.info("epoch %d/%d  %s  %.0f s", trainer.epoch, config.schedule.epochs, text, time.monotonic() - started)
            last = trainer.epoch == config.schedule.epochs
            if config.data.validation and (last or trainer.epoch % config.schedule.validate_every == 0):
                trainer.validate(root)
                trainer.save(checkpoint)
                for name, value in trainer.validation.items():
                    board.add_scalar(f"validation/{name}", value, trainer.epoch)
                    log.info("epoch %d  validation %s %.4f", trainer.epoch, name, value)
            board.flush()
    return checkpoint


class Trainer:
    """Model, optimiser, weight average, latest validation and position of one run."""

    def __init__(self, config: TrainConfig, steps_per_epoch: int) -> None:
        self.config = config
        self.epoch = 0
        self.step = 0
        self.validation: dict[str, float] = {}
        schedule = config.schedule
        self.total_steps = steps_per_epoch * schedule.epochs
        model = build_model(
            config.model.backbone,
            len(config.model.classes),
            width=config.model.width,
            neck=config.model.neck,
            pretrained=config.model.pretrained,
        )
        # Module.to's type knows no memory_format.
        self.model: GaussianYolo = cast(Any, model).to(memory_format=torch.channels_last)
        self.average = WeightAverage(self.model, schedule.ema_decay)
        self.loss = GaussianYoloLoss(
            torch.tensor(config.model.anchors, dtype=torch.float32), STRIDES, len(config.model.classes), config.loss
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.model, schedule.learning_rate, schedule.backbone_rate, schedule.weight_decay)
        )
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]

    def train_epoch(self, loader: Any) -> dict[str, float]:
        """One pass over `loader`; mean losses by name.

        Raises:
            TrainingError: the loss is not finite.
        """
        self.model.train()
        totals: dict[str, list[float]] = {"box": [], "objectness": [], "class": [], "positives": []}
        for images, boxes, class_ids in loader:
            self._set_rate()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.config.schedule.autocast):
                heads = self.model(images)
            losses = self.loss(heads, boxes, class_ids)
            if not torch.isfinite(losses.total):
                raise TrainingError(
                    f"the loss is not finite at epoch {self.epoch}, step {self.step}: lower schedule.learning_rate"
                )
            self.optimizer.zero_grad(set_to_none=True)
            losses.total.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.schedule.clip_norm)
            self.optimizer.step()
            self.average.update(self.model)
            self.step += 1
            totals["box"].append(float(losses.box.detach()))
            totals["objectness"].append(float(losses.objectness.detach()))
            totals["class"].append(float(losses.classification.detach()))
            totals["positives"].append(losses.positives)
        self.epoch += 1
        return {name: float(np.mean(values)) for name, values in totals.items()}

    def _set_rate(self) -> None:
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * rate_factor(
                self.step, self.total_steps, self.config.schedule.warmup_steps, self.config.schedule.final_rate
            )

    def validate(self, root: Path) -> None:
        """Set `validation` to the average precisions of the averaged weights on the validation sources."""
        from gaussian_yolo_node.training.validate import average_precisions

        config = self.config.model
        model = build_model(config.backbone, len(config.classes), width=config.width, neck=config.neck)
        model.load_state_dict(self.average.state)
        self.validation = {**average_precisions(model.eval(), self.config, root), "epoch": self.epoch}

    def save(self, path: Path) -> None:
        """Write all that `restore` needs."""
        state = {
            "model": self.model.state_dict(),
            "ema": self.average.state,
            "ema_updates": self.average.updates,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "validation": self.validation,
        }
        save_checkpoint(path, self.config, self.epoch, state)

    def restore(self, path: Path) -> None:
        """Go on where the run that wrote `path` stood.

        Raises:
            CheckpointError: the checkpoint is missing, damaged, or of another architecture.
        """
        document = read_checkpoint(path)
        try:
            self.model.load_state_dict(document["model"])
            self.optimizer.load_state_dict(document["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise CheckpointError(f"{path} does not fit this config: start anew without --resume") from error
        self.average.state = {key: value.clone() for key, value in document["ema"].items()}
        self.average.updates = int(document["ema_updates"])
        self.validation = document.get("validation", {})
        self.epoch, self.step = int(document["epoch"]), int(document["step"])


def rate_factor(step: int, total: int, warmup: int, final: float) -> float:
    """Share of the peak learning rate at `step`: linear warm-up, then a cosine down to `final`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: nn.Module, rate: float, backbone_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups: the pretrained backbone learns slower; biases and batch norms do not decay."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (backbone_rate if in_backbone else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_backbone, decays), parameters in groups.items()
    ]
