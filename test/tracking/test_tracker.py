"""Ids over gaps, restarts, changed frames and bad input, and what a track says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from factories import make_detections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.tracking import CameraMotion, StampError, Tracker, TrackerSettings, Tracks

CLASSES = ("car", "pedestrian", "cyclist")
FRAME = (375, 1242)
SIGMA = 2.0
PERIOD = 0.1


def boxes_at(time_s: float) -> np.ndarray:
    """Two cars and their corners; one overtakes the other."""
    centres = np.array([[200 + 90 * time_s, 200, 60, 40], [500 - 40 * time_s, 190, 80, 50]])
    return np.concatenate([centres[:, :2] - centres[:, 2:] / 2, centres[:, :2] + centres[:, 2:] / 2], axis=1)


def seen_at(time_s: float, score: float = 0.8, **changes: object) -> Detections:
    found = make_detections(boxes_at(time_s), [score, score - 0.1], sigmas=SIGMA)
    return replace(found, **changes)


def run(tracker: Tracker, times: Sequence[float]) -> Tracks:
    assert times
    for time in times:
        tracks = tracker.update(seen_at(time), time, FRAME)
    return tracks


def steps(first: float, last: float) -> list[float]:
    return [round(number * PERIOD, 6) for number in range(round(first / PERIOD), round(last / PERIOD))]


@pytest.fixture
def tracker() -> Tracker:
    return Tracker(CLASSES)


def test_a_track_is_reported_when_its_scores_sum_to_one(tracker: Tracker) -> None:
    reported = [len(tracker.update(seen_at(t, 0.45), t, FRAME)) for t in steps(0, 0.5)]
    assert reported == [0, 0, 2, 2, 2]  # 0.45 and 0.35, three times


@pytest.mark.parametrize(
    ("period_s", "reported"),
    [
        pytest.param(0.02, [0, 0, 2, 2], id="50 Hz: as at 10 Hz"),
        pytest.param(0.1, [0, 0, 2, 2], id="10 Hz"),
        pytest.param(0.2, [0, 1, 2, 2], id="5 Hz"),
        pytest.param(1.0, [0, 2, 2, 2], id="1 Hz"),
        pytest.param(0.0, [0, 0, 2, 2], id="stamps that stand still"),
    ],
)
def test_scores_count_more_after_a_longer_gap(tracker: Tracker, period_s: float, reported: list[int]) -> None:
    counts = [len(tracker.update(seen_at(0.0, 0.45), period_s * number, FRAME)) for number in range(4)]
    assert counts == reported


def test_one_false_alarm_is_no_track(tracker: Tracker) -> None:
    tracker.update(seen_at(0.0), 0.0)
    assert all(len(tracker.update(Detections.empty(), t)) == 0 for t in steps(0.1, 1))


def test_the_filter_finds_velocity_and_place(tracker: Tracker) -> None:
    tracks = run(tracker, steps(0, 3))
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_array_equal(tracks.class_ids, [0, 0])
    np.testing.assert_allclose(tracks.boxes, boxes_at(2.9), atol=0.5)
    np.testing.assert_allclose(tracks.velocities, [[90, 0, 0, 0], [-40, 0, 0, 0]], atol=4)
    np.testing.assert_allclose(tracks.scores, [0.8, 0.7], rtol=1e-6)
    np.testing.assert_allclose(tracks.ages_s, 2.9)
    assert (tracks.unseen_s == 0).all() and not tracks.coasting.any()
    np.testing.assert_array_equal(tracks.rows, [0, 1])
    assert (tracks.sigmas > 0).all() and (tracks.sigmas <= SIGMA).all()
    assert (tracks.velocity_sigmas > 0).all()
    np.testing.assert_allclose(tracks.detections.boxes, tracks.boxes, rtol=1e-6)
    np.testing.assert_array_equal(tracks.detections.class_ids, tracks.class_ids)


def test_stamps_decide_not_frames() -> None:
    """The same motion at 20 Hz, at 5 Hz and with holes has the same velocity."""
    for times in (np.arange(0, 3, 0.05), np.arange(0, 3, 0.2), np.delete(np.arange(0, 3, 0.05), range(20, 30))):
        tracks = run(Tracker(CLASSES), times.tolist())
        np.testing.assert_allclose(tracks.velocities[:, 0], [90, -40], atol=5)


def test_a_coasting_track_moves_on_grows_unsure_and_ends(tracker: Tracker) -> None:
    before = run(tracker, steps(0, 2))
    coasting = [tracker.update(Detections.empty(), t, FRAME) for t in steps(2, 3.2)]
    lengths = [len(each) for each in coasting]
    assert lengths == [2] * 9 + [0] * 3  # coast_s after the last detection at 1.9 s
    sigmas = np.array([before.sigmas, *(each.sigmas for each in coasting[:9])])
    assert (np.diff(sigmas, axis=0) > 0).all()
    assert coasting[0].coasting.all() and (coasting[0].rows == -1).all() and np.isnan(coasting[0].innovations).all()
    np.testing.assert_allclose(coasting[8].unseen_s, 0.9)
    np.testing.assert_allclose(coasting[8].boxes, boxes_at(2.8), atol=8)


@pytest.mark.parametrize(
    "gap_s",
    [
        pytest.param(0.5, id="half a second dropped"),
        pytest.param(2.0, id="the camera started again"),
    ],
)
def test_ids_survive_a_gap_between_frames(tracker: Tracker, gap_s: float) -> None:
    run(tracker, steps(0, 2))
    tracks = run(tracker, steps(1.9 + gap_s, 2.5 + gap_s))
    np.testing.assert_array_equal(tracks.ids, [1, 2])


def test_ids_survive_half_a_second_without_detections(tracker: Tracker) -> None:
    run(tracker, steps(0, 2))
    for time in steps(2, 2.5):
        tracker.update(Detections.empty(), time, FRAME)
    np.testing.assert_array_equal(run(tracker, steps(2.5, 3)).ids, [1, 2])


def test_ids_survive_a_clock_that_starts_again(tracker: Tracker) -> None:
    run(tracker, steps(0, 2))
    for time in steps(2, 2.5):
        tracks = tracker.update(seen_at(time), time - 1000, FRAME)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_allclose(tracks.velocities[:, 0], [90, -40], atol=10)


def test_a_late_frame_costs_no_time(tracker: Tracker) -> None:
    run(tracker, steps(0, 2))
    tracker.update(seen_at(1.95), 1.85, FRAME)
    tracks = run(tracker, steps(2, 3))
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_allclose(tracks.ages_s, 2.9)


def test_nothing_goes_on_after_a_long_gap(tracker: Tracker) -> None:
    run(tracker, steps(0, 1))
    np.testing.assert_array_equal(run(tracker, steps(20, 21)).ids, [3, 4])


def test_ids_survive_another_canvas_and_another_frame_size(tracker: Tracker) -> None:
    """Another canvas changes scores and sigmas; another resolution of the camera changes px."""
    run(tracker, steps(0, 2))
    for time in steps(2, 2.3):
        tracks = tracker.update(seen_at(time, 0.5, sigmas=np.full((2, 4), 5.0)), time, FRAME)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    half = (FRAME[0] // 2, FRAME[1] // 2)
    scale = np.tile([half[1] / FRAME[1], half[0] / FRAME[0]], 2)
    for time in steps(2.3, 2.6):
        found = seen_at(time, boxes=boxes_at(time) * scale)
        tracks = tracker.update(found, time, half)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_allclose(tracks.velocities[:, 0], [45, -20], atol=6)


def test_a_weak_detection_continues_a_track_and_starts_none(tracker: Tracker) -> None:
    run(tracker, steps(0, 1))
    stranger = np.array([[900, 100, 950, 140]])
    for time in steps(1, 2):
        found = make_detections([*boxes_at(time), *stranger], [0.2, 0.15, 0.25], sigmas=SIGMA)
        tracks = tracker.update(found, time, FRAME)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    assert not tracks.coasting.any()


def test_strong_detections_come_first(tracker: Tracker) -> None:
    """A weak detection at the exact place does not oust a strong one beside it."""
    run(tracker, steps(0, 1))
    beside = boxes_at(1.0) + 4
    found = make_detections([*boxes_at(1.0), *beside], [0.2, 0.2, 0.9, 0.9], sigmas=SIGMA)
    np.testing.assert_array_equal(tracker.update(found, 1.0, FRAME).rows, [2, 3])


def test_another_class_is_another_object(tracker: Tracker) -> None:
    run(tracker, steps(0, 1))
    for time in steps(1, 1.5):
        tracks = tracker.update(seen_at(time, class_ids=np.array([1, 0], np.int32)), time, FRAME)
    np.testing.assert_array_equal(tracks.ids, [1, 2, 3])
    np.testing.assert_array_equal(tracks.class_ids, [0, 0, 1])
    np.testing.assert_array_equal(tracks.coasting, [True, False, False])


def test_a_jump_that_still_overlaps_keeps_the_id_and_starts_the_box_anew(tracker: Tracker) -> None:
    run(tracker, steps(0, 2))
    jump = np.array([25.0, 0, 25.0, 0])
    tracks = tracker.update(seen_at(2.0, boxes=boxes_at(2.0) + jump), 2.0, FRAME)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_allclose(tracks.boxes, boxes_at(2.0) + jump, atol=1e-3)
    assert ((tracks.innovations**2).sum(axis=1) > 13.28).all()
    np.testing.assert_allclose(tracks.sigmas, SIGMA)


def test_without_a_gate_the_overlap_decides() -> None:
    tracker = Tracker(CLASSES, TrackerSettings(gate=np.inf))
    run(tracker, steps(0, 2))
    far = seen_at(2.0, boxes=boxes_at(2.0) + np.array([100.0, 0, 100.0, 0]))
    assert tracker.update(far, 2.0, FRAME).coasting.all()


def test_a_coasting_track_ends_outside_the_frame() -> None:
    tracker = Tracker(CLASSES)
    for time in steps(0, 1):
        box = [1180 + 50 * time, 100, 1242, 180]
        tracks = tracker.update(make_detections([box], [0.9], sigmas=SIGMA), time, FRAME)
    assert len(tracks) == 1
    assert [len(tracker.update(Detections.empty(), 1 + t, FRAME)) for t in (0.1, 0.3, 0.6)][-1] == 0


def test_the_camera_turns() -> None:
    """With the motion given, boxes at rest in the world need no velocity and keep their ids through a fast turn."""
    tracker = Tracker(CLASSES)
    turn = CameraMotion((1.0, 1.0), (70.0, 0.0))
    for number in range(8):
        shift = np.array([70.0 * number, 0, 70.0 * number, 0])
        found = make_detections(boxes_at(0.0) + shift, [0.8, 0.7], sigmas=SIGMA)
        tracks = tracker.update(found, number * PERIOD, motion=turn)
    np.testing.assert_array_equal(tracks.ids, [1, 2])
    np.testing.assert_allclose(tracks.velocities, 0, atol=1)


@pytest.mark.parametrize("stamp", [np.nan, np.inf, -np.inf])
def test_a_stamp_must_be_a_number(tracker: Tracker, stamp: float) -> None:
    with pytest.raises(StampError, match="finite"):
        tracker.update(Detections.empty(), stamp)


def test_standing_stamps_do_not_keep_tracks_for_ever(tracker: Tracker) -> None:
    run(tracker, steps(0, 1))
    for _ in range(100):
        tracks = tracker.update(Detections.empty(), 0.9)
    assert len(tracks) == 0


def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = (run(Tracker(CLASSES), steps(0, 2)) for _ in range(2))
    for name in vars(first):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes()


frames = st.tuples(
    st.sampled_from([0, 1, 2, 7, 40, 300]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 0.0, 0.04, 0.5, -0.3, -500.0, 4.0, 60.0]),
    st.sampled_from(["sane", "nan", "zero", "inf"]),
    st.sampled_from([None, FRAME, (720, 1280)]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(frames, min_size=1, max_size=12))
def test_no_id_is_twice_in_a_frame_or_comes_back(sequence: list[tuple]) -> None:
    tracker = Tracker(CLASSES)
    stamp, newest, gone = 1000.0, 0, set()
    before: set[int] = set()
    for count, seed, step, sigmas, size in sequence:
        rng = np.random.default_rng(seed % 3)  # few scenes, so that frames resemble each other
        corners = rng.uniform(0, [1200, 340], (count, 2)) + np.random.default_rng(seed).normal(0, 2, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(0, 60, (count, 2))], axis=1)
        found = make_detections(boxes, rng.uniform(0, 1, count), rng.integers(0, 3, count), sigmas=SIGMA)
        found = replace(found, sigmas=found.sigmas.copy())
        found.sigmas[::2] = {"sane": SIGMA, "nan": np.nan, "zero": 0.0, "inf": np.inf}[sigmas]
        stamp += step
        tracks = tracker.update(found, stamp, size)

        ids = tracks.ids.tolist()
        assert ids == sorted(set(ids))
        assert not gone & set(ids)
        gone |= before - set(ids)
        before = set(ids)
        newest = max([newest, *ids])
        matched = tracks.rows[tracks.rows >= 0]
        assert len(set(matched.tolist())) == len(matched)
        np.testing.assert_array_equal(tracks.coasting, tracks.rows < 0)
        np.testing.assert_array_equal(found.class_ids[matched], tracks.class_ids[~tracks.coasting])
        for values in (tracks.boxes, tracks.sigmas, tracks.velocities, tracks.velocity_sigmas, tracks.covariances):
            assert np.isfinite(values).all() and values.shape == (len(tracks), 4)
        assert (tracks.boxes[:, :2] <= tracks.boxes[:, 2:]).all()
        assert (tracks.covariances**2 <= (tracks.sigmas * tracks.velocity_sigmas) ** 2 * (1 + 1e-9)).all()
        assert len(tracks.detections) == len(tracks)
