from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from evaluation_factory import evaluate_protocol
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.evaluation.bdd import BDD_IOUS, judge_class
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.predictions import read_predictions
from gaussian_yolo_node.labels.truths import read_ground_truth


def record(box: list[float], score: float | None = None, name: str = "a", category: str = "car") -> dict[str, Any]:
    return {"name": name, "category": category, "bbox": box} | ({} if score is None else {"score": score})


def paired(truths: list[dict[str, Any]], predictions: list[dict[str, Any]]) -> Paired:
    """The frames of both; `places` are the numbers of the predictions."""
    labels, detections = [], []
    for frame in dict.fromkeys(each["name"] for each in [*truths, *predictions, {"name": "a"}]):
        objects = [each for each in truths if each["name"] == frame]
        boxes = [each["bbox"] for each in objects]
        labels.append(FrameTruths(frame, Truths.of(boxes, [each["category"] for each in objects])))
        rows = [(number, each) for number, each in enumerate(predictions) if each["name"] == frame]
        boxes, scores, names = ([each[key] for _, each in rows] for key in ("bbox", "score", "category"))
        detections.append(FramePredictions.of(frame, boxes, scores, names, places=[number for number, _ in rows]))
    return pair(GroundTruth.of(labels, "list"), detections)


def average_precision(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], iou: float = 0.75
) -> dict[str, float]:
    of = paired(truths, predictions)
    return {name: judge_class(of, name, iou).class_curve(name, iou).ap for name in of.classes}


def test_golden_values_of_the_official_evaluation(golden_dir: Path) -> None:
    folder = golden_dir / "bdd_eval"
    truth, predictions, expected = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("ground_truth", "predictions", "expected_ap")
    )

    for threshold in ("0.5", "0.7", "0.75"):
        result = average_precision(truth, predictions, float(threshold))
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
        # the second detection of an object is wrong, even if it overlaps another object enough
        (
            [record([0, 0, 99, 99]), record([0, 10, 99, 109])],
            [record([0, 0, 99, 99], 0.9), record([0, 1, 99, 100], 0.8)],
            {"car": 0.5},
        ),
        ([], [], {}),
    ],
)
def test_rules(truths: list[Any], predictions: list[Any], expected: dict[str, float]) -> None:
    assert average_precision(truths, predictions, 0.5) == expected


def test_right_and_wrong_detections_come_in_the_order_given() -> None:
    truths = [record([0, 0, 9, 9]), record([50, 50, 69, 69], name="b", category="bus")]
    predictions = [
        record([0, 0, 9, 8], 0.5),  # a better detection of this object follows
        record([0, 0, 9, 9], 0.9),
        record([30, 0, 39, 9], 0.8),  # nothing there
        record([50, 50, 69, 69], 0.1, name="b", category="bus"),
        record([50, 50, 69, 69], 0.7, name="b", category="car"),  # another class
        record([0, 0, 9, 9], 0.6, category="train"),  # a class without objects
    ]
    of = paired(truths, predictions)
    judged = [judge_class(of, name, 0.75) for name in ("car", "bus", "train")]
    correct = {int(of.places[row]) for each in judged for row in each.rows[each.correct]}
    assert correct == {1, 3} and sum(len(each.rows) for each in judged) == 6
    assert not judge_class(paired([], predictions), "car", 0.75).correct.any()


def slow_average_precision(
    truths: list[dict[str, Any]], predictions: list[dict[str, Any]], category: str, least: float
) -> float:
    """The protocol as its definition states it, one detection at a time."""

    def iou(a: list[float], b: list[float]) -> float:
        width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
        height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
        areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
        return width * height / (sum(areas) - width * height)

    objects = [truth for truth in truths if truth["category"] == category]
    taken: set[int] = set()
    verdicts = []
    for detection in sorted((p for p in predictions if p["category"] == category), key=lambda p: -p["score"]):
        near = [n for n, truth in enumerate(objects) if truth["name"] == detection["name"]]
        best = max(near, key=lambda n: iou(objects[n]["bbox"], detection["bbox"]), default=None)
        right = best is not None and iou(objects[best]["bbox"], detection["bbox"]) > least and best not in taken
        if right and best is not None:
            taken.add(best)
        verdicts.append(right)
    precisions = [sum(verdicts[: n + 1]) / (n + 1) for n in range(len(verdicts))]
    return sum(max(precisions[n:]) for n, right in enumerate(verdicts) if right) / len(objects)


corners = st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 9), st.integers(1, 9)).map(
    lambda v: [float(v[0]), float(v[1]), float(v[0] + v[2]), float(v[1] + v[3])]
)
names, categories = st.sampled_from("abc"), st.sampled_from(["car", "bus"])
drawn_truths = st.lists(st.builds(record, corners, st.none(), names, categories), min_size=1, max_size=12)
drawn_predictions = st.lists(
    st.builds(record, corners, st.sampled_from([0.1, 0.5, 0.5, 0.9]), names, categories), max_size=16
)


@settings(max_examples=200, deadline=None)
@given(drawn_truths, drawn_predictions, st.sampled_from([0.3, 0.5, 0.75]))
def test_agrees_with_the_protocol_told_box_by_box(truths: list[Any], predictions: list[Any], least: float) -> None:
    expected = {
        name: slow_average_precision(truths, predictions, name, least)
        for name in sorted({truth["category"] for truth in truths})
    }
    assert average_precision(truths, predictions, least) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(drawn_truths, drawn_predictions)
def test_the_command_s_way_gives_the_same(truths: list[Any], predictions: list[Any]) -> None:
    """Read from files in the official formats."""
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "truth.json"), Path(folder, "predictions.json")
        for path, records in zip(paths, (truths, predictions), strict=True):
            path.write_text(json.dumps(records))
        ground_truth = read_ground_truth(paths[0])
        read = read_predictions(paths[1], ground_truth)
    if read:
        result = evaluate_protocol("bdd", ground_truth, read)
        for iou in BDD_IOUS:
            expected = average_precision(truths, predictions, iou)
            assert {name: of[f"{iou:g}"] for name, of in result.ap.items()} == pytest.approx(expected, abs=1e-12)
