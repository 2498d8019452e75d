from __future__ import annotations

import json
import math

import numpy as np
import pytest

from gaussian_yolo_node.evaluation import LabelError
from gaussian_yolo_node.evaluation.predictions import FramePredictions
from gaussian_yolo_node.evaluation.protocols import PROTOCOLS, ProtocolResult, evaluate_protocol, judge
from gaussian_yolo_node.evaluation.truths import FrameTruths, GroundTruth

CAR = [100.0, 100.0, 200.0, 200.0]
FAR = [300.0, 100.0, 400.0, 200.0]


def found(name: str, *boxes: tuple[str, float, list[float]]) -> FramePredictions:
    return FramePredictions(
        name,
        np.array([box for _, _, box in boxes], np.float64).reshape(-1, 4),
        np.array([score for _, score, _ in boxes], np.float64),
        np.array([kind for kind, _, _ in boxes], np.str_),
    )


def evaluated(protocol: str) -> ProtocolResult:
    if protocol == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools not installed")
    truths = [FrameTruths.of("a", [CAR, FAR], ["Car", "Pedestrian"]), FrameTruths.of("b", [CAR], ["Car"])]
    predictions = [found("a", ("car", 0.9, CAR), ("car", 0.4, FAR), ("bus", 0.9, FAR)), found("c"), found("b")]
    return evaluate_protocol(protocol, GroundTruth.of(truths), predictions)


@pytest.mark.parametrize(
    ("protocol", "key", "car"),
    [
        ("all", "0.7", 0.5),
        ("all", "0.5", 0.5),
        ("bdd", "0.75", 0.5),
        ("coco", "0.5:0.95", 51 / 101),
        ("kitti", "0.7", 0),
    ],
)
def test_ap_by_class_and_iou(protocol: str, key: str, car: float) -> None:
    """One of two cars is found, before a wrong one. KITTI's one sample is at recall 0, which 40 points leave out."""
    result = evaluated(protocol)
    assert result.ap["car"][key] == pytest.approx(car)
    assert result.ap["pedestrian"]["0.5"] == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_result_is_json_and_tells_what_was_counted(protocol: str) -> None:
    result = evaluated(protocol)
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert document["ap"]["car"] and 0 <= document["map"] <= 1 and document["protocol"] == protocol
    assert document["frames"] == {"matched": ["a", "b"], "unlabelled": ["c"], "unpredicted": []}
    assert any("no truth and are not counted: c" in note for note in result.notes)
    assert any("not counted: bus" in note for note in result.notes)
    assert any("--score-threshold 0.005" in note for note in result.notes)
    car = next(row for row in result.counts if row.name == "car")
    assert (car.score, car.tp, car.fp, car.fn) == (0.5, 1, 0, 1)


def test_a_class_without_truths_has_no_ap() -> None:
    result = evaluated("all")
    assert math.isnan(result.ap["cyclist"]["0.5"]) and result.to_dict()["ap"]["cyclist"]["0.5"] is None
    assert result.map == pytest.approx(0.25)  # of car and pedestrian


@pytest.mark.parametrize("lowest", [0.3, 0.004])
def test_a_curve_that_was_cut_off_is_said(lowest: float) -> None:
    truths = GroundTruth.of([FrameTruths.of("a", [CAR], ["Car"])])
    notes = evaluate_protocol("all", truths, [found("a", ("car", 0.9, CAR), ("car", lowest, FAR))]).notes
    assert any("the lowest score is 0.3" in note for note in notes) == (lowest == 0.3)


def test_no_detections_at_all_are_no_cut_off_curve() -> None:
    truths = GroundTruth.of([FrameTruths.of("a", [CAR], ["Car"])])
    assert evaluate_protocol("all", truths, [found("a")]).notes == ()


@pytest.mark.parametrize(
    ("protocol", "truths", "message"),
    [
        ("all", GroundTruth.of([FrameTruths.of("a", [], [])]), "no objects that count"),
        ("all", GroundTruth.of([FrameTruths.of("a", [CAR], ["DontCare"], [True])]), "no objects that count"),
        ("kitti", GroundTruth.of([FrameTruths.of("a", [CAR], ["car"])], "bdd"), "needs KITTI labels"),
        ("bdd", GroundTruth.of([FrameTruths.of("z", [CAR], ["car"])], "bdd"), "no frame of the predictions"),
    ],
)
def test_what_cannot_be_measured(protocol: str, truths: GroundTruth, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        evaluate_protocol(protocol, truths, [found("a", ("car", 0.9, CAR))])


def test_judged_detections_come_by_falling_score_over_all_frames() -> None:
    truths = GroundTruth.of([FrameTruths.of("a", [CAR], ["Car"]), FrameTruths.of("b", [CAR], ["Car"])])
    predictions = [found("a", ("car", 0.4, CAR), ("car", 0.9, FAR)), found("b", ("car", 0.8, CAR))]
    for protocol in ("all", "bdd"):
        judged = judge(protocol, truths, predictions, "car", 0.5)
        assert judged.scores.tolist() == [0.9, 0.8, 0.4] and judged.correct.tolist() == [False, True, True]
        assert judged.frames.tolist() == [0, 1, 0] and judged.truths_per_frame.tolist() == [1, 1]
