"""Learning rates and parameter groups."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.lab.training.config import ScheduleConfig  # noqa: E402
from gaussian_yolo_node.lab.training.optimizer import make_optimizer, parameter_groups, rate_factor  # noqa: E402


def rates(total: int, **schedule: Any) -> list[float]:
    config = ScheduleConfig(epochs=1, **schedule)
    return [rate_factor(step, total, config) for step in range(total + 1)]


def test_the_cosine_warms_up_and_falls() -> None:
    found = rates(100, warmup_steps=10, final_rate=0.02)
    assert found[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert found[10] == 1.0
    assert all(a >= b for a, b in pairwise(found[10:]))
    assert found[-1] == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"rate_schedule": "constant", "warmup_steps": 0}, [1, 1, 1, 1, 1]),
        ({"rate_schedule": "constant", "warmup_steps": 2, "warmup_power": 4}, [1 / 16, 1, 1, 1, 1]),
        ({"rate_schedule": "step", "rate_steps": (2, 4), "warmup_steps": 0}, [1, 1, 0.1, 0.1, 0.01]),
        ({"rate_schedule": "step", "rate_steps": (3,), "rate_decay": 0.5, "warmup_steps": 2}, [0.5, 1, 1, 0.5, 0.5]),
        ({"warmup_steps": 9}, [1 / 9, 2 / 9, 3 / 9, 4 / 9, 5 / 9]),  # longer than the run
    ],
)  # fmt: skip
def test_other_schedules(schedule: dict[str, Any], expected: list[float]) -> None:
    assert rates(4, **schedule) == pytest.approx(expected)


def make_model() -> torch.nn.Module:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    return torch.nn.ModuleDict({"backbone": layers, "head": torch.nn.Conv2d(4, 2, 1)})


def test_groups_by_place_and_kind() -> None:
    groups = {
        (group["lr"], group["weight_decay"]): group["params"] for group in parameter_groups(make_model(), 1, 0.5, 2)
    }
    assert {key: [tuple(p.shape) for p in value] for key, value in groups.items()} == {
        (0.5, 2): [(4, 3, 1, 1)],
        (0.5, 0.0): [(4,), (4,), (4,)],
        (1.0, 2): [(2, 4, 1, 1)],
        (1.0, 0.0): [(2,)],
    }


@pytest.mark.parametrize(
    ("schedule", "kind", "defaults"),
    [
        ({}, "AdamW", {}),
        ({"optimizer": "sgd"}, "SGD", {"momentum": 0.9, "nesterov": False}),
        ({"optimizer": "sgd", "momentum": 0.8, "nesterov": True}, "SGD", {"momentum": 0.8, "nesterov": True}),
    ],
)
def test_optimizers(schedule: dict[str, Any], kind: str, defaults: dict[str, Any]) -> None:
    optimizer = make_optimizer(make_model(), ScheduleConfig(epochs=1, **schedule))
    assert type(optimizer).__name__ == kind and defaults.items() <= optimizer.defaults.items()
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 6
