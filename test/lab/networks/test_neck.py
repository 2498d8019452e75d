"""YOLOX's neck and decoupled heads: sizes, branches, and the layout of raw heads."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")

from gaussian_yolo_node.lab.networks.blocks import ACTIVATIONS  # noqa: E402
from gaussian_yolo_node.lab.networks.gaussian_yolo import OBJECTNESS_PRIOR, build_model  # noqa: E402
from gaussian_yolo_node.lab.networks.neck import BOX_ENTRIES, CspPyramid, DecoupledHead, DecoupledTower  # noqa: E402


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("channels", [(8, 16, 32), (12, 12, 12), (10, 24, 18)])
def test_the_csp_pyramid_keeps_sizes_and_channels(channels: tuple[int, ...], activation: str) -> None:
    torch.manual_seed(0)
    neck = CspPyramid(channels, 16, activation).eval()
    maps = [torch.rand(2, count, 16 >> level, 24 >> level) for level, count in enumerate(channels)]
    with torch.no_grad():
        mixed = neck(maps)
    assert [x.shape for x in mixed] == [x.shape for x in maps]
    assert neck.widths == channels


def test_every_map_of_the_pyramid_reads_every_other() -> None:
    torch.manual_seed(0)
    neck = CspPyramid((8, 8, 8), 8).eval()
    for level in range(3):
        maps = [torch.rand(1, 8, 8 >> index, 8 >> index, requires_grad=True) for index in range(3)]
        neck(maps)[level].square().sum().backward()
        assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in maps)


@pytest.mark.parametrize(("anchors", "classes"), [(3, 2), (1, 1), (2, 80), (4, 3)])
def test_a_decoupled_head_has_the_layout_of_all_heads(anchors: int, classes: int) -> None:
    head = DecoupledHead(4, anchors, classes)
    with torch.no_grad():
        for conv, first in ((head.boxes, 0), (head.classes, 1000)):
            conv.weight.zero_()
            conv.bias.copy_(first + torch.arange(len(conv.bias)))
        raw = head(torch.rand(2, 8, 3, 5))
    each = BOX_ENTRIES + classes
    assert raw.shape == (2, anchors * each, 3, 5)
    for anchor in range(anchors):
        entries = raw[0, anchor * each : (anchor + 1) * each, 1, 2].tolist()
        assert entries[:BOX_ENTRIES] == [anchor * BOX_ENTRIES + entry for entry in range(BOX_ENTRIES)]
        assert entries[BOX_ENTRIES:] == [1000 + anchor * classes + number for number in range(classes)]


def test_classes_come_from_the_class_branch_only_and_the_rest_from_the_other() -> None:
    width, anchors, classes = 4, 3, 2
    head = DecoupledHead(width, anchors, classes)
    each = BOX_ENTRIES + classes
    for entry in range(anchors * each):
        x = torch.rand(1, 2 * width, 2, 2, requires_grad=True)
        head(x)[:, entry].sum().backward()
        assert x.grad is not None
        of_classes, of_boxes = (half.abs().sum().item() > 0 for half in x.grad.split(width, 1))
        assert (of_classes, of_boxes) == ((True, False) if entry % each >= BOX_ENTRIES else (False, True))


@pytest.mark.parametrize("branch", ["classes", "boxes"])
def test_each_branch_of_a_tower_has_half_of_its_channels(branch: str) -> None:
    torch.manual_seed(0)
    tower = DecoupledTower(6, 4, "silu").eval()
    x = torch.rand(1, 6, 4, 4)
    with torch.no_grad():
        before = tower(x)
        for parameter in getattr(tower, branch).parameters():
            parameter.add_(0.5)
        after = tower(x)
    assert before.shape == (1, 8, 4, 4)
    changed = [not torch.equal(*halves) for halves in zip(before.split(4, 1), after.split(4, 1), strict=True)]
    assert changed == [branch == "classes", branch == "boxes"]


@pytest.mark.parametrize("anchors", [1, 3])
def test_a_fresh_decoupled_head_sees_an_object_in_a_hundred_cells(anchors: int) -> None:
    torch.manual_seed(0)
    model = build_model("csp_darknet_nano", 2, anchors_per_scale=anchors, width=16, neck="csp").eval()
    prior = math.log(OBJECTNESS_PRIOR / (1 - OBJECTNESS_PRIOR))
    for head in model.heads:
        assert head.boxes.bias.view(anchors, -1)[:, :-1].eq(0).all() and head.classes.bias.eq(0).all()
        assert head.boxes.bias.view(anchors, -1)[:, -1].tolist() == pytest.approx([prior] * anchors)
    with torch.no_grad():
        heads = model(255 * torch.rand(1, 3, 64, 96))
    assert [tuple(head.shape) for head in heads] == [(1, anchors * 11, 64 // s, 96 // s) for s in (32, 16, 8)]
