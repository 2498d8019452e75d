"""The loss against the official code's gradients, and for inputs that break naive implementations."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.detector.decode import decode  # noqa: E402
from gaussian_yolo_node.detector.nms import nms  # noqa: E402
from gaussian_yolo_node.lab.training import loss as loss_module  # noqa: E402
from gaussian_yolo_node.lab.training.assign import assign  # noqa: E402
from gaussian_yolo_node.lab.training.loss import LossConfig, LossConfigError, YoloLoss  # noqa: E402
from gaussian_yolo_node.labels import IGNORE  # noqa: E402

OFFICIAL_ANCHORS = [[[66, 45], [90, 70], [120, 88]], [[24, 22], [40, 30], [33, 61]], [[7, 10], [14, 12], [12, 27]]]
STRIDES = (32, 16, 8)
SIZE = (96, 160)


def loss_of(classes: int = 3, **config: Any) -> YoloLoss:
    return YoloLoss(OFFICIAL_ANCHORS, STRIDES, classes, LossConfig(**config))


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
    losses = loss_of()(logits, [boxes], [torch.tensor(truth[:, 4]).long()])
    (losses.total * losses.positives).backward()
    assert losses.positives == len(truth)
    for index, (raw, head) in enumerate(zip(logits, activated, strict=True)):
        assert raw.grad is not None
        descent = -raw.grad.double().view(head.shape)
        # The official delta of the box entries lacks d(activation)/d(logit) (docs/paper_facts.md, section 1).
        for entry in (0, 1, 2, 3, 5, 7):
            descent[:, entry] /= head[:, entry] * (1 - head[:, entry])
        expected = torch.tensor(golden[f"delta{index}"]).double()
        assert torch.allclose(descent, expected, rtol=1e-4, atol=0)
        assert float(descent.square().sum()) == pytest.approx(golden["cost"][index], rel=1e-4)


OPTIONS: list[dict[str, Any]] = [
    {},
    {"kind": "yolov3"},
    {"positive_iou": 0.3, "iou_weight": 2.0},
    {"kind": "yolov3", "iou_weight": 1.0, "focal_gamma": 0.5},
    {"focal_gamma": 2.0, "label_smoothing": 0.1},
]
TRUTHS: dict[str, tuple[list[list[float]], list[int]]] = {
    "ordinary": ([[10, 10, 60, 50], [100, 20, 150, 90]], [1, 2]),
    "none": ([], []),
    "on the border": ([[-30, -20, 30, 20], [140, 80, 180, 112]], [0, 1]),
    "outside": ([[-90, -90, -50, -40], [400, 10, 500, 60]], [0, 1]),
    "larger than the canvas": ([[-1000, -1000, 1160, 1096]], [0]),
    "degenerate": ([[20, 20, 20, 40], [50, 50, 40, 40], [60, 60, 50, 70], [30, 30, 30, 30]], [0, 1, 2, IGNORE]),
    "hair-thin": ([[20, 20, 20.00001, 90]], [0]),
    "not finite": ([[math.nan, 10, 20, 30], [0, 0, math.inf, 50]], [0, 1]),
}


def adversarial_heads(kind: str, dtype: torch.dtype) -> list[torch.Tensor]:
    """Heads of one image from a diverged network."""
    heads = [head.detach() for head in make_heads()]
    if kind == "random":
        torch.manual_seed(0)
        heads = [10 * torch.randn_like(head) for head in heads]
    for head in heads:
        entries = head.view(3, 12, *head.shape[2:])
        if kind == "sigma logits -50":
            entries[:, 1:8:2] = -50
        elif kind == "huge log sizes":
            entries[:, 4:8:2] = 3e4
        elif kind == "alternating":
            head.view(-1)[::2], head.view(-1)[1::2] = 6e4, -6e4
        elif kind != "random":
            head.fill_(float(kind))
    return [head.to(dtype).requires_grad_() for head in heads]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "kind",
    ["0", "80", "-80", "1e4", "-1e4", "inf", "-inf", "random", "sigma logits -50", "huge log sizes", "alternating"],
)
def test_any_heads_give_finite_loss_and_gradient(kind: str, dtype: torch.dtype, options: dict[str, Any]) -> None:
    for boxes, ids in TRUTHS.values():
        heads = adversarial_heads(kind, dtype)
        losses = loss_of(**options)(heads, [torch.tensor(boxes).reshape(-1, 4)], [torch.tensor(ids).long()])
        losses.total.backward()
        assert torch.isfinite(losses.total)
        assert all(head.grad is not None and torch.isfinite(head.grad).all() for head in heads)


def test_a_head_that_is_not_a_number_shows_in_the_loss() -> None:
    heads = make_heads(value=float("nan"))
    assert torch.isnan(loss_of()(heads, [torch.zeros(0, 4)], [torch.zeros(0).long()]).total)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradients_are_those_of_finite_differences(options: dict[str, Any]) -> None:
    """Every entry of every matched cell, and random directions for the rest, in float64."""
    torch.manual_seed(3)
    heads = [torch.randn(head.shape, dtype=torch.float64, requires_grad=True) for head in make_heads()]
    boxes = [torch.tensor([[10.0, 10, 61, 52], [100, 20, 133, 81], [40, 40, 48, 51]])]
    ids = [torch.tensor([1, 2, 0])]
    loss = loss_of(**options)
    losses = loss(heads, boxes, ids)
    assert losses.total.dtype == torch.float64
    losses.total.backward()

    directions = [[torch.randn_like(head) for head in heads] for _ in range(5)]
    for scale, p in enumerate(assign(boxes, ids, loss.anchors, STRIDES, SIZE, loss.config.positive_iou)):
        for place in zip(p.anchor, p.row, p.column, strict=True):
            for entry in range(12):
                unit = [torch.zeros_like(head) for head in heads]
                unit[scale].view(3, 12, *heads[scale].shape[2:])[place[0], entry, place[1], place[2]] = 1
                directions.append(unit)
    step = 1e-6
    with torch.no_grad():
        for direction in directions:
            ahead, behind = (
                loss([h + sign * step * d for h, d in zip(heads, direction, strict=True)], boxes, ids).total
                for sign in (1, -1)
            )
            expected = sum(
                float((h.grad * d).sum()) for h, d in zip(heads, direction, strict=True) if h.grad is not None
            )
            assert float(ahead - behind) / (2 * step) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("kind", ["gaussian", "yolov3"])
@pytest.mark.parametrize("options", [{}, {"iou_weight": 1.0}], ids=str)
def test_descent_finds_the_truth(kind: str, options: dict[str, Any]) -> None:
    heads = make_heads()
    truth = torch.tensor([[50.0, 18, 110, 70]])
    loss = loss_of(kind=kind, **options)
    optimizer = torch.optim.Adam(heads, lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        loss(heads, [truth], [torch.tensor([1])]).total.backward()
        optimizer.step()
    anchors = [np.array(head, np.float32) for head in OFFICIAL_ANCHORS]
    found = nms(decode([head.detach().numpy() for head in heads], anchors, STRIDES, 0.3))
    assert found.boxes == pytest.approx(truth.numpy(), abs=1.0) and found.class_ids.tolist() == [1]


def test_the_plain_loss_leaves_the_sigmas_alone() -> None:
    heads = make_heads()
    loss_of(kind="yolov3")(heads, [torch.tensor([[10.0, 10, 60, 50]])], [torch.tensor([1])]).total.backward()
    for head in heads:
        assert head.grad is not None
        assert (head.grad.view(3, 12, *head.shape[2:])[:, 1:8:2] == 0).all()


@pytest.mark.parametrize("value", [-5.0, 5.0])
def test_the_iou_term_pulls_a_runaway_box_back(value: float) -> None:
    """The likelihood has no gradient there."""
    heads = make_heads()
    truth = torch.tensor([[50.0, 18, 110, 70]])
    with torch.no_grad():
        heads[0].view(3, 12, 3, 5)[0, 4, 1, 2] = value
        heads[0].view(3, 12, 3, 5)[0, 5, 1, 2] = -5.0
    loss_of(iou_weight=1.0)(heads, [truth], [torch.tensor([0])]).total.backward()
    assert heads[0].grad is not None
    assert torch.sign(heads[0].grad.view(3, 12, 3, 5)[0, 4, 1, 2]) == np.sign(value)


def test_smoothed_classes_are_best_short_of_certainty() -> None:
    heads = make_heads()
    with torch.no_grad():
        for head in heads:
            entries = head.view(3, 12, *head.shape[2:])
            entries[:, 9:] = math.log(0.05 / 0.95)
            entries[:, 10] = -math.log(0.05 / 0.95)
    loss_of(label_smoothing=0.1)(
        heads, [torch.tensor([[10.0, 10, 60, 50]])], [torch.tensor([1])]
    ).classification.backward()
    assert all(head.grad is None or head.grad.abs().max() < 1e-6 for head in heads)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "yolov4"}, "loss.kind must be one of gaussian, yolov3, not 'yolov4'"),
        ({"focal_gamma": -1.0}, "loss.focal_gamma must be a number at least 0, not -1.0"),
        ({"label_smoothing": 1.5}, "loss.label_smoothing must be a number at least 0 and at most 1, not 1.5"),
        ({"ignore_iou": "half"}, "loss.ignore_iou must be a number at least 0 and at most 1, not 'half'"),
        ({"positive_iou": math.nan}, "loss.positive_iou"),
        ({"iou_weight": math.inf}, "loss.iou_weight"),
        ({"box_weight": True}, "loss.box_weight"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LossConfigError, match=message):
        LossConfig(**options)


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
    losses = loss_of()(heads, [boxes], [ids])
    losses.total.backward()
    assert losses.positives == positives
    assert losses.objectness > 0
    assert (losses.box > 0) == bool(positives)


def test_an_ignore_region_is_no_background() -> None:
    heads = make_heads()
    everywhere = torch.tensor([[-500.0, -500, 700, 700]])
    losses = loss_of()(heads, [everywhere], [torch.tensor([IGNORE])])
    assert losses.objectness == 0


def test_a_box_that_meets_a_truth_is_no_background() -> None:
    """Cells whose box has IoU > 0.5 with a truth assigned elsewhere get no objectness gradient."""
    heads = make_heads()
    truth = torch.tensor([[80 - 37.5, 48 - 27.5, 80 + 37.5, 48 + 27.5]])
    losses = loss_of()(heads, [truth], [torch.tensor([0])])
    losses.objectness.backward()
    assert heads[0].grad is not None
    objectness = heads[0].grad.view(3, 12, 3, 5)[:, 8]
    assert objectness[0, 1, 2] < 0  # the assigned entry is pulled up
    assert objectness[1, 1, 2] == 0  # the 90x70 anchor in the same cell has IoU 0.65: exempt
    assert objectness[2, 0, 0] > 0  # a far corner is background


@pytest.mark.parametrize("at_once", [{"cpu": 1}, {"cpu": 3}, {}], ids=["one", "three", "all"])
def test_losses_of_a_batch_are_those_of_its_images(monkeypatch: pytest.MonkeyPatch, at_once: dict[str, int]) -> None:
    """For any number of truths per image, including none and ignore regions, and any number of images at once."""
    torch.manual_seed(1)
    boxes = [
        torch.tensor([[10.0, 10, 40, 40]]),
        torch.zeros(0, 4),
        torch.tensor([[60.0, 20, 150, 90], [-5.0, -5, 30, 60], [20.0, 30, 90, 60]]),
        torch.tensor([[0.0, 0, 80, 80], [100.0, 10, 110, 20]]),
    ]
    ids = [
        torch.tensor([0]),
        torch.zeros(0, dtype=torch.int64),
        torch.tensor([2, IGNORE, 1]),
        torch.tensor([IGNORE, 0]),
    ]
    heads = [torch.randn(len(boxes), *head.shape[1:]) for head in make_heads()]
    single = [loss_of()([h[i : i + 1] for h in heads], boxes[i : i + 1], ids[i : i + 1]) for i in range(len(boxes))]
    monkeypatch.setattr(loss_module, "IMAGES_AT_ONCE", at_once)
    together = loss_of()(heads, boxes, ids)
    for term in ("box", "objectness", "classification"):
        parts = sum(float(getattr(loss, term)) * max(loss.positives, 1) for loss in single)
        assert float(getattr(together, term)) * together.positives == pytest.approx(parts, rel=1e-5)


WEIGHED = ({}, {"kind": "yolov3"}, {"iou_weight": 2.0, "positive_iou": 0.3})


@pytest.mark.parametrize("options", WEIGHED, ids=str)
def test_a_coordinate_of_no_weight_teaches_nothing(options: dict[str, Any]) -> None:
    """Complete IoU depends on all four coordinates, so it vanishes only if all weights are 0."""
    truth, ids = torch.tensor([[20.0, 30, 70, 66], [90, 10, 104, 34]]), torch.tensor([0, 2])
    for coordinate in range(4):
        heads = make_heads(value=0.3)
        weights = torch.ones(2, 4)
        weights[:, coordinate] = 0
        if options.get("iou_weight"):
            weights[:] = 0
        loss_of(**options)(heads, [truth], [ids], [weights]).box.backward()
        gradient = torch.cat([head.grad.view(3, 12, -1).abs().sum((0, 2))[:, None] for head in heads], 1).sum(1)
        silent = [coordinate] if not options.get("iou_weight") else range(4)
        for index in range(4):
            mean, sigma = gradient[2 * index], gradient[2 * index + 1]
            assert (float(mean) == 0) == (index in silent)
            assert (float(sigma) == 0) == (index in silent or options.get("kind") == "yolov3")


@pytest.mark.parametrize("options", WEIGHED, ids=str)
def test_weights_of_coordinates_are_factors_of_the_box_term(options: dict[str, Any]) -> None:
    truth, ids = torch.tensor([[20.0, 30, 70, 66], [90, 10, 104, 34]]), torch.tensor([0, 2])
    losses = [
        loss_of(**options)([head.detach() for head in make_heads(value=0.3)], [truth], [ids], weights)
        for weights in (None, [torch.ones(2, 4)], [torch.full((2, 4), 0.25)])
    ]
    assert torch.equal(losses[0].total, losses[1].total)
    assert float(losses[2].box) == pytest.approx(float(losses[0].box) / 4, rel=1e-6)
    assert torch.equal(losses[2].objectness, losses[0].objectness)
    assert torch.equal(losses[2].classification, losses[0].classification)


def test_weights_stay_with_their_truths() -> None:
    """Also with an ignore region in between and another image before."""
    truths = [torch.tensor([[90.0, 10, 104, 34]]), torch.tensor([[0.0, 0, 9, 9], [20, 30, 70, 66]])]
    ids = [torch.tensor([2]), torch.tensor([IGNORE, 0])]
    weights = [torch.full((1, 4), 0.5), torch.tensor([[9.0] * 4, [0.1, 0.2, 0.3, 0.4]])]
    anchors = torch.tensor(OFFICIAL_ANCHORS, dtype=torch.float32)
    for positives in assign(truths, ids, anchors, STRIDES, SIZE, 0.3, weights):
        for image, coordinates in zip(positives.image, positives.coordinates, strict=True):
            assert torch.equal(coordinates, weights[image][-1])
