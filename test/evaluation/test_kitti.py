"""The development kit's rules: hand-worked cases, and a slow reference that goes box by box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.evaluation.kitti import DIFFICULTIES, Matching, sample_scores
from gaussian_yolo_node.evaluation.paired import Paired, pair
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, FrameTruths, GroundTruth, Truths

BOX = [100.0, 100.0, 200.0, 200.0]
FAR = [300.0, 100.0, 400.0, 200.0]


def low(height: float) -> list[float]:
    return [300.0, 100.0, 400.0, 100.0 + height]


def frame(
    *objects: tuple[str, list[float]], truncation: float = 0.0, occlusion: int = 0, name: str = "000000"
) -> FrameTruths:
    """Labels of one frame; the first object has the given truncation and occlusion, the others have none."""
    kinds = [kind for kind, _ in objects]
    truths = Truths.of([box for _, box in objects], kinds, [kind == "DontCare" for kind in kinds])
    truths.truncation[:1], truths.occlusion[:1] = truncation, occlusion
    return FrameTruths(name, truths)


def found(*boxes: tuple[str, float, list[float]], name: str = "000000") -> FramePredictions:
    kinds, scores, corners = zip(*boxes, strict=True) if boxes else ((), (), ())
    return FramePredictions.of(name, corners, scores, kinds)


def together(truths: FrameTruths, predictions: FramePredictions) -> Paired:
    return pair(GroundTruth.of([truths]), [predictions])


CAR = ("car", 0.9, BOX)


@pytest.mark.parametrize(
    ("truths", "predictions", "expected"),
    [
        pytest.param(frame(("Car", BOX)), [CAR], [(1, 0, 0)] * 3, id="found"),
        pytest.param(frame(("Car", BOX)), [], [(0, 0, 1)] * 3, id="missed"),
        pytest.param(frame(("Car", BOX)), [("car", 0.9, FAR)], [(0, 1, 1)] * 3, id="nothing there"),
        pytest.param(frame(("Car", BOX)), [("pedestrian", 0.9, BOX)], [(0, 0, 1)] * 3, id="another class"),
        pytest.param(frame(("Car", BOX)), [CAR, ("car", 0.8, BOX)], [(1, 1, 0)] * 3, id="found twice"),
        # IoU 0.7 is not above 0.7
        pytest.param(
            frame(("Car", BOX)), [("car", 0.9, [100.0, 100.0, 200.0, 170.0])], [(0, 1, 1)] * 3, id="at the threshold"
        ),
        # ignored objects are not missed, and their detections are not wrong
        pytest.param(
            frame(("Car", BOX), truncation=0.2), [], [(0, 0, 0), (0, 0, 1), (0, 0, 1)], id="truncated, missed"
        ),
        pytest.param(frame(("Car", BOX), truncation=0.4), [CAR], [(0, 0, 0), (0, 0, 0), (1, 0, 0)], id="truncated"),
        pytest.param(frame(("Car", BOX), truncation=0.6), [CAR], [(0, 0, 0)] * 3, id="too truncated for all"),
        pytest.param(frame(("Car", BOX), truncation=0.15), [CAR], [(1, 0, 0)] * 3, id="truncation at its limit"),
        pytest.param(frame(("Car", BOX), occlusion=1), [CAR], [(0, 0, 0), (1, 0, 0), (1, 0, 0)], id="partly occluded"),
        pytest.param(frame(("Car", BOX), occlusion=2), [CAR], [(0, 0, 0), (0, 0, 0), (1, 0, 0)], id="largely occluded"),
        pytest.param(frame(("Car", BOX), occlusion=3), [CAR], [(0, 0, 0)] * 3, id="occlusion unknown"),
        # height of the truth and of the detection
        pytest.param(frame(("Car", low(39))), [], [(0, 0, 0), (0, 0, 1), (0, 0, 1)], id="39 px, missed"),
        pytest.param(frame(("Car", low(25))), [], [(0, 0, 0), (0, 0, 1), (0, 0, 1)], id="25 px, missed"),
        pytest.param(frame(("Car", low(24.9))), [], [(0, 0, 0)] * 3, id="24.9 px, missed"),
        pytest.param(
            frame(("Car", BOX)), [CAR, ("car", 0.8, low(39))], [(1, 0, 0), (1, 1, 0), (1, 1, 0)], id="low box"
        ),
        pytest.param(frame(("Car", BOX)), [CAR, ("car", 0.8, low(24))], [(1, 0, 0)] * 3, id="box too low for all"),
        # an object that counts, matched by a box that is ignored: not missed and not a true positive
        pytest.param(
            frame(("Car", low(41))), [("car", 0.9, low(39))], [(0, 0, 0), (1, 0, 0), (1, 0, 0)], id="by low box"
        ),
        # even by one of another class
        pytest.param(
            frame(("Car", low(41))),
            [("pedestrian", 0.9, low(39))],
            [(0, 0, 0), (0, 0, 1), (0, 0, 1)],
            id="by low other",
        ),
        # neighbours
        pytest.param(frame(("Van", BOX)), [CAR], [(0, 0, 0)] * 3, id="Van for car"),
        pytest.param(frame(("Truck", BOX)), [CAR], [(0, 1, 0)] * 3, id="Truck is no neighbour"),
        pytest.param(frame(("Car", BOX), ("Van", FAR)), [CAR, ("car", 0.8, FAR)], [(1, 0, 0)] * 3, id="Van near Car"),
        pytest.param(frame(("Van", BOX), ("Car", BOX)), [CAR], [(0, 0, 1)] * 3, id="a Van before takes the box"),
        # DontCare
        pytest.param(frame(("Car", BOX), ("DontCare", FAR)), [CAR, ("car", 0.8, FAR)], [(1, 0, 0)] * 3, id="DontCare"),
        pytest.param(
            frame(("Car", BOX), ("DontCare", [350.0, 0.0, 900.0, 900.0])),
            [CAR, ("car", 0.8, FAR)],
            [(1, 1, 0)] * 3,
            id="half in DontCare",
        ),
        pytest.param(
            frame(("Car", BOX), ("DontCare", [0.0, 0.0, 900.0, 900.0])), [CAR], [(1, 0, 0)] * 3, id="car in DontCare"
        ),
        # of two detections, the one that overlaps more is correct
        pytest.param(
            frame(("Car", BOX)),
            [("car", 0.9, [100.0, 100.0, 200.0, 190.0]), ("car", 0.6, BOX)],
            [(1, 1, 0)] * 3,
            id="two",
        ),
    ],
)
def test_rules(
    truths: FrameTruths, predictions: list[tuple[str, float, list[float]]], expected: list[tuple[int, int, int]]
) -> None:
    paired = together(truths, found(*predictions))
    assert [Matching(paired, "car", difficulty, 0.7).counts_at(0.5) for difficulty in DIFFICULTIES] == expected


@pytest.mark.parametrize(("kind", "wrong"), [("Person_sitting", 0), ("Cyclist", 1)])
def test_neighbours_of_a_pedestrian(kind: str, wrong: int) -> None:
    paired = together(frame((kind, BOX)), found(("pedestrian", 0.9, BOX)))
    assert Matching(paired, "pedestrian", "easy", 0.5).counts_at(0.5) == (0, wrong, 0)


@pytest.mark.parametrize(
    ("scores", "truths", "expected"),
    [
        ([], 5, []),
        ([0.5], 1, [0.5]),
        ([0.5], 10, [0.5]),
        ([0.3, 0.9, 0.6], 3, [0.9, 0.6, 0.3]),
        # 80 of 80 correct: the first is nearest to recall 0, then every second is nearest to a multiple of 1/40
        (list(np.arange(80) / 100), 80, [0.79, *(np.arange(78, -1, -2) / 100)]),
        # recall 2/120 is further from 1/40 than 3/120 is
        ([0.9, 0.8, 0.7], 120, [0.9, 0.7]),
    ],
)
def test_sample_scores(scores: list[float], truths: int, expected: list[float]) -> None:
    assert sample_scores(np.array(scores, np.float64), truths).tolist() == expected


def test_average_precision_by_hand() -> None:
    """Two cars, one detected at 0.9, then a wrong box at 0.8, then the other car at 0.7: samples at recall 1/2 and
    1."""
    paired = together(
        frame(("Car", BOX), ("Car", FAR)), found(CAR, ("car", 0.8, [500.0, 0.0, 600.0, 100.0]), ("car", 0.7, FAR))
    )
    curve = Matching(paired, "car", "easy", 0.7).curve()

    # There are only two samples, so 39 of the 41 precisions are 0.
    assert curve.thresholds.tolist() == [0.9, 0.7]
    assert curve.precision[:3].tolist() == [1.0, 2 / 3, 0.0]
    assert curve.eleven_point == pytest.approx(1 / 11)
    assert curve.forty_point == pytest.approx(2 / 3 / 40)


def test_nothing_to_find_has_no_average_precision() -> None:
    curve = Matching(together(frame(("Van", BOX)), found(CAR)), "car", "easy", 0.7).curve()
    assert math.isnan(curve.forty_point) and math.isnan(curve.eleven_point) and curve.truths == 0


# --- slow reference


def overlap(a: list[float], b: list[float], *, of_first: bool = False) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (areas[0] if of_first else areas[0] + areas[1] - width * height)


def reference(
    frames: list[tuple[FrameTruths, FramePredictions]], name: str, difficulty: str, least: float
) -> tuple[list[float], list[tuple[int, int, int]]]:
    """Precisions at 41 samples, and true positives, false positives and misses at the existing samples."""
    level = DIFFICULTIES.index(difficulty)
    height, occluded, truncated = (40, 25, 25)[level], level, (0.15, 0.3, 0.5)[level]
    kind, neighbour = {"car": ("Car", "Van"), "pedestrian": ("Pedestrian", "Person_sitting")}[name]

    def prepare(labels: FrameTruths, dets: FramePredictions) -> tuple[list[int], list[int]]:
        objects = []
        truths = labels.truths
        for box, type_, cut, hidden in zip(
            truths.boxes.tolist(), truths.categories, truths.truncation, truths.occlusion, strict=True
        ):
            hard = box[3] - box[1] < height or hidden > occluded or cut > truncated
            objects.append(-1 if type_ not in (kind, neighbour) else 1 if type_ == neighbour or hard else 0)
        boxes = []
        for box, class_ in zip(dets.detections.boxes.tolist(), dets.class_names, strict=True):
            boxes.append(1 if box[3] - box[1] < height else 0 if class_ == name else -1)
        return objects, boxes

    def run(threshold: float | None) -> tuple[int, int, int, list[float]]:
        tp = fp = fn = 0
        scores = []
        for truths, dets in frames:
            objects, states = prepare(truths, dets)
            boxes, det_scores = dets.detections.boxes.tolist(), dets.detections.scores.tolist()
            there = [threshold is None or score >= threshold for score in det_scores]
            taken = [False] * len(boxes)
            for number, state in enumerate(objects):
                if state == -1:
                    continue
                best, best_value, best_ignored = None, -math.inf, False
                for d, box in enumerate(boxes):
                    if states[d] == -1 or taken[d] or not there[d]:
                        continue
                    iou = overlap(box, truths.truths.boxes[number].tolist())
                    if iou <= least:
                        continue
                    if threshold is None:
                        if det_scores[d] > best_value:
                            best, best_value = d, det_scores[d]
                    elif states[d] == 0 and (best is None or best_ignored or iou > best_value):
                        best, best_value, best_ignored = d, iou, False
                    elif states[d] == 1 and best is None:
                        best, best_ignored = d, True
                if best is None:
                    fn += state == 0
                    continue
                taken[best] = True
                if state == 0 and states[best] == 0:
                    tp += 1
                    scores.append(det_scores[best])
            regions = truths.truths.boxes[truths.truths.categories == "DontCare"].tolist()
            for d, box in enumerate(boxes):
                if states[d] == 0 and there[d] and not taken[d]:
                    fp += not any(overlap(box, region, of_first=True) > least for region in regions)
        return tp, fp, fn, scores

    count = sum(prepare(*pair)[0].count(0) for pair in frames)
    precisions = [0.0] * 41
    counts = []
    if count:
        for index, threshold in enumerate(sample_scores(np.array(run(None)[3]), count).tolist()):
            tp, fp, fn, _ = run(threshold)
            counts.append((tp, fp, fn))
            precisions[index] = tp / (tp + fp) if tp + fp else 0.0
    return [max(precisions[index:]) for index in range(41)], counts


coordinates = st.integers(0, 6).map(lambda step: 20.0 * step)
boxes = st.tuples(
    coordinates, coordinates, st.sampled_from([30.0, 60.0]), st.sampled_from([24.0, 30.0, 45.0, 60.0])
).map(lambda v: [v[0], v[1], v[0] + v[2], v[1] + v[3]])
objects = st.lists(
    st.tuples(
        st.sampled_from(["Car", "Car", "Van", "DontCare", "Pedestrian", "Person_sitting", "Truck"]),
        boxes,
        st.sampled_from([0.0, 0.2, 0.4, 0.9]),
        st.integers(0, 3),
    ),
    max_size=7,
)
detections = st.lists(
    st.tuples(st.sampled_from(["car", "car", "pedestrian"]), boxes, st.sampled_from([0.2, 0.4, 0.4, 0.7, 0.9])),
    max_size=9,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(objects, detections), min_size=1, max_size=4), st.sampled_from(["car", "pedestrian"]))
def test_agrees_with_the_rules_told_box_by_box(drawn: list[tuple[list, list]], name: str) -> None:
    frames = []
    for number, (objects_, detections_) in enumerate(drawn):
        kinds, corners, truncation, occlusion = zip(*objects_, strict=True) if objects_ else ((), (), (), ())
        truths = FrameTruths(f"{number:06d}", Truths.of(corners, kinds, None, truncation, occlusion))
        frames.append((truths, found(*[(c, s, b) for c, b, s in detections_], name=f"{number:06d}")))
    paired = pair(GroundTruth.of([truths for truths, _ in frames]), [predictions for _, predictions in frames])
    for difficulty in DIFFICULTIES:
        for least in (0.3, 0.7):
            curve = Matching(paired, name, difficulty, least).curve()
            precision, counts = reference(frames, name, difficulty, least)
            assert curve.precision.tolist() == pytest.approx(precision, abs=1e-12)
            assert list(zip(curve.tp, curve.fp, curve.fn, strict=True)) == counts
