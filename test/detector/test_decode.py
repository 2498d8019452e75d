from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from factories import ANCHORS, BACKGROUND_LOGIT, STRIDES, Planted, make_card, make_heads
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import CRITERIA, NonFiniteOutputError, decode
from gaussian_yolo_node.detector.detections import Detections

CARD = make_card()
SIZES = CARD.anchor_sizes


def _noise(seed: int, dtype: Any = np.float32) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, head.shape).astype(dtype) for head in make_heads(CARD)]


def _by_the_book(heads: list[NDArray[Any]], threshold: float) -> list[tuple[float, ...]]:
    """Rows of score, class, cx, cy, w, h and the four sigmas, computed one anchor at a time."""

    def logistic(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    rows = []
    for head, anchors, stride in zip(heads, ANCHORS, STRIDES, strict=True):
        _, channels, height, width = head.shape
        by_anchor = head.reshape(len(anchors), channels // len(anchors), height, width)
        for index, row, column in np.ndindex(len(anchors), height, width):
            mu_x, s_x, mu_y, s_y, mu_w, s_w, mu_h, s_h, objectness, *classes = map(
                float, by_anchor[index, :, row, column]
            )
            s = [logistic(value) for value in (s_x, s_y, s_w, s_h)]
            w, h = math.exp(mu_w) * anchors[index][0], math.exp(mu_h) * anchors[index][1]
            x, y = (column + logistic(mu_x)) * stride, (row + logistic(mu_y)) * stride
            for class_id, value in enumerate(classes):
                score = logistic(objectness) * logistic(value) * (1 - sum(s) / 4)
                if logistic(objectness) > threshold and score > threshold:
                    rows.append((score, class_id, x, y, w, h, s[0] * stride, s[1] * stride, s[2] * w, s[3] * h))
    return rows


def _rows(detections: Detections) -> NDArray[np.float64]:
    return np.concatenate(
        [
            detections.scores[:, np.newaxis],
            detections.class_ids[:, np.newaxis],
            detections.centres_sizes,
            detections.sigmas,
        ],
        axis=1,
    ).astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threshold", [0.0, 0.005, 0.1, 0.3, 0.99])
def test_agrees_with_the_formulas_anchor_by_anchor(threshold: float, dtype: Any) -> None:
    heads = _noise(1, dtype)

    detections = decode(heads, SIZES, STRIDES, threshold, max_candidates=10_000)

    expected = np.array(_by_the_book(heads, threshold)).reshape(-1, 10)
    np.testing.assert_allclose(_rows(detections), expected, rtol=1e-5, atol=1e-4)


def test_finds_planted_boxes() -> None:
    planted = Planted((10, 12, 34, 27), class_id=2, score=0.7, sigma=0.2)

    found = decode(make_heads(CARD, [planted]), SIZES, STRIDES, 0.3)

    np.testing.assert_allclose(found.boxes, [planted.box], atol=1e-3)
    np.testing.assert_allclose(found.scores, [0.7], rtol=1e-5)
    np.testing.assert_allclose(found.sigmas, [[3.2, 3.2, 4.8, 3.0]], rtol=1e-5)  # stride 16, 24x15 px
    np.testing.assert_array_equal(found.class_ids, [2])


def test_finds_nothing_on_background() -> None:
    assert len(decode(make_heads(CARD, []), SIZES, STRIDES, 0.3)) == 0


def _one_anchor(**logits: float) -> list[NDArray[np.float32]]:
    """Background except for one cell of head_32, whose entries default to 0."""
    heads = make_heads(CARD, [])
    entries = heads[0].reshape(3, 12, 2, 3)[0, :, 0, 0]
    entries[:] = [0, -30, 0, -30, 0, -30, 0, -30, logits["objectness"], *([logits["classes"]] * 3)]
    return heads


@pytest.mark.parametrize(
    ("objectness", "classes", "threshold", "count"),
    [
        (0.0, 30.0, 0.5, 0),  # objectness equal to the threshold does not pass
        (0.001, 30.0, 0.5, 3),  # one cell may give several classes
        (30.0, 0.0, 0.5, 0),  # a score equal to the threshold does not pass
        (30.0, 0.001, 0.5, 3),
        (0.0, 0.0, 0.25, 0),
        (0.0, 0.0, 0.2499, 3),
        (30.0, BACKGROUND_LOGIT, 0.5, 0),  # an object without a class
    ],
)
def test_thresholds_are_strict(objectness: float, classes: float, threshold: float, count: int) -> None:
    heads = _one_anchor(objectness=objectness, classes=classes)

    assert len(decode(heads, SIZES, STRIDES, threshold)) == count


def test_extreme_logits_raise_nothing() -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        found = decode(_one_anchor(objectness=200.0, classes=-200.0), SIZES, STRIDES, 0.3)
        sure = decode(_one_anchor(objectness=200.0, classes=200.0), SIZES, STRIDES, 0.3)

    assert len(found) == 0
    np.testing.assert_array_equal(sure.scores, [1, 1, 1])


def test_keeps_the_best_of_too_many_and_their_order() -> None:
    every = decode(_noise(2), SIZES, STRIDES, 0.05, max_candidates=10_000)
    best = np.sort(np.lexsort((np.arange(len(every)), -every.scores))[:40])

    kept = decode(_noise(2), SIZES, STRIDES, 0.05, max_candidates=40)

    assert len(every) > 40
    np.testing.assert_array_equal(kept.boxes, every.boxes[best])
    np.testing.assert_array_equal(kept.scores, every.scores[best])


@pytest.mark.parametrize("count", [1, 2, 5])
def test_of_equal_scores_keeps_the_first(count: int) -> None:
    heads = [np.zeros_like(head) for head in make_heads(CARD)]

    kept = decode(heads, SIZES, STRIDES, 0.1, max_candidates=count)

    assert len(kept) == count
    np.testing.assert_array_equal(kept.class_ids, [0, 1, 2, 0, 1][:count])
    np.testing.assert_allclose(kept.centres_sizes[:, 0], [16, 16, 16, 48, 48][:count])


def _logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


@pytest.mark.parametrize(
    ("objectness", "class_score", "s", "gaussian", "confidence"),
    [
        (0.5, 0.8, (0.1, 0.2, 0.3, 0.4), 0.3, 0.4),  # 0.5 * 0.8 * (1 - 0.25)
        (0.8, 0.5, (0.5, 0.5, 0.5, 0.5), 0.2, 0.4),
        (0.9, 0.9, (0.2, 0.6, 0.0001, 0.3999), 0.567, 0.81),
        (0.5, 0.8, (0.9, 0.9, 0.9, 0.9), None, 0.4),  # too uncertain for a detection
        (0.5, 0.1, (0.1, 0.1, 0.1, 0.1), None, None),
    ],
)
def test_the_score_with_and_without_the_uncertainty_term(
    objectness: float, class_score: float, s: tuple[float, ...], gaussian: float | None, confidence: float | None
) -> None:
    heads = _one_anchor(objectness=_logit(objectness), classes=BACKGROUND_LOGIT)
    entries = heads[0].reshape(3, 12, 2, 3)[0, :, 0, 0]
    entries[1:8:2] = [_logit(value) for value in s]
    entries[10] = _logit(class_score)

    for criterion, score in (("gaussian", gaussian), ("confidence", confidence)):
        found = decode(heads, SIZES, STRIDES, 0.15, criterion=criterion)
        np.testing.assert_allclose(found.scores, [] if score is None else [score], rtol=1e-5)


def test_nothing_but_the_score_depends_on_the_criterion() -> None:
    heads = _noise(3, np.float64)
    plain = decode(heads, SIZES, STRIDES, 0.0, 10_000, "confidence")
    gaussian = decode(heads, SIZES, STRIDES, 0.0, 10_000, "gaussian")

    np.testing.assert_array_equal(gaussian.boxes, plain.boxes)
    np.testing.assert_array_equal(gaussian.sigmas, plain.sigmas)
    np.testing.assert_array_equal(gaussian.class_ids, plain.class_ids)
    # Recover s from px: divide by the stride for centres and by the size for sizes.
    strides = np.repeat(STRIDES, [head.shape[2] * head.shape[3] * 3 * 3 for head in heads])[:, np.newaxis]
    s = plain.sigmas / np.concatenate([strides, strides, plain.centres_sizes[:, 2:]], axis=1)
    np.testing.assert_allclose(gaussian.scores, plain.scores * (1 - s.mean(axis=1)), rtol=1e-4)


@pytest.mark.parametrize("criterion", ["gaussian", "confidence"])
def test_what_is_kept_of_too_many_goes_by_the_criterion(criterion: Any) -> None:
    every = decode(_noise(4), SIZES, STRIDES, 0.05, 10_000, criterion)

    kept = decode(_noise(4), SIZES, STRIDES, 0.05, 30, criterion)

    np.testing.assert_array_equal(np.sort(kept.scores), np.sort(every.scores)[-30:])


def test_equal_confidences_that_the_uncertainty_tells_apart() -> None:
    """Of two cells with equal objectness and classes, "gaussian" keeps the more certain one, "confidence" the first."""
    heads = _one_anchor(objectness=3.0, classes=BACKGROUND_LOGIT)
    cells = heads[0].reshape(3, 12, 2, 3)[0]
    cells[:, 0, 1] = cells[:, 0, 0]
    cells[9, 0, :2] = 3.0
    cells[1:8:2, 0, 0] = 0.0

    columns = {
        criterion: decode(heads, SIZES, STRIDES, 0.3, 1, criterion).centres_sizes[:, 0] // 32 for criterion in CRITERIA
    }

    assert {name: column.tolist() for name, column in columns.items()} == {"gaussian": [1], "confidence": [0]}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("head", [0, 1, 2])
@pytest.mark.parametrize("entry", [0, 8, 11])
def test_refuses_nan_and_infinity_wherever_they_are(value: float, head: int, entry: int) -> None:
    heads = make_heads(CARD)
    heads[head][0, entry, 0, 0] = value

    with pytest.raises(NonFiniteOutputError, match=f"head of stride {STRIDES[head]} holds 1 NaN or infinite"):
        decode(heads, SIZES, STRIDES, 0.3)


def test_counts_what_is_not_finite_even_where_it_cancels() -> None:
    heads = make_heads(CARD)
    heads[1][0, 0, 0, :2] = [np.inf, -np.inf]

    with pytest.raises(NonFiniteOutputError, match="holds 2 NaN"):
        decode(heads, SIZES, STRIDES, 0.3)


def test_finite_values_with_an_infinite_sum_are_finite() -> None:
    heads = make_heads(CARD)
    heads[0][0, 9:12] = 3e38  # class logits of background cells

    assert len(decode(heads, SIZES, STRIDES, 0.3)) == 2


def test_refuses_boxes_of_infinite_size() -> None:
    heads = _one_anchor(objectness=5.0, classes=5.0)
    heads[0].reshape(3, 12, 2, 3)[0, 4, 0, 0] = 100.0

    with pytest.raises(NonFiniteOutputError, match="infinite size"):
        decode(heads, SIZES, STRIDES, 0.3)


@pytest.mark.parametrize("threshold", [-0.1, 1.0, 2.0, math.nan])
def test_refuses_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="score_threshold"):
        decode(make_heads(CARD), SIZES, STRIDES, threshold)


@pytest.mark.parametrize("channels", [35, 27, 10])
def test_refuses_a_head_that_does_not_fit_its_anchors(channels: int) -> None:
    with pytest.raises(ValueError, match=f"{channels} channels"):
        decode([np.zeros((1, channels, 2, 3), np.float32)], SIZES[:1], STRIDES[:1], 0.3)
