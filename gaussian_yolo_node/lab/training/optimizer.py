"""Optimisers and learning rates of a recipe."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from gaussian_yolo_node.lab.training.config import ConfigError, Schedule


def make_optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """The optimiser of the recipe, with groups at their peak rates and without frozen parameters."""
    groups = parameter_groups(model, schedule.learning_rate, schedule.backbone_rate, schedule.weight_decay)
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=schedule.momentum, nesterov=schedule.nesterov)
    return torch.optim.AdamW(groups)


def parameter_groups(model: nn.Module, rate: float, backbone_rate: float, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: lower rate for the pretrained backbone, no weight decay for biases and batch norms."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": rate * (backbone_rate if in_backbone else 1.0),
            "weight_decay": weight_decay if decays else 0.0,
        }
        for (in_backbone, decays), parameters in groups.items()
    ]


def rate_factor(step: int, total: int, schedule: Schedule) -> float:
    """Share of the peak learning rate at optimiser step `step` of `total`: warm-up, then the recipe's schedule."""
    if step < schedule.warmup_steps:
        return float(((step + 1) / schedule.warmup_steps) ** schedule.warmup_power)
    if schedule.rate_schedule == "constant":
        return 1.0
    if schedule.rate_schedule == "step":
        return float(schedule.rate_decay ** sum(step >= limit for limit in schedule.rate_steps))
    progress = min(1.0, (step - schedule.warmup_steps) / max(1, total - schedule.warmup_steps))
    return schedule.final_rate + (1 - schedule.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


def freeze(model: nn.Module, prefixes: tuple[str, ...]) -> None:
    """Freeze the parameters whose names begin with one of `prefixes`.

    Raises:
        ConfigError: a prefix matches no parameter, or all parameters are frozen.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ConfigError(f"schedule.frozen: no parameter's name begins with {prefix!r}; the first is {names[0]}")
    for name, parameter in model.named_parameters():
        if name.startswith(prefixes):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("schedule.frozen leaves no parameter to learn")


def train_mode(model: nn.Module, schedule: Schedule) -> None:
    """Training mode, except for batch norms with frozen statistics."""
    model.train()
    for name, module in model.named_modules():
        held = schedule.freeze_batch_norm or f"{name}.".startswith(schedule.frozen)
        if held and isinstance(module, nn.BatchNorm2d):
            module.eval()
