"""Hand-worked flips, and attacks on a small model."""

from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.lab.robustness import RobustnessError
from gaussian_yolo_node.lab.robustness.flips import flip_probability, mean_flip_rate, top5_distance


@pytest.mark.parametrize(("noise", "expected"), [(True, 2 / 3), (False, 1 / 3)])
def test_flips(noise: bool, expected: float) -> None:
    assert flip_probability([np.array([0, 0, 1, 1])], noise=noise) == pytest.approx(expected)


def test_flip_rate() -> None:
    assert mean_flip_rate({"tilt": 0.1, "snow": 0.3}, {"tilt": 0.2, "snow": 0.2}) == pytest.approx(100)
    with pytest.raises(RobustnessError, match="no flip probability for tilt"):
        mean_flip_rate({"tilt": 0.1}, {})
    with pytest.raises(RobustnessError, match="two frames"):
        flip_probability([np.array([1])], noise=True)


def test_top5_distance() -> None:
    scores = np.arange(8.0, 0, -1)
    swapped = scores[[1, 0, 2, 3, 4, 5, 6, 7]]
    assert top5_distance([np.stack([scores, scores])], noise=False) == 0
    assert top5_distance([np.stack([scores, swapped])], noise=False) == 2


def test_attacks() -> None:
    torch = pytest.importorskip("torch")
    from gaussian_yolo_node.lab.robustness.attacks import fgsm, pgd

    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3)
    )
    pixels, labels = torch.rand(4, 3, 8, 8) * 255, torch.tensor([0, 1, 2, 0])

    def loss(x):  # type: ignore[no-untyped-def]
        return torch.nn.functional.cross_entropy(model(x / 255), labels, reduction="none")

    assert torch.equal(fgsm(pixels, loss, 0), pixels)
    assert torch.equal(pgd(pixels, loss, 0), pixels)
    once = fgsm(pixels, loss, 4)
    many = pgd(pixels, loss, 4, steps=20, generator=torch.Generator().manual_seed(1))
    assert float(loss(pixels).sum()) < float(loss(once).sum()) <= float(loss(many).sum()) + 1e-3
    assert float((many - pixels).abs().max()) <= 4 + 1e-4
    assert float(once.min()) >= 0 and float(once.max()) <= 255
