"""Balancing of classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gaussian_yolo_node.lab.noisy_student.balance import balance
from gaussian_yolo_node.lab.noisy_student.select_boxes import SelectionError
from gaussian_yolo_node.lab.noisy_student.select_classes import ClassRules, copies_of
from gaussian_yolo_node.settings import read


@pytest.mark.parametrize(
    ("class_ids", "confidences", "per_class", "copies"),
    [
        pytest.param([], [], 3, [], id="none"),
        pytest.param([0, 0, 0], [0.5, 0.9, 0.7], 2, [0, 1, 1], id="the surest of a common class"),
        pytest.param([0, 0], [0.5, 0.9], 5, [2, 3], id="a rare class is repeated, the surest once more"),
        pytest.param([0, 0, 0], [0.7, 0.7, 0.7], 2, [1, 1, 0], id="ties go to the earlier"),
        pytest.param([0, 0], [0.7, 0.7], 3, [2, 1], id="also the extra copies"),
        pytest.param([2, 0, 2], [0.1, 0.2, 0.3], 2, [1, 2, 1], id="a class without any stays empty"),
        pytest.param([0], [0.3], 4, [4], id="one"),
    ],
)
def test_balance(class_ids: list[int], confidences: list[float], per_class: int, copies: list[int]) -> None:
    found = balance(np.array(class_ids, np.int64), np.array(confidences, np.float64), per_class, 3)
    assert found.tolist() == copies


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.3, 0.5, 0.5000001, 0.9, 1.0])), max_size=40),
    st.integers(1, 12),
)
def test_every_class_with_items_comes_equally_often(items: list[tuple[int, float]], per_class: int) -> None:
    class_ids = np.array([item[0] for item in items], np.int64)
    confidences = np.array([item[1] for item in items], np.float64)
    copies = balance(class_ids, confidences, per_class, 4)
    assert copies.shape == class_ids.shape and (copies >= 0).all()
    for class_id in range(4):
        mine, sure = copies[class_ids == class_id], confidences[class_ids == class_id]
        assert mine.sum() == (per_class if len(mine) else 0)
        if len(mine):
            assert mine.max() - mine.min() <= 1
            # A less confident item is never repeated more often than a more confident one.
            assert all(a >= b for a, b in zip(mine[np.argsort(-sure, kind="stable")], np.sort(mine)[::-1], strict=True))


@pytest.mark.parametrize(
    ("threshold", "per_class", "copies"),
    [
        pytest.param(0.3, None, [1, 1, 1, 1], id="all"),
        pytest.param(0.6, None, [1, 1, 0, 1], id="the threshold itself is enough"),
        pytest.param(1.0, None, [0, 0, 0, 1], id="certain"),
        pytest.param(0.6, 2, [1, 2, 0, 1], id="of the sure ones only, and equally many"),
        pytest.param(0.0, 3, [1, 3, 1, 1], id="balanced"),
    ],
)
def test_copies(threshold: float, per_class: int | None, copies: list[int]) -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.5, 0.5], [1.0, 0.0]], np.float32)
    assert copies_of(probabilities, ClassRules(threshold, per_class)).tolist() == copies


@pytest.mark.parametrize(
    ("threshold", "per_class", "message"),
    [(-0.1, None, "threshold"), (1.1, None, "threshold"), (float("nan"), None, "threshold"), (0.3, 0, "per_class")],
)
def test_rules_that_cannot_be(threshold: float, per_class: int | None, message: str) -> None:
    with pytest.raises(SelectionError, match=message):
        read(ClassRules, {"threshold": threshold, "per_class": per_class}, "the selection", SelectionError)


def test_no_labels_and_no_numbers() -> None:
    assert copies_of(np.zeros((0, 3), np.float32), ClassRules(0.3, 4)).tolist() == []
    with pytest.raises(SelectionError, match="no number"):
        copies_of(np.array([[np.nan, 1]], np.float32), ClassRules())
