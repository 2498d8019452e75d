"""The loss against the official code's gradients, and against inputs that break naive ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.training.datasets import IGNORE  # noqa: E402
from gaussian_yolo_node.training.loss import GaussianYoloLoss, LossConfig, gaussian_nll  # noqa: E402

OFFICIAL_ANCHORS = [
    [[66, 45], [90, 70], [120, 88]],
    [[24, 22], [40, 30], [33, 61]],
    [[7, 10], [14, 12], [12, 27]],
]
STRIDES = (32, 16, 8)
SIZE = (96, 160)


def make_loss(classes: int = 3, **config: float) -> GaussianYoloLoss:
    return GaussianYoloLoss(torch.tensor(OFFICIAL_ANCHORS).float(), STRIDES, classes, LossConfig(**config))


def make_heads(classes: int = 3, batch: int = 1, value: float = 0.0) -> list[torch.Tensor]:
    shapes = [(batch, 3 * (9 + classes), SIZE[0] // s, SIZE[1] // s) for s in STRIDES]
    return [torch.full(shape, value, requires_grad=True) for shape in shapes]


def test_gradients_are_the_official_ones(golden_dir: Path) -> None:
    folder = golden_dir / "darknet_tiny"
    golden = np.load(folder / "expected.npz")
    truth = np.loadtxt(folder / "truth.txt", ndmin=2)
    scale = np.array([SIZE[1], SIZE[0]] * 2)
    centre, sides = truth[:, :2], truth[:, 2:4]
    boxes = torch.tensor(np.concatenate([centre - sides / 2, centre + sides / 2], 1) * scale)
    activated = [torch.tensor(golden[f"head{i}"]).double() for i in range(3)]
    logits = []
    for head in activated:
        raw = torch.logit(head)
        raw[:, [4, 6]] = head[:, [4, 6]]  # log sizes pass through
        logits.append(raw.float().reshape(1, -1, *head.shape[2:]).requires_grad_())
    losses = make_loss()(logits, [boxes], [torch.tensor(truth[:, 4]).long()])
    (losses.total * losses.positives).backward()
    assert losses.positives == len(truth)
    for index, (raw, head) in enumerate(zip(logits, activated, strict=True)):
        assert raw.grad is not None
        descent = -raw.grad.double().view(head.shape)
        # The official delta leaves d(activation)/d(logit) out of the box entries (SPEC section 1).
        for entry in (0, 1, 2, 3, 5, 7):
            descent[:, entry] /= head[:, entry] * (1 - head[:, entry])
        expected = torch.tensor(golden[f"delta{index}"]).double()
        assert ((descent - expected).abs() <= 1e-4 * expected.abs().clamp(min=1) + 2e-4).all()


@pytest.mark.parametrize("target", [0.0, 0.5, -40.0, 1e4])
@pytest.mark.parametrize("sigma", [0.0, 1e-12, 1e-3, 0.5, 1.0])
def test_likelihood_is_finite_everywhere(target: float, sigma: float) -> None:
    mean = torch.tensor([0.5], requires_grad=True)
    spread = torch.tensor([sigma], requires_grad=True)
    loss = gaussian_nll(torch.tensor([target]), mean, spread)
    loss.sum().backward()
    assert mean.grad is not None and spread.grad is not None
    assert torch.isfinite(torch.stack([loss, mean.grad, spread.grad])).all()


def test_likelihood_matches_the_formula() -> None:
    target, mean, sigma = torch.tensor([0.4]), torch.tensor([0.6]), torch.tensor([0.25])
    density = np.exp(-0.5 * 0.8**2) / (np.sqrt(2 * np.pi) * 0.55)
    assert gaussian_nll(target, mean, sigma).item() == pytest.approx(-np.log(density + 1e-9), rel=1e-5)


@pytest.mark.parametrize("value", [-1e4, -80.0, 0.0, 80.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_heads_give_finite_loss_and_gradient(value: float, dtype: torch.dtype) -> None:
    heads = [head.detach().to(dtype).requires_grad_() for head in make_heads(value=value)]
    losses = make_loss()(heads, [torch.tensor([[10.0, 10, 60, 50]])], [torch.tensor([1])])
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert all(head.grad is not None and torch.isfinite(head.grad).all() for head in heads)


@pytest.mark.parametrize(
    ("boxes", "ids", "positives"),
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 0),  # an empty street
        (torch.tensor([[0.0, 0, 50, 50]]), torch.tensor([IGNORE]), 0),  # ignore regions only
        (torch.tensor([[0.0, 0, 50, 50]]), torch.tensor([2]), 1),
    ],
)
def test_images_without_objects_still_teach_background(boxes: torch.Tensor, ids: torch.Tensor, positives: int) -> None:
    heads = make_heads()
    losses = make_loss()(heads, [boxes], [ids])
    losses.total.backward()
    assert losses.positives == positives
    assert losses.objectness > 0
    assert (losses.box > 0) == bool(positives)


def test_an_ignore_region_is_no_background() -> None:
    heads = make_heads()
    everywhere = torch.tensor([[-500.0, -500, 700, 700]])
    losses = make_loss()(heads, [everywhere], [torch.tensor([IGNORE])])
    assert losses.objectness == 0


def test_a_box_that_meets_a_truth_is_no_background() -> None:
    """Cells whose box has IoU > 0.5 with a truth they do not own get no objectness gradient."""
    heads = make_heads()
    truth = torch.tensor([[80 - 37.5, 48 - 27.5, 80 + 37.5, 48 + 27.5]])
    losses = make_loss()(heads, [truth], [torch.tensor([0])])
    losses.objectness.backward()
    assert heads[0].grad is not None
    objectness = heads[0].grad.view(3, 12, 3, 5)[:, 8]
    assert objectness[0, 1, 2] < 0  # the owner is pulled up
    assert objectness[1, 1, 2] == 0  # the 90x70 anchor in the same cell has IoU 0.65: exempt
    assert objectness[2, 0, 0] > 0  # a far corner is background


def test_losses_of_a_batch_are_those_of_its_images() -> None:
    torch.manual_seed(1)
    heads = [torch.randn(2, *head.shape[1:]) for head in make_heads()]
    boxes = [torch.tensor([[10.0, 10, 40, 40]]), torch.tensor([[60.0, 20, 150, 90]])]
    ids = [torch.tensor([0]), torch.tensor([2])]
    both = make_loss()(heads, boxes, ids)
    single = [make_loss()([h[i : i + 1] for h in heads], boxes[i : i + 1], ids[i : i + 1]) for i in range(2)]
    assert float(both.total * 2) == pytest.approx(float(sum(loss.total for loss in single)), rel=1e-5)
