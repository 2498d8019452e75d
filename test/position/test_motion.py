from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gaussian_yolo_node.position.camera import PositionError
from gaussian_yolo_node.position.locate import Positions
from gaussian_yolo_node.position.motion import GroundMotion, GroundTracks, ratio_interval

Floats = NDArray[np.float64]


def positions(
    xy: list[tuple[float, float]], fresh: float = 0.04, lasting: float = 0.0, reach: float = 0.0
) -> Positions:
    """Places with variances in m^2 on each axis; NaN is a place that is not known."""
    places = np.array(xy, float).reshape(-1, 2)
    n = len(places)
    known = np.isfinite(places[:, :1, None])
    covariance = np.where(known, (fresh + lasting) * np.eye(2), np.nan)
    lasting_part = np.where(known, lasting * np.eye(2), np.nan)
    return Positions(places, covariance, lasting_part, np.full(n, reach), np.zeros(n, np.int64), {})


UNKNOWN = (math.nan, math.nan)


def drive(tracks: GroundTracks, stamps: Floats, start: float, speed: float, **more: float) -> GroundMotion:
    """One object ahead with a constant speed, seen at each stamp."""
    for stamp in stamps:
        motion = tracks.update(stamp, [7], positions([(start + speed * stamp, 2.0)], **more))
    return motion


@pytest.mark.parametrize("speed", [-10.0, 0.0, 5.0])
@pytest.mark.parametrize("stamps", [np.arange(30) / 10, np.array([0, 0.1, 0.15, 0.6, 0.6, 1.3, 2.0, 2.9])])
def test_velocity_over_ground_at_any_rate(speed: float, stamps: Floats) -> None:
    motion = drive(GroundTracks(), stamps, 60.0, speed)
    sigma = np.sqrt(np.diag(motion.covariance[0]))
    np.testing.assert_allclose(motion.velocity[0], (speed, 0), atol=0.1)
    np.testing.assert_allclose(motion.xy[0], (60 + speed * stamps[-1], 2), atol=0.05)
    assert (sigma[:2] < 0.2).all() and (sigma[2:] < 2).all()


def reference(stamps: Floats, places: Floats, variance: float) -> tuple[Floats, Floats]:
    """The same filter, written out for one axis."""
    mean, covariance = np.array([0.0, 0.0]), np.diag([1e6, 15.0**2])
    before = stamps[0]
    for stamp, place in zip(stamps, places, strict=True):
        t = stamp - before
        move = np.array([[1, t], [0, 1]])
        mean = move @ mean
        covariance = move @ covariance @ move.T + 4 * np.array([[t**3 / 3, t**2 / 2], [t**2 / 2, t]])
        gain = covariance[:, 0] / (covariance[0, 0] + variance + 1e-6)
        mean = mean + gain * (place - mean[0])
        covariance = covariance - np.outer(gain, covariance[0])
        before = stamp
    return mean, covariance


def test_the_filter_is_the_textbooks() -> None:
    rng = np.random.default_rng(0)
    stamps = np.cumsum(rng.uniform(0.02, 0.3, 40))
    places = 30 - 4 * stamps + rng.normal(0, 0.2, 40)
    tracks = GroundTracks()
    for stamp, place in zip(stamps, places, strict=True):
        motion = tracks.update(stamp, [1], positions([(place, 0.0)]))
    mean, covariance = reference(stamps, places, 0.04)
    np.testing.assert_allclose((motion.xy[0, 0], motion.velocity[0, 0]), mean, rtol=1e-6)
    np.testing.assert_allclose(motion.covariance[0][np.ix_([0, 2], [0, 2])], covariance, rtol=1e-5)


def test_the_covariance_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(3)
    count, stamps = 400, np.arange(15) / 10
    velocity = rng.normal(0, 15, (count, 2))
    place = rng.uniform(10, 50, (count, 2))
    tracks = GroundTracks()
    for number, stamp in enumerate(stamps):
        if number:
            change = rng.normal(0, 2 * math.sqrt(0.1), (count, 2))
            place = place + velocity * 0.1 + change * 0.05  # the mean of a random walk over the step
            velocity = velocity + change
        seen = place + rng.normal(0, 0.2, place.shape)
        motion = tracks.update(stamp, np.arange(count), positions([tuple(each) for each in seen]))
    errors = np.concatenate([motion.xy - place, motion.velocity - velocity], 1)
    squared = np.einsum("ni,ni->n", errors, np.linalg.solve(motion.covariance, errors[:, :, None])[:, :, 0])
    assert squared.mean() / 4 == pytest.approx(1, abs=0.1)


def test_lasting_errors_are_not_averaged_away() -> None:
    stamps = np.arange(50) / 10
    fresh = drive(GroundTracks(), stamps, 60.0, -5.0, fresh=0.04)
    both = drive(GroundTracks(), stamps, 60.0, -5.0, fresh=0.04, lasting=4.0)
    np.testing.assert_allclose(both.xy, fresh.xy)
    assert fresh.covariance[0, 0, 0] < 0.04 and both.covariance[0, 0, 0] > 4
    # 2 m of 35.5 m are the same share of the velocity.
    share = 4.0 / (both.xy[0] @ both.xy[0])
    added = both.covariance[0, 2, 2] - fresh.covariance[0, 2, 2]
    assert added == pytest.approx(share * both.velocity[0, 0] ** 2, rel=1e-6)
    assert (np.linalg.eigvalsh(both.covariance) > 0).all()
    np.testing.assert_allclose(both.contact_interval, fresh.contact_interval)


@pytest.mark.parametrize(
    ("start", "speed", "reach", "front", "expected"),
    [
        (60.0, -10.0, 0.0, 0.0, 3.1),
        (60.0, -10.0, 2.0, 3.0, 2.6),
        (60.0, 10.0, 0.0, 0.0, math.inf),
        (30.0, -10.0, 2.0, 0.0, 0.0),  # it is there
    ],
)
def test_time_to_contact(start: float, speed: float, reach: float, front: float, expected: float) -> None:
    motion = drive(GroundTracks(front=front), np.arange(30) / 10, start, speed, reach=reach)
    earliest, latest = motion.contact_interval[0]
    assert motion.time_to_contact[0] == pytest.approx(expected, abs=0.1)
    assert earliest <= motion.time_to_contact[0] <= latest


def test_an_object_that_may_stand_still_has_no_latest_time() -> None:
    motion = drive(GroundTracks(), np.arange(30) / 10, 60.0, -0.1)
    assert 0 < motion.contact_interval[0, 0] < math.inf == motion.contact_interval[0, 1]


@pytest.mark.parametrize(
    ("gap", "closing", "gap_variance", "closing_variance", "expected"),
    [
        (10.0, 2.0, 0.0, 0.0, (5.0, 5.0)),
        (10.0, 2.0, 1.0, 0.0, (4.0, 6.0)),
        (10.0, 2.0, 0.0, 0.25, (10 / 3, 10.0)),
        (10.0, 2.0, 0.0, 1.0, (2.5, math.inf)),  # may just stand still
        (10.0, 0.0, 0.0, 1.0, (5.0, math.inf)),
        (10.0, -1.0, 0.0, 1.0, (10.0, math.inf)),  # seems to recede
        (10.0, -5.0, 0.0, 1.0, (math.inf, math.inf)),  # recedes
        (1.0, 2.0, 1.0, 0.0, (0.0, 1.5)),  # may be there already
        (-1.0, 2.0, 0.01, 0.0, (0.0, 0.0)),
        (10.0, 0.0, 0.0, 0.0, (math.inf, math.inf)),
    ],
)
def test_ratio_interval(
    gap: float, closing: float, gap_variance: float, closing_variance: float, expected: tuple[float, float]
) -> None:
    values = (np.array([each]) for each in (gap, closing, gap_variance, closing_variance, 0.0))
    np.testing.assert_allclose(ratio_interval(*values)[0], expected)


def test_the_interval_holds_the_true_time_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[0.25, 0.2], [0.2, 1.0]])
    gap, closing = (rng.multivariate_normal((20.0, 6.0), covariance, 20_000)).T
    constant = (np.full(20_000, each) for each in (0.25, 1.0, 0.2))
    earliest, latest = ratio_interval(gap, closing, *constant).T
    assert ((earliest <= 20 / 6) & (latest >= 20 / 6)).mean() == pytest.approx(0.9545, abs=0.005)


def test_a_gap_is_bridged_and_a_long_one_is_not() -> None:
    tracks = GroundTracks(longest_gap_s=2.0)
    drive(tracks, np.arange(20) / 10, 60.0, -10.0)
    hidden = tracks.update(2.9, [7], positions([UNKNOWN]))
    np.testing.assert_allclose(hidden.xy[0], (31.0, 2.0), atol=0.5)
    back = tracks.update(3.5, [7], positions([(25.0, 2.0)]))
    np.testing.assert_allclose(back.velocity[0], (-10, 0), atol=0.3)
    anew = tracks.update(6.0, [7], positions([(50.0, 2.0)]))
    np.testing.assert_allclose(anew.xy[0], (50.0, 2.0), atol=1e-3)
    assert anew.velocity[0].tolist() == pytest.approx([0, 0], abs=1e-3) and anew.covariance[0, 2, 2] > 100


def test_coasting_becomes_less_certain() -> None:
    tracks = GroundTracks()
    drive(tracks, np.arange(20) / 10, 60.0, -10.0)
    spreads = [tracks.update(1.9 + t, [7], positions([UNKNOWN])).covariance[0, 0, 0] for t in (0.1, 0.5, 1.5)]
    assert spreads == sorted(spreads) and spreads[0] < spreads[-1]


def test_a_clock_that_goes_back_starts_anew() -> None:
    tracks = GroundTracks()
    drive(tracks, 100 + np.arange(20) / 10, 2000.0, -10.0)
    motion = tracks.update(0.0, [7], positions([(60.0, 2.0)]))
    np.testing.assert_allclose(motion.xy[0], (60.0, 2.0), atol=1e-3)
    first = GroundTracks().update(0.0, [7], positions([(60.0, 2.0)]))
    np.testing.assert_array_equal(motion.covariance, first.covariance)


def test_ids_come_and_go_in_any_order() -> None:
    tracks = GroundTracks()
    assert tracks.update(0.0, [], positions([])).xy.shape == (0, 2)
    tracks.update(0.1, [5, 3], positions([(10.0, 0.0), (20.0, 0.0)]))
    motion = tracks.update(0.2, [3, 9, 5], positions([(20.0, 0.0), UNKNOWN, (10.0, 0.0)]))
    np.testing.assert_allclose(motion.xy[[0, 2]], [(20, 0), (10, 0)], atol=1e-3)
    assert np.isnan(motion.xy[1]).all() and np.isnan(motion.time_to_contact[1])
    assert tracks.update(0.3, [], positions([])).xy.shape == (0, 2)
    assert np.isfinite(tracks.update(0.4, [3], positions([UNKNOWN])).xy).all()


def test_the_same_input_gives_the_same_bytes() -> None:
    first, second = (drive(GroundTracks(), np.arange(30) / 10, 60.0, -3.0, lasting=1.0) for _ in range(2))
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, vars(second)[name])


@pytest.mark.parametrize(
    ("stamp", "ids", "named"),
    [
        (math.nan, [1], "stamp"),
        (math.inf, [1], "stamp"),
        (0.0, [1, 2], "one id for each"),
        (0.0, [], "one id for each"),
    ],
)
def test_wrong_input_is_refused(stamp: float, ids: list[int], named: str) -> None:
    with pytest.raises(PositionError, match=named):
        GroundTracks().update(stamp, ids, positions([(1.0, 1.0)]))


def test_two_objects_with_one_id_are_refused() -> None:
    with pytest.raises(PositionError, match="same track id"):
        GroundTracks().update(0.0, [1, 1], positions([(1.0, 1.0), (2.0, 2.0)]))


@pytest.mark.parametrize("name", ["speed_sigma", "unrest", "longest_gap_s"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_parameters_out_of_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(PositionError, match=name):
        GroundTracks(**{name: value})
