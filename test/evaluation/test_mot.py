"""Figures of tracks whose values follow from the papers' definitions by hand, and KITTI's rules for what counts."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

pytest.importorskip("trackeval", reason="trackeval is not installed (pip install --no-deps trackeval)")

from gaussian_yolo_node.evaluation.mot import ALL, TrackEvalMissingError, evaluate_tracks, track_predictions
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.labelled_frames import FramePredictions, Truths

FRAMES = 10
HERE, THERE = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0)


def objects(
    *given: tuple[int, Sequence[float]], kind: str = "car", truncation: float = 0.0, occlusion: int = 0
) -> Truths:
    return Truths.of(
        [each[1] for each in given],
        [kind] * len(given),
        truncation=[truncation] * len(given),
        occlusion=[occlusion] * len(given),
        tracks=[each[0] for each in given],
    )


TRUTH = {number: objects((1, HERE)) for number in range(FRAMES)}


def figures(tracks: Mapping[int, Truths], truth: Mapping[int, Truths] = TRUTH) -> dict[str, float]:
    result = evaluate_tracks(truth, tracks)
    assert [each.name for each in result][-1] == ALL
    return result[0].values()


def test_perfect_tracks() -> None:
    found = figures({number: objects((77, HERE)) for number in TRUTH})
    for name in ("hota", "detection", "association", "localisation", "mota", "motp", "idf1"):
        assert found[name] == pytest.approx(1)
    assert (found["switches"], found["fp"], found["fn"], found["tp"]) == (0, 0, 0, FRAMES)
    assert (found["objects"], found["tracks"]) == (1, 1)


def test_an_id_that_changes_half_way() -> None:
    """Each pair has 5 true, 5 false negative and no false positive associations: AssA 0.5, HOTA its root."""
    found = figures({number: objects((1 if number < 5 else 2, HERE)) for number in TRUTH})
    assert found["detection"] == pytest.approx(1) and found["association"] == pytest.approx(0.5)
    assert found["hota"] == pytest.approx(math.sqrt(0.5))
    assert found["switches"] == 1 and found["mota"] == pytest.approx(0.9) and found["idf1"] == pytest.approx(0.5)


def test_half_is_missed() -> None:
    """DetA = 5/10, AssA = 5/10; IDF1 = 2*5 / (2*5 + 5)."""
    found = figures({number: objects((1, HERE)) for number in range(5)})
    assert found["hota"] == pytest.approx(0.5) and found["mota"] == pytest.approx(0.5)
    assert found["idf1"] == pytest.approx(10 / 15) and found["switches"] == 0 and found["fn"] == 5


def test_a_track_on_nothing() -> None:
    """DetA = 10/20, AssA = 1; MOTA = 1 - 10/10; IDF1 = 20 / 30."""
    found = figures({number: objects((1, HERE), (2, THERE)) for number in TRUTH})
    assert found["hota"] == pytest.approx(math.sqrt(0.5))
    assert found["mota"] == pytest.approx(0) and found["idf1"] == pytest.approx(20 / 30) and found["fp"] == 10


def test_two_ids_that_change_places() -> None:
    truth = {number: objects((1, HERE), (2, THERE)) for number in TRUTH}
    swapped = {
        number: objects((3, HERE), (4, THERE)) if number < 5 else objects((4, HERE), (3, THERE)) for number in TRUTH
    }
    found = figures(swapped, truth)
    assert found["switches"] == 2 and found["idf1"] == pytest.approx(0.5)
    assert found["association"] == pytest.approx(1 / 3)  # 5 / (5 + 5 + 5)


def test_looser_boxes_lower_hota_alone() -> None:
    """IoU 0.8 reaches 16 of the 19 thresholds 0.05 .. 0.95."""
    found = figures({number: objects((1, (0, 0, 40, 32))) for number in TRUTH})
    assert found["mota"] == 1 and found["idf1"] == 1 and found["motp"] == pytest.approx(0.8)
    assert found["hota"] == pytest.approx(16 / 19)


def test_no_tracks() -> None:
    found = figures({})
    assert found["hota"] == found["mota"] == found["idf1"] == 0 and found["fn"] == FRAMES
    assert math.isnan(found["localisation"]) and math.isnan(found["motp"])


@pytest.mark.parametrize(
    ("beside", "wrong"),
    [
        pytest.param(objects((5, THERE), kind="Van"), 0, id="on a neighbouring type"),
        pytest.param(objects((5, THERE), kind="Car", truncation=0.1), 0, id="on a truncated object"),
        pytest.param(objects((5, THERE), kind="Car", occlusion=3), 0, id="on an object of unknown occlusion"),
        pytest.param(objects((-1, (90, 0, 200, 60)), kind="DontCare"), 0, id="in DontCare"),
        pytest.param(objects((-1, (125, 0, 200, 60)), kind="DontCare"), 10, id="by less than half in DontCare"),
        pytest.param(objects((5, THERE), kind="Truck"), 10, id="on another type"),
        pytest.param(objects((5, THERE), kind="Person_sitting"), 10, id="on a neighbour of another class"),
    ],
)
def test_a_track_beside_the_object(beside: Truths, wrong: int) -> None:
    truth = {number: Truths.concatenate([each, beside]) for number, each in TRUTH.items()}
    found = figures({number: objects((1, HERE), (2, THERE)) for number in TRUTH}, truth)
    assert (found["tp"], found["fp"], found["fn"], found["objects"]) == (FRAMES, wrong, 0, 1)


@pytest.mark.parametrize(("height", "wrong"), [(25, 0), (26, 10)])
def test_small_tracks_on_nothing_do_not_count(height: int, wrong: int) -> None:
    tracks = {number: objects((1, HERE), (2, (100, 0, 140, height))) for number in TRUTH}
    assert figures(tracks)["fp"] == wrong


def test_classes_apart_and_together() -> None:
    truth = {n: Truths.concatenate([objects((1, HERE)), objects((2, THERE), kind="cyclist")]) for n in TRUTH}
    tracks = {n: Truths.concatenate([objects((1, HERE)), objects((2, THERE), kind="pedestrian")]) for n in TRUTH}
    car, cyclist, both = evaluate_tracks(truth, tracks)
    assert (car.name, cyclist.name, both.name) == ("car", "cyclist", ALL)
    assert car.mota == 1 and cyclist.mota == 0 and both.mota == pytest.approx(0.5)
    assert (both.objects, both.tracks) == (2, 1)


def test_frames_that_count() -> None:
    tracks = {number: objects((number, HERE)) for number in TRUTH}
    (_, result) = evaluate_tracks(TRUTH, tracks, [0, 4])
    assert result.switches == 1 and result.tp == 2


@pytest.mark.parametrize("truth", [{}, {0: objects()}, {0: objects((1, HERE), kind="Van")}])
def test_nothing_to_measure(truth: Mapping[int, Truths]) -> None:
    with pytest.raises(DatasetError, match="nothing to measure"):
        evaluate_tracks(truth, {})


def test_without_trackeval_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    with pytest.raises(TrackEvalMissingError, match="pip install --no-deps trackeval"):
        evaluate_tracks(TRUTH, {})


def predictions(frame: str | int, sigmas: bool = True, stamp_ns: int | None = None) -> FramePredictions:
    known = np.ones((2, 4)) if sigmas else None
    return FramePredictions.of(frame, [HERE, THERE], [0.9, 0.8], ["car", "cyclist"], known, stamp_ns=stamp_ns)


def test_detections_become_tracks() -> None:
    tracks = track_predictions([predictions(f"{number:06d}.png") for number in range(4)], 10)
    assert list(tracks) == [0, 1, 2, 3]
    assert len(tracks[0]) == 0  # not confirmed yet
    np.testing.assert_array_equal(tracks[3].tracks, [1, 2])
    assert tracks[3].categories.tolist() == ["car", "cyclist"]
    np.testing.assert_allclose(tracks[3].boxes, [HERE, THERE], atol=0.5)


def test_stamps_count_where_there_are_any() -> None:
    late = [predictions(0, stamp_ns=0), predictions(1, stamp_ns=10**8), predictions(2, stamp_ns=10**11)]
    assert len(track_predictions(late, 10)[2]) == 0
    assert len(track_predictions([predictions(number) for number in range(3)], 10)[2]) == 2


@pytest.mark.parametrize(
    ("frames", "message"),
    [([predictions("street.png")], "has no number"), ([predictions(0, sigmas=False)], "has no sigmas")],
)
def test_predictions_that_cannot_be_tracked(frames: list[FramePredictions], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        track_predictions(frames, 10)
