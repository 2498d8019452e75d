from __future__ import annotations

import json
import math

import pytest
from evaluation_factory import evaluate_protocol

from gaussian_yolo_node.evaluation import all_objects, bdd
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.protocols import PROTOCOLS, ProtocolResult
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Kind, Truths

CAR = [100.0, 100.0, 200.0, 200.0]
FAR = [300.0, 100.0, 400.0, 200.0]


def found(name: str, *boxes: tuple[str, float, list[float]]) -> FramePredictions:
    kinds, scores, corners = zip(*boxes, strict=True) if boxes else ((), (), ())
    return FramePredictions.of(name, corners, scores, kinds)


def evaluated(protocol: str) -> ProtocolResult:
    if protocol == "coco":
        pytest.importorskip("pycocotools", reason="pycocotools not installed")
    truths = [
        FrameTruths("a", Truths.of([CAR, FAR], ["Car", "Pedestrian"])),
        FrameTruths("b", Truths.of([CAR], ["Car"])),
    ]
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
    """One of two cars is detected, before a wrong box. KITTI's only sample is at recall 0, which 40 points leave
    out."""
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
    assert result.map == pytest.approx(0.25)  # mean of car and pedestrian


def test_difficulties_by_class_with_their_mean() -> None:
    table = evaluated("kitti").to_dict()["difficulties"]
    assert list(table) == ["car", "pedestrian", "cyclist", "mean"]
    # One of two cars, one sample: precision 1 at recall 0.
    assert table["car"]["easy"] == {"eleven_point": pytest.approx(1 / 11), "forty_point": 0}
    assert table["cyclist"]["hard"] == {"eleven_point": None, "forty_point": None}
    assert table["mean"]["moderate"]["eleven_point"] == pytest.approx(1 / 22)  # mean of car and pedestrian
    assert evaluated("all").to_dict()["difficulties"] == {}


@pytest.mark.parametrize(("protocol", "own"), [("all", ["0.7", "0.5"]), ("bdd", ["0.5", "0.7", "0.75"])])
def test_other_ious_leave_the_mean_alone(protocol: str, own: list[str]) -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"]))])
    low = [found("a", ("car", 0.9, [100.0, 100.0, 200.0, 192.0]))]  # IoU 0.92
    result = evaluate_protocol(protocol, truths, low, ious=[0.95, 0.5])
    assert sorted(result.ap["car"]) == sorted([*own, "0.95"])
    assert (result.ap["car"]["0.95"], result.map) == (0, 1)


@pytest.mark.parametrize("protocol", ["kitti", "coco"])
def test_protocols_with_ious_of_their_own(protocol: str) -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"]))])
    with pytest.raises(DatasetError, match="has IoUs of its own: only all and bdd"):
        evaluate_protocol(protocol, truths, [found("a", ("car", 0.9, CAR))], ious=[0.6])


@pytest.mark.parametrize(
    ("truths", "names"),
    [
        (
            GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"]))]),
            "predicted are van5, wagon, .* has car, cyclist, pedes",
        ),
        (
            GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["car"]))], "bdd"),
            "predicted are van5, wagon, .* has bicycle, ",
        ),
        (
            GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["shoe"]))], "coco"),
            "predicted are van5, wagon, .* has shoe: give",
        ),
    ],
)
def test_names_of_which_none_is_known_are_refused(truths: GroundTruth, names: str) -> None:
    with pytest.raises(DatasetError, match=names):
        evaluate_protocol("bdd", truths, [found("a", ("van5", 0.9, CAR), ("wagon", 0.9, CAR))])


@pytest.mark.parametrize(("kind", "name", "other"), [("kitti", "Car", "cyclist"), ("bdd", "car", "traffic light")])
def test_a_known_class_that_the_frames_happen_to_lack_is_no_wrong_name(kind: Kind, name: str, other: str) -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], [name]))], kind)
    assert evaluate_protocol("all", truths, [found("a", (other, 0.9, CAR))]).map == 0


@pytest.mark.parametrize("lowest", [0.3, 0.004])
def test_a_curve_that_was_cut_off_is_said(lowest: float) -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"]))])
    notes = evaluate_protocol("all", truths, [found("a", ("car", 0.9, CAR), ("car", lowest, FAR))]).notes
    assert any("the lowest score is 0.3" in note for note in notes) == (lowest == 0.3)


def test_no_detections_at_all_are_no_cut_off_curve() -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"]))])
    assert evaluate_protocol("all", truths, [found("a")]).notes == ()


@pytest.mark.parametrize(
    ("protocol", "truths", "message"),
    [
        ("all", GroundTruth.of([FrameTruths("a", Truths.of([], []))]), "no objects that count"),
        ("all", GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["DontCare"], [True]))]), "no objects that count"),
        ("kitti", GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["car"]))], "bdd"), "needs KITTI labels"),
        ("bdd", GroundTruth.of([FrameTruths("z", Truths.of([CAR], ["car"]))], "bdd"), "no frame of the predictions"),
    ],
)
def test_what_cannot_be_measured(protocol: str, truths: GroundTruth, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        evaluate_protocol(protocol, truths, [found("a", ("car", 0.9, CAR))])


def test_judged_detections_come_by_falling_score_over_all_frames() -> None:
    truths = GroundTruth.of([FrameTruths("a", Truths.of([CAR], ["Car"])), FrameTruths("b", Truths.of([CAR], ["Car"]))])
    predictions = [found("a", ("car", 0.4, CAR), ("car", 0.9, FAR)), found("b", ("car", 0.8, CAR))]
    for protocol in (all_objects, bdd):
        judged = protocol.judge_class(pair(truths, predictions), "car", 0.5)
        assert judged.scores.tolist() == [0.9, 0.8, 0.4] and judged.correct.tolist() == [False, True, True]
        assert judged.frames.tolist() == [0, 1, 0] and judged.truths_per_frame.tolist() == [1, 1]
