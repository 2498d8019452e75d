from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gaussian_yolo_node.evaluation.bdd import bdd_average_precision, bdd_correct


def record(box: list[float], score: float | None = None, name: str = "a", category: str = "car") -> dict[str, Any]:
    return {"name": name, "category": category, "bbox": box} | ({} if score is None else {"score": score})


def test_golden_values_of_the_official_evaluation(golden_dir: Path) -> None:
    folder = golden_dir / "bdd_eval"
    truth, predictions, expected = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("ground_truth", "predictions", "expected_ap")
    )

    for threshold in ("0.5", "0.7", "0.75"):
        result = bdd_average_precision(truth, predictions, float(threshold))
        assert result == pytest.approx({name: values[threshold] for name, values in expected.items()}, abs=1e-9)


@pytest.mark.parametrize(
    ("truths", "predictions", "expected"),
    [
        # the last pixel counts: IoU of 10 x 10 and 10 x 5
        ([record([0, 0, 9, 9])], [record([0, 0, 9, 4], 0.9)], {"car": 0.0}),  # 0.5, not above the threshold
        ([record([0, 0, 9, 9])], [record([0, 0, 9, 5], 0.9)], {"car": 1.0}),
        ([record([0, 0, 9, 9])], [], {"car": 0.0}),  # a class without detections
        ([record([0, 0, 9, 9])], [record([0, 0, 9, 9], 0.9, category="bus")], {"car": 0.0}),  # one without truths
        ([record([0, 0, 9, 9])], [record([0, 0, 9, 9], 0.9, name="b")], {"car": 0.0}),  # a frame without truths
        # the second detection of an object is wrong, even where another object is near enough
        (
            [record([0, 0, 99, 99]), record([0, 10, 99, 109])],
            [record([0, 0, 99, 99], 0.9), record([0, 1, 99, 100], 0.8)],
            {"car": 0.5},
        ),
        ([], [], {}),
    ],
)
def test_rules(truths: list[Any], predictions: list[Any], expected: dict[str, float]) -> None:
    assert bdd_average_precision(truths, predictions, 0.5) == expected


def test_right_and_wrong_detections_come_in_the_order_given() -> None:
    truths = [record([0, 0, 9, 9]), record([50, 50, 69, 69], name="b", category="bus")]
    predictions = [
        record([0, 0, 9, 8], 0.5),  # the object has a better one below
        record([0, 0, 9, 9], 0.9),
        record([30, 0, 39, 9], 0.8),  # nothing there
        record([50, 50, 69, 69], 0.1, name="b", category="bus"),
        record([50, 50, 69, 69], 0.7, name="b", category="car"),  # another class
        record([0, 0, 9, 9], 0.6, category="train"),  # a class that has no objects
    ]
    assert bdd_correct(truths, predictions).tolist() == [False, True, False, True, False, False]
    assert bdd_correct([], predictions).tolist() == [False] * 6
