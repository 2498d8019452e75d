from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from gaussian_yolo_node.evaluation import all_objects
from gaussian_yolo_node.evaluation.all_objects import AllObjectsResult
from gaussian_yolo_node.evaluation.average_precision import ClassCurve
from gaussian_yolo_node.evaluation.paired import pair
from gaussian_yolo_node.evaluation.tables import coverage_line
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.classes import KITTI_CLASSES
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths
from gaussian_yolo_node.labels.truths import read_kitti_labels

CAR_BOX = [100.0, 100.0, 200.0, 200.0]
FAR = [300.0, 100.0, 400.0, 200.0]
LINE = "Car 0.00 0 1.5 100.0 100.0 200.0 200.0 1.5 1.6 3.9 1.0 1.5 20.0 1.5"


def labels(*objects: tuple[str, list[float]]) -> Truths:
    return Truths.of([box for _, box in objects], [kind for kind, _ in objects])


def evaluate(frames: Mapping[str, Truths], records: list[FramePredictions]) -> AllObjectsResult:
    truths = GroundTruth.of(FrameTruths(name, truths) for name, truths in frames.items())
    return all_objects.evaluate(pair(truths, records))


def predictions(frame: str | int, *found: tuple[str, float, list[float]]) -> FramePredictions:
    names, scores, boxes = zip(*found, strict=True) if found else ((), (), ())
    return FramePredictions.of(frame, boxes, scores, names)


def row(rows: tuple[ClassCurve, ...], name: str) -> ClassCurve:
    return next(result for result in rows if result.name == name)


def shrunk(share: float) -> list[float]:
    """CAR_BOX with its height times `share`, so that IoU with it is `share`."""
    return [100.0, 100.0, 200.0, 100.0 + 100.0 * share]


@pytest.mark.parametrize(
    ("truths", "found", "at_kitti", "at_common", "ignored"),
    [
        ([("Car", CAR_BOX)], [("car", 0.9, CAR_BOX)], 1.0, 1.0, 0),
        ([("Car", CAR_BOX)], [("car", 0.9, shrunk(0.6))], 0.0, 1.0, 0),  # 0.6 is enough for threshold 0.5 only
        ([("Car", CAR_BOX)], [], 0.0, 0.0, 0),
        ([("Car", CAR_BOX)], [("pedestrian", 0.9, CAR_BOX)], 0.0, 0.0, 0),
        # two detections of one object: the wrong one before or after the right one
        ([("Car", CAR_BOX)], [("car", 0.9, FAR), ("car", 0.8, CAR_BOX)], 0.5, 0.5, 0),
        ([("Car", CAR_BOX)], [("car", 0.9, CAR_BOX), ("car", 0.8, CAR_BOX)], 1.0, 1.0, 0),
        # ignored regions absorb what would be a false positive
        ([("Car", CAR_BOX), ("Van", FAR)], [("car", 0.9, FAR), ("car", 0.8, CAR_BOX)], 1.0, 1.0, 1),
        ([("Car", CAR_BOX), ("DontCare", FAR)], [("car", 0.9, FAR), ("car", 0.8, CAR_BOX)], 1.0, 1.0, 1),
        # half of the detection's area in DontCare, however large the region
        (
            [("Car", CAR_BOX), ("DontCare", [350.0, 0.0, 900.0, 900.0])],
            [("car", 0.9, FAR), ("car", 0.8, CAR_BOX)],
            1.0,
            1.0,
            1,
        ),
        # a neighbour needs the class's IoU, a region half the area
        (
            [("Car", CAR_BOX), ("Van", [300.0, 100.0, 400.0, 160.0])],
            [("car", 0.9, FAR), ("car", 0.8, CAR_BOX)],
            0.5,
            1.0,
            0,
        ),
        # a detection of a car counts inside a DontCare region, too
        ([("Car", CAR_BOX), ("DontCare", [0.0, 0.0, 900.0, 900.0])], [("car", 0.9, CAR_BOX)], 1.0, 1.0, 0),
        # a box without area lies in no region
        ([("Car", CAR_BOX), ("DontCare", FAR)], [("car", 0.9, [1.0] * 4), ("car", 0.8, CAR_BOX)], 0.5, 0.5, 0),
    ],
)
def test_one_frame(
    truths: list[tuple[str, list[float]]],
    found: list[tuple[str, float, list[float]]],
    at_kitti: float,
    at_common: float,
    ignored: int,
) -> None:
    result = evaluate({"000000": labels(*truths)}, [predictions("000000.png", *found)])

    car = row(result.at_kitti_iou, "car")
    assert car.truths == 1
    assert car.ap == pytest.approx(at_kitti)
    assert car.ignored == ignored
    assert row(result.at_common_iou, "car").ap == pytest.approx(at_common)
    assert math.isnan(row(result.at_kitti_iou, "cyclist").ap)


def test_scores_are_ranked_over_all_frames() -> None:
    truth = labels(("Car", CAR_BOX))
    result = evaluate(
        {"a": truth, "b": truth},
        [predictions("a", ("car", 0.5, CAR_BOX)), predictions("b", ("car", 0.9, FAR), ("car", 0.4, CAR_BOX))],
    )

    # wrong, right, right: precisions 0, 1/2, 2/3
    assert row(result.at_kitti_iou, "car").ap == pytest.approx(2 / 3)


@pytest.mark.parametrize("frame", ["000012.jpg", "000012", "000012.png", 12])
def test_frames_are_matched_by_name_or_index(frame: str | int) -> None:
    result = evaluate({"000012": labels(("Car", CAR_BOX))}, [predictions(frame, ("car", 0.9, CAR_BOX))])

    assert result.paired.names == ("000012",)
    assert row(result.at_kitti_iou, "car").ap == 1.0


def test_only_frames_with_both_count_and_the_others_are_told() -> None:
    truth = labels(("Car", CAR_BOX))
    result = evaluate(
        {"000000": truth, "000001": truth, "000003": truth},
        [
            predictions("000000.jpg", ("car", 0.9, CAR_BOX), ("bus", 0.9, FAR)),
            predictions("000002.jpg", ("car", 0.95, FAR), ("tank", 0.9, FAR)),
        ],
    )

    paired = result.paired
    assert (paired.names, paired.unlabelled) == (("000000",), ("000002.jpg",))
    assert (paired.unpredicted, result.unknown_classes) == (("000001", "000003"), ("bus",))
    car = row(result.at_kitti_iou, "car")
    assert (car.name, car.iou, car.truths, car.detections, car.ignored, car.ap) == ("car", 0.7, 1, 1, 0, 1.0)
    assert car.interpolations == {"all_point": 1.0, "eleven_point": 1.0, "forty_point": 1.0}
    assert coverage_line(paired) == "1 of 2 predicted frames have labels: 000000"


def test_report_has_null_where_there_is_nothing_to_find() -> None:
    report = evaluate({"a": labels(("Car", CAR_BOX))}, [predictions("a", ("car", 0.9, CAR_BOX))]).to_dict()

    assert [entry["ap"]["all_point"] for entry in report["classes"]] == [1.0, None, None, 1.0, None, None]
    assert report["mean_ap"] == {"kitti_iou": 1.0, "iou_0.5": 1.0}


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([predictions("x.jpg")], "no frame of the predictions has a label file: .* such as x.jpg, .* as 000000"),
        ([], "the predictions have no frames"),
        ([predictions("000000.jpg"), predictions(0)], "two records for the labels 000000"),
    ],
)
def test_predictions_that_do_not_fit(records: list[FramePredictions], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        evaluate({"000000": labels()}, records)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{LINE}\nCar 0 0 1.5\n", "line 2: it has 4 fields, and a KITTI label has 15"),
        (LINE.replace("Car", "Lorry"), "line 1: 'Lorry' is not a KITTI type"),
        (f"\n{LINE.replace('100.0', 'wide')}", "line 2: all after the type must be numbers: .* wide wide 200.0 200.0"),
        (LINE.replace("100.0", "300.0"), "line 1: its box is not x1 <= x2, y1 <= y2"),
        (LINE.replace("200.0", "nan"), "line 1: its box is not"),
        ("\xff\xfe", "is not text"),
    ],
)
def test_malformed_label_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "000007.txt"
    path.write_text(text, encoding="latin-1")

    with pytest.raises(DatasetError, match=message) as caught:
        read_kitti_labels(tmp_path)

    assert str(path) in str(caught.value)


def test_label_file(tmp_path: Path) -> None:
    path = tmp_path / "000000.txt"
    path.write_text(f"{LINE}\n\n{LINE.replace('Car', 'DontCare')} 0.87\n")

    read = read_kitti_labels(tmp_path).frames["000000"].truths

    assert read.categories.tolist() == ["Car", "DontCare"]
    assert read.boxes.tolist() == [CAR_BOX, CAR_BOX]


def test_empty_label_file_is_a_frame_without_objects(tmp_path: Path) -> None:
    (tmp_path / "000000.txt").touch()

    assert read_kitti_labels(tmp_path).frames["000000"].truths.boxes.shape == (0, 4)


@pytest.mark.parametrize(("name", "message"), [("nothing", "does not exist"), (".", "has no KITTI label files")])
def test_folders_without_labels(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_kitti_labels(tmp_path / name)


@pytest.fixture(scope="module")
def drive_labels(driving_dir: Path) -> dict[str, Truths]:
    truths = read_kitti_labels(driving_dir / "kitti" / "drive_0011" / "label_2")
    return {name: frame.truths for name, frame in truths.frames.items()}


def noisy_predictions(labels_by_frame: dict[str, Truths], seed: int) -> list[FramePredictions]:
    """Jittered, dropped, duplicated and invented boxes, on ignored regions too."""
    rng = np.random.default_rng(seed)
    records = []
    for stem, frame in labels_by_frame.items():
        found = []
        for box, kind in zip(frame.boxes, frame.categories, strict=True):
            for _ in range(int(rng.integers(0, 3))):
                size = np.tile(box[2:] - box[:2], 2)
                x1, y1, x2, y2 = box + size * rng.normal(0, 0.08, 4)
                name = KITTI_CLASSES.get(str(kind), "car")
                found.append((name, float(rng.random()), [min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)]))
        x, y = rng.uniform(0, 1000), rng.uniform(0, 300)
        found.append(("car", float(rng.random()), [x, y, x + 80, y + 60]))
        records.append(predictions(stem, *found))
    return records


def naive_average_precision(
    labels_by_frame: dict[str, Truths], records: list[FramePredictions], kind: str, name: str, threshold: float
) -> float:
    """The protocol implemented again, one box at a time and without numpy, on one list of detections over all
    frames."""

    def area(box: list[float]) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    def shared(a: list[float], b: list[float]) -> float:
        width = min(a[2], b[2]) - max(a[0], b[0])
        height = min(a[3], b[3]) - max(a[1], b[1])
        return width * height if width > 0 and height > 0 else 0.0

    def iou(a: list[float], b: list[float]) -> float:
        return shared(a, b) / (area(a) + area(b) - shared(a, b))

    detections = [
        (score, str(record.frame), box)
        for record in records
        for score, box, of in zip(
            record.detections.scores.tolist(), record.detections.boxes.tolist(), record.class_names, strict=True
        )
        if of == name
    ]
    objects = {
        stem: list(zip(f.categories.tolist(), f.boxes.tolist(), strict=True)) for stem, f in labels_by_frame.items()
    }
    free = {stem: [box for t, box in rows if t == kind] for stem, rows in objects.items()}
    truths = sum(map(len, free.values()))
    verdicts = []
    for _, stem, box in sorted(detections, reverse=True):
        best = max(free[stem], key=lambda truth: iou(box, truth), default=None)
        if best is not None and iou(box, best) >= threshold:
            free[stem].remove(best)
            verdicts.append(True)
        elif not any(
            (t == "DontCare" and shared(box, other) >= 0.5 * area(box))
            or (t not in KITTI_CLASSES and t != "DontCare" and iou(box, other) >= threshold)
            for t, other in objects[stem]
        ):
            verdicts.append(False)
    precisions = [sum(verdicts[: n + 1]) / (n + 1) for n in range(len(verdicts))]
    return sum(max(precisions[n:]) for n, right in enumerate(verdicts) if right) / truths


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_a_naive_evaluation_of_real_labels(drive_labels: dict[str, Truths], seed: int) -> None:
    records = noisy_predictions(drive_labels, seed)

    result = evaluate(drive_labels, records)

    for rows in (result.at_kitti_iou, result.at_common_iou):
        for of_class in rows:
            kind = next(kind for kind, name in KITTI_CLASSES.items() if name == of_class.name)
            naive = naive_average_precision(drive_labels, records, kind, of_class.name, of_class.iou)
            assert 0.05 < naive < 0.95
            assert of_class.ap == pytest.approx(naive, abs=1e-12)


def test_labels_as_predictions_are_perfect(drive_labels: dict[str, Truths]) -> None:
    records = [
        predictions(
            stem,
            *[(KITTI_CLASSES.get(t, "car"), 0.5, box) for t, box in zip(f.categories, f.boxes.tolist(), strict=True)],
        )
        for stem, f in drive_labels.items()
    ]

    result = evaluate(drive_labels, records)

    assert [of_class.ap for of_class in result.at_kitti_iou] == [1.0, 1.0, 1.0]
    assert [of_class.truths for of_class in result.at_kitti_iou] == [237, 38, 19]
    assert row(result.at_kitti_iou, "car").ignored > 0
