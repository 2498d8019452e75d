"""Assignment of truths to entries."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.lab.training.assign import assign, shape_iou  # noqa: E402

ANCHORS = torch.tensor([[[60.0, 60], [90, 40], [120, 90]], [[30, 30], [40, 20], [20, 40]], [[8, 8], [16, 8], [8, 16]]])
STRIDES = (32, 16, 8)
SIZE = (96, 160)


def entries(boxes: list[list[float]], ids: list[int], positive_iou: float = 1.0) -> list[tuple[int, ...]]:
    """(head, image, anchor, row, column, class) of every positive of one image."""
    truth = torch.tensor(boxes).reshape(-1, 4).float()
    heads = assign([truth], [torch.tensor(ids).long()], ANCHORS, STRIDES, SIZE, positive_iou)
    return [
        (scale, *(int(v) for v in row))
        for scale, p in enumerate(heads)
        for row in zip(p.image, p.anchor, p.row, p.column, p.class_id, strict=True)
    ]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ([50, 18, 110, 78], (0, 0, 0, 1, 2)),  # exactly anchor 0 of stride 32, centre 80,48
        ([70, 38, 110, 58], (1, 0, 1, 3, 5)),  # exactly anchor 1 of stride 16, centre 90,48
        ([100, 50, 108, 66], (2, 0, 2, 7, 13)),  # exactly anchor 2 of stride 8, centre 104,58
        ([152, 88, 160, 96], (2, 0, 0, 11, 19)),  # the last cell
        ([156, 92, 164, 100], (2, 0, 0, 11, 19)),  # centre on the border stays in the last cell
    ],
)
def test_a_truth_goes_to_the_best_anchor_of_all_scales(box: list[float], expected: tuple[int, ...]) -> None:
    assert entries([box], [1]) == [(*expected, 1)]


@pytest.mark.parametrize(
    ("boxes", "ids"),
    [
        ([], []),
        ([[0.0, 0, 50, 50]], [-1]),
        ([[20.0, 20, 20, 40]], [0]),  # no width
        ([[50.0, 50, 40, 40]], [0]),  # negative size
        ([[-90.0, 10, -20, 40]], [0]),  # outside
        ([[100.0, 60, 300, 90]], [0]),  # centre outside
        ([[float("nan"), 0, 50, 50]], [0]),
        ([[0.0, 0, float("inf"), 50]], [0]),
    ],
)
def test_nothing_to_assign(boxes: list[list[float]], ids: list[int]) -> None:
    assert entries(boxes, ids) == []


def test_two_truths_on_one_entry_keep_the_later() -> None:
    assert entries([[50, 18, 110, 78], [51, 18, 111, 78]], [0, 1]) == [(0, 0, 0, 1, 2, 1)]


def test_further_anchors_answer_above_the_given_iou() -> None:
    found = entries([[50, 18, 110, 78]], [0], positive_iou=0.3)
    overlap = shape_iou(torch.tensor([[60.0, 60]]), ANCHORS.reshape(-1, 2))[0]
    assert len(found) == int((overlap > 0.3).sum())
    assert (0, 0, 0, 1, 2, 0) in found


def test_a_further_anchor_does_not_take_the_best_one_of_another_truth() -> None:
    """Both centres are in one cell; the later truth's second anchor is the earlier truth's best."""
    found = entries([[50, 18, 110, 78], [35, 28, 125, 68]], [0, 1], positive_iou=0.3)
    assert (0, 0, 0, 1, 2, 0) in found and (0, 0, 1, 1, 2, 1) in found


def test_a_truth_larger_than_the_canvas_still_has_weight() -> None:
    heads = assign([torch.tensor([[-400.0, -400, 560, 496]])], [torch.tensor([0])], ANCHORS, STRIDES, SIZE)
    assert heads[0].weight.tolist() == [1.0]


def test_targets_decode_back_to_the_truth() -> None:
    truth = torch.tensor([[20.0, 30, 85, 81], [100, 10, 130, 45]])
    for scale, p in enumerate(assign([truth], [torch.tensor([0, 1])], ANCHORS, STRIDES, SIZE)):
        x = (p.column + p.box[:, 0]) * STRIDES[scale]
        y = (p.row + p.box[:, 1]) * STRIDES[scale]
        sides = p.box[:, 2:].exp() * ANCHORS[scale, p.anchor]
        decoded = torch.stack([x - sides[:, 0] / 2, y - sides[:, 1] / 2, x + sides[:, 0] / 2, y + sides[:, 1] / 2], 1)
        assert torch.allclose(decoded, truth[p.class_id], atol=1e-4)
        assert torch.allclose(p.weight, 2 - sides.prod(1) / (SIZE[0] * SIZE[1]), atol=1e-5)
