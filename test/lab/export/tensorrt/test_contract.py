from __future__ import annotations

import ctypes
from typing import Any

import pytest
from factories import ANCHORS, make_card
from plugin_kernels import CpuKernels, DetectParams, build

from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt.contract import DetectAttributes, EngineError, output_shapes


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    return CpuKernels(build(tmp_path_factory.mktemp("kernels") / "kernels.so", "-O0"))


def test_attributes_are_the_cards() -> None:
    card = make_card((64, 96), score_threshold=0.25, variance_vote=True)
    attributes = DetectAttributes.of_card(card, max_candidates=500, max_detections=50, criterion="confidence")
    assert attributes == DetectAttributes(
        anchors=tuple(side for head in ANCHORS for anchor in head for side in anchor),
        strides=(32, 16, 8),
        num_classes=3,
        input_height=64,
        input_width=96,
        score_threshold=0.25,
        iou_threshold=0.45,
        max_candidates=500,
        max_detections=50,
        variance_vote=1,
        criterion=1,
    )
    assert attributes.head_shapes == ((36, 2, 3), (36, 4, 6), (36, 8, 12))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strides": (32, 16), "anchors": ANCHORS[:2]}, "2 heads with 3, 3 anchors where the plugin takes 3 heads"),
        ({"anchors": (ANCHORS[0][:2], *ANCHORS[1:])}, "3 heads with 2, 3, 3 anchors"),
        ({"anchors": tuple(head * 3 for head in ANCHORS)}, "9, 9, 9 anchors where .* up to 8"),
    ],
)
def test_heads_that_the_kernels_cannot_do_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(EngineError, match=says):
        DetectAttributes.of_card(make_card(**change))


@pytest.mark.parametrize("option", ["max_candidates", "max_detections"])
@pytest.mark.parametrize("value", [0, -1, 8193])
def test_numbers_out_of_range_are_told(option: str, value: int) -> None:
    name = option.replace("_", "-")
    with pytest.raises(SettingError, match=f"--{name} must be a whole number at least 1 and at most 8192, not {value}"):
        DetectAttributes.of_card(make_card(), **{option: value})


@pytest.mark.parametrize(
    ("size", "classes", "candidates", "detections", "batch"),
    [
        ((64, 96), 1, 1, 1, 1),
        ((64, 96), 3, 1000, 300, 1),
        ((608, 608), 1, 1000, 300, 1),
        ((608, 608), 20, 8192, 8192, 4),
        ((512, 1664), 3, 33, 300, 7),
    ],
)
def test_the_workspace_is_enough_and_not_much_more(
    kernels: CpuKernels, size: tuple[int, int], classes: int, candidates: int, detections: int, batch: int
) -> None:
    card = make_card(size, [str(number) for number in range(classes)])
    attributes = DetectAttributes.of_card(card, max_candidates=candidates, max_detections=detections)
    params = DetectParams()
    for head in range(3):
        for anchor in range(3):
            params.anchors[head][anchor][:] = card.anchors[head][anchor]
    params.strides[:] = card.strides
    params.anchors_per_head, params.num_classes = 3, classes
    params.input_height, params.input_width = size
    params.max_candidates, params.max_detections = candidates, detections
    exact = kernels.library.gy_cpu_workspace_bytes(ctypes.byref(params), batch)
    assert 0 < exact <= attributes.workspace_bound(batch) <= 1.1 * exact + 12 * 256


def test_outputs_are_as_the_runtime_reads_them() -> None:
    assert list(output_shapes(2, 5).values()) == [(2,), (2, 5, 4), (2, 5), (2, 5), (2, 5, 4)]
