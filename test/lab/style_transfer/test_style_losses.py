"""Gram matrices and the losses of style transfer against float64."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from gaussian_yolo_node.lab.style_transfer.losses import (  # noqa: E402
    Objective,
    StyleTarget,
    content_loss,
    gram_matrix,
    style_loss,
    total_variation,
)

SHAPES = [(1, 1, 1), (3, 4, 5), (16, 1, 7), (32, 24, 40)]


def responses(shape: tuple[int, int, int], seed: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(0.5, scale, shape)).astype(np.float32)


def tensor(values: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(values)[None]


def reference_gram(values: NDArray[np.float32]) -> NDArray[np.float64]:
    flat = values.reshape(len(values), -1).astype(np.float64)
    return np.array([[np.sum(one * other) for other in flat] for one in flat])


def reference_style_loss(values: NDArray[np.float32], target: NDArray[np.float32]) -> float:
    """Equation 4, for images of equal size."""
    channels, positions = len(values), values[0].size
    difference = reference_gram(values) - reference_gram(target)
    return float(np.sum(difference**2) / (4 * channels**2 * positions**2))


@pytest.mark.parametrize("shape", SHAPES)
def test_gram_matrix(shape: tuple[int, int, int]) -> None:
    values = responses(shape, 1)
    np.testing.assert_allclose(gram_matrix(tensor(values)).numpy(), reference_gram(values), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_content_loss(shape: tuple[int, int, int]) -> None:
    values, target = responses(shape, 1), responses(shape, 2)
    expected = 0.5 * np.sum((values.astype(np.float64) - target) ** 2)
    assert content_loss(tensor(values), tensor(target)).item() == pytest.approx(expected, rel=1e-5)
    assert content_loss(tensor(values), tensor(values)).item() == 0


@pytest.mark.parametrize("scale", [0.1, 1.0, 100.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_style_loss(shape: tuple[int, int, int], scale: float) -> None:
    values, target = responses(shape, 1, scale), responses(shape, 2, scale)
    loss = style_loss(tensor(values), StyleTarget.of(tensor(target)))
    assert loss.item() == pytest.approx(reference_style_loss(values, target), rel=1e-4)
    assert style_loss(tensor(values), StyleTarget.of(tensor(values))).item() == 0


def test_style_loss_of_a_style_picture_of_another_size() -> None:
    values = responses((8, 6, 10), 1)
    twice = np.concatenate([values, values], axis=1)  # the same statistics on twice the area
    assert style_loss(tensor(values), StyleTarget.of(tensor(twice))).item() == pytest.approx(0, abs=1e-10)


def test_gradients() -> None:
    """Equations 2 and 6: (F - P), and F^T (G - A) / (N^2 M^2)."""
    values, target = responses((5, 4, 6), 1), responses((5, 4, 6), 2)
    features = tensor(values).requires_grad_(True)
    (of_content,) = torch.autograd.grad(content_loss(features, tensor(target)), features)
    np.testing.assert_allclose(of_content[0].numpy(), values - target, atol=1e-6)
    (of_style,) = torch.autograd.grad(style_loss(features, StyleTarget.of(tensor(target))), features)
    difference = reference_gram(values) - reference_gram(target)
    expected = (difference @ values.reshape(5, -1)).reshape(values.shape) / (5**2 * 24**2)
    np.testing.assert_allclose(of_style[0].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_objective_weighs_layers_and_parts() -> None:
    shapes = {"a": (4, 6, 6), "b": (8, 3, 3)}
    values = {layer: responses(shape, 1) for layer, shape in shapes.items()}
    target = {layer: responses(shape, 2) for layer, shape in shapes.items()}
    objective = Objective(
        {"b": tensor(target["b"])},
        {layer: StyleTarget.of(tensor(value)) for layer, value in target.items()},
        {"a": 0.25, "b": 0.75},
        alpha=1e-3,
        beta=2.0,
    )
    assert objective.layers == ["b", "a"]
    content, style = objective({layer: tensor(value) for layer, value in values.items()})
    assert content.item() == pytest.approx(
        1e-3 * 0.5 * np.sum((values["b"] - target["b"]) ** 2, dtype=np.float64), rel=1e-5
    )
    losses = {layer: reference_style_loss(values[layer], target[layer]) for layer in shapes}
    assert style.item() == pytest.approx(2.0 * (0.25 * losses["a"] + 0.75 * losses["b"]), rel=1e-4)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [([[0.0, 0.0], [0.0, 0.0]], 0.0), ([[0.0, 1.0], [0.0, 1.0]], 1.0), ([[0.0, 1.0], [1.0, 0.0]], 2.0)],
)
def test_total_variation(picture: list[list[float]], expected: float) -> None:
    image = torch.tensor(picture)[None, None]
    assert total_variation(image).item() == expected
    assert total_variation(image.expand(1, 3, 2, 2)).item() == expected
