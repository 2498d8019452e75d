"""From heads to detections: the kernels against numpy in double precision."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from darknet_golden import partners
from numpy.typing import NDArray
from plugin_calls import ANCHORS, FAILING, KINDS, STRIDES, expected, random_call, random_shape, with_options
from plugin_kernels import Call, Kernels
from postprocessing_cases import Options

from gaussian_yolo_node.detector.detections import Detections

CALLS = 200


def _assert_same(ours: Detections, theirs: Detections) -> None:
    """The same set: where scores differ by rounding only, the order is not looked at."""
    assert len(ours) == len(theirs)
    assert (np.diff(ours.scores) <= 0).all()
    if not len(ours):
        return
    partner = partners(ours, ours.boxes, theirs)
    np.testing.assert_allclose(ours.boxes, theirs.boxes[partner], rtol=0, atol=1e-3)
    np.testing.assert_allclose(ours.scores, theirs.scores[partner], rtol=0, atol=1e-5)
    np.testing.assert_allclose(ours.sigmas, theirs.sigmas[partner], rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "decade", [*range(3), *(pytest.param(decade, marks=pytest.mark.slow) for decade in range(3, CALLS // 10))]
)
def test_random_calls_agree_with_the_reference(decade: int, kernels: Kernels) -> None:
    for number in range(10 * decade, 10 * decade + 10):
        shape = random_shape(number)
        call = random_call(shape, number)
        outputs = kernels.detect(call, seed=number)
        for image in range(call.batch):
            finite = all(np.isfinite(head[image]).all() for head in call.heads)
            if finite:
                _assert_same(outputs.image(image), expected(call, image))
            else:
                assert shape.kind in FAILING
                assert outputs.counts[image] == -1
                assert not any(rows[image].any() for rows in outputs.arrays[1:])


def test_random_calls_are_of_all_sorts() -> None:
    """What the calls cover, so that a change of the generator does not quietly narrow it."""
    shapes = [random_shape(number) for number in range(CALLS)]
    sides = {side for shape in shapes for side in shape.size}

    assert {shape.classes for shape in shapes} == set(range(1, 21))
    assert {shape.batch for shape in shapes} == {1, 2, 3, 4}
    assert min(sides) == 96 and max(sides) == 608 and len(sides) > 12
    assert {(shape.kind, shape.half, shape.options.variance_vote) for shape in shapes} == set(
        itertools.product(KINDS, (False, True), (False, True))
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_all_of_608_px_are_candidates(dtype: Any, kernels: Kernels) -> None:
    """22,743 cells, each of which passes; and the same in one tie."""
    rng = np.random.default_rng(5)
    heads = []
    for stride in STRIDES:
        head = rng.normal(0, 0.3, (1, 3, 10, 608 // stride, 608 // stride))
        head[:, :, 8:] = 1 + np.abs(head[:, :, 8:])
        heads.append(head.reshape(1, 30, *head.shape[3:]).astype(dtype))
    call = Call(heads, ANCHORS, STRIDES, Options(score_threshold=0.05, max_candidates=8192, max_detections=8192))
    tied = with_options(
        Call([np.zeros_like(head) for head in heads], ANCHORS, STRIDES, call.options), max_candidates=777
    )

    found = kernels.detect(call).image(0)
    found_in_tie = kernels.detect(tied, seed=3).image(0)

    assert sum(3 * head.shape[2] * head.shape[3] for head in heads) == 22743
    assert len(found) > 500
    np.testing.assert_array_equal(found_in_tie.boxes, expected(tied, 0).boxes)


@pytest.mark.parametrize("number", [3, 5, 6, *(pytest.param(each, marks=pytest.mark.slow) for each in (12, 13))])
@pytest.mark.parametrize("vote", [False, True])
def test_no_order_of_threads_changes_a_bit(number: int, vote: bool, kernels: Kernels) -> None:
    call = with_options(random_call(random_shape(number), number), variance_vote=vote)
    first = kernels.detect(call).bytes()

    for seed in range(1, 5):
        assert kernels.detect(call, seed=seed).bytes() == first


def _batch_of_three() -> Call:
    return random_call(replace(random_shape(3), size=(96, 160), batch=3, half=False), 3)


def test_each_image_of_a_batch_is_by_itself(kernels: Kernels) -> None:
    call = _batch_of_three()
    together = kernels.detect(call)

    for image in range(call.batch):
        alone = kernels.detect(
            Call([head[image : image + 1] for head in call.heads], call.anchors, call.strides, call.options)
        )
        for whole, part in zip(together.arrays, alone.arrays, strict=True):
            np.testing.assert_array_equal(whole[image], part[0])


def test_a_failed_image_leaves_the_others_alone(kernels: Kernels) -> None:
    call = _batch_of_three()
    sound = kernels.detect(call)
    heads: list[NDArray[Any]] = [head.copy() for head in call.heads]
    heads[2][1, 4, 0, 0] = np.nan

    outputs = kernels.detect(Call(heads, call.anchors, call.strides, call.options))

    assert outputs.counts[1] == -1
    for image in set(range(call.batch)) - {1}:
        for ours, theirs in zip(outputs.arrays, sound.arrays, strict=True):
            np.testing.assert_array_equal(ours[image], theirs[image])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("head", [0, 1, 2])
@pytest.mark.parametrize("entry", [0, 7, 8, -1])
def test_any_value_that_is_not_finite_fails_the_image(
    value: float, dtype: Any, head: int, entry: int, kernels: Kernels
) -> None:
    heads = [np.full((1, 36, 96 // stride, 96 // stride), -9, dtype) for stride in STRIDES]
    heads[head][0, entry, -1, -1] = value

    assert kernels.detect(Call(heads, ANCHORS, STRIDES)).counts[0] == -1


def test_halves_are_read_exactly(kernels: Kernels) -> None:
    """A third of all finite ones, subnormals among them, as the logit of a box's place."""
    values = np.arange(0, 1 << 16, 3, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)]
    heads = [np.full((1, 30, 256 // stride, 256 // stride), -30, np.float16) for stride in STRIDES]
    cells = heads[2].reshape(3, 10, -1)[0]
    options = Options(max_candidates=1024, max_detections=1024, iou_threshold=1.0)
    for part in np.array_split(values, -(-len(values) // 1024)):
        cells[:] = np.array([0.0, -30.0] * 4 + [5.0, 5.0])[:, np.newaxis]
        cells[0, : len(part)] = part
        call = Call(heads, ANCHORS, STRIDES, options)
        np.testing.assert_allclose(kernels.detect(call).image(0).boxes, expected(call, 0).boxes, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("anchors_per_head", 0, "anchors"),
        ("anchors_per_head", 9, "anchors"),
        ("num_classes", 0, "num_classes"),
        ("input_height", 0, "input_height"),
        ("input_width", 100, "strides"),  # not a multiple of 32
        ("num_classes", 2_000_000_000, "cells times num_classes"),
        ("score_threshold", 1.0, "score_threshold"),
        ("score_threshold", float("nan"), "score_threshold"),
        ("iou_threshold", -0.1, "iou_threshold"),
        ("max_candidates", 0, "max_candidates"),
        ("max_candidates", 8193, "max_candidates"),
        ("max_detections", 0, "max_detections"),
        ("variance_vote", 2, "variance_vote"),
        ("criterion", 2, "criterion"),
    ],
)
def test_names_a_parameter_that_is_wrong(field: str, value: float, message: str, kernels: Kernels) -> None:
    params = _batch_of_three().params
    assert kernels.params_error(params) is None
    setattr(params, field, value)

    assert message in (kernels.params_error(params) or "")
    assert kernels.workspace_bytes(params, 1) == 0
