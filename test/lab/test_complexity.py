"""Counts against hand-worked formulas."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from torch import nn  # noqa: E402

from gaussian_yolo_node.lab.complexity import Complexity, complexity  # noqa: E402


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # 3x3, stride 2: 4x6 outputs of 8 channels, 27 products each
        (nn.Conv2d(3, 8, 3, 2, 1), Complexity(8 * 27 + 8, 4 * 6 * 8 * 27)),
        (nn.Conv2d(3, 9, (1, 5), padding=(0, 2), groups=3, bias=False), Complexity(9 * 5, 8 * 12 * 9 * 5)),  # grouped
        (nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10)), Complexity(40, 30)),
        (nn.BatchNorm2d(3), Complexity(6, 0)),  # normalisation is folded into the preceding convolution
        (nn.Identity(), Complexity(0, 0)),
    ],
    ids=["strided", "grouped", "linear", "norm", "nothing"],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_counts_follow_the_formulas(model: nn.Module, expected: Complexity, device: str) -> None:
    assert complexity(model.to(device), (8, 12)) == expected


def test_a_layer_used_twice_counts_twice_but_holds_its_parameters_once() -> None:
    layer = nn.Conv2d(3, 3, 1, bias=False)

    assert complexity(nn.Sequential(layer, layer), (8, 12)) == Complexity(9, 2 * 96 * 9)


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    complexity(model, (8, 8))

    assert all(module.training and not module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
