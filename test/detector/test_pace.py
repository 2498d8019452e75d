"""Choosing an operating point for a rate, and changing it under load, with times and a clock of the tests."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from engine_models import make_network

from gaussian_yolo_node.detector import pace as pace_module
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.model import OperatingPoint
from gaussian_yolo_node.detector.pace import Pace, TimedPoint, largest_within, time_points
from gaussian_yolo_node.runtime import RuntimeOptions, times

MS = (6.0, 10.0, 16.0, 24.0, 50.0)
POINTS = [
    TimedPoint(OperatingPoint((64 * i, 128 * i), float(i), {"drive": {"AP50 car": 0.5 + i / 10}}), ms / 1e3)
    for i, ms in enumerate(MS, 1)
]
CANVASES = tuple(OperatingPoint(size, size[0] * size[1] / 1e4) for size in ((64, 96), (96, 160), (128, 192)))
OUT_OF_REACH_HZ = 1e9


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_module, "BUSY_SHARE", 0.75)


class Machine:
    """A clock, and frames at 30 Hz whose network takes its time of an idle machine times `slowdown`.

    Attributes:
        dropped: frames that came while another was in the worker and one waited already.
    """

    def __init__(self, slowdown: float = 1.0) -> None:
        self.now = 100.0
        self.slowdown = slowdown
        self.dropped = 0
        self._arrived = 0  # the latest frame that was taken

    def run(self, pace: Pace, seconds: float) -> list[tuple[float, int]]:
        """The changes, with their times since the start."""
        changes = []
        start = self.now
        while self.now - start < seconds:
            network_s = POINTS[pace.current].network_s * self.slowdown
            newest = int((self.now - 100.0) * 30)
            if newest <= self._arrived:  # the worker waits
                newest = self._arrived + 1
                self.now = 100.0 + newest / 30
            self.dropped += newest - self._arrived - 1
            self._arrived = newest
            self.now += network_s + 0.003
            target = pace.observe(network_s, network_s + 0.003)
            if target is not None:
                changes.append((self.now - start, target))
        return changes


@pytest.mark.parametrize(
    ("rate", "slowdown", "index"),
    [(30, 1, 3), (30, 1.1, 2), (30, 2, 1), (30, 100, 0), (10, 1, 4), (31.25, 1, 3), (31.26, 1, 2), (0, 5, 4)],
)
def test_the_largest_point_that_leaves_a_quarter_of_the_period(rate: float, slowdown: float, index: int) -> None:
    assert largest_within(POINTS, rate, slowdown) == index


def test_a_single_point_is_taken_whatever_it_costs() -> None:
    assert largest_within(POINTS[-1:], 1000) == 0


@pytest.mark.parametrize("slowdown", [*(pytest.param(each, marks=pytest.mark.slow) for each in (0.9, 1.0)), 1.15])
def test_a_steady_machine_changes_nothing(slowdown: float) -> None:
    machine = Machine(slowdown)
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    assert machine.run(pace, 300) == []
    assert pace.current == pace.preferred == 3


@pytest.mark.parametrize(
    ("slowdown", "canvas", "soonest_s", "latest_s"),
    [
        (1.25, 2, 2.0, 4.0),  # every frame is a little late: none is dropped for seconds
        (1.4, 2, 2.0, 4.0),
        (1.5, 2, 1.0, 2.5),
        (2.0, 1, 0.5, 1.5),
        (4.0, 0, 0.5, 1.5),
    ],
)
def test_a_burner_of_20_s_costs_one_step_down_and_one_step_up(
    slowdown: float, canvas: int, soonest_s: float, latest_s: float
) -> None:
    machine = Machine()
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    assert machine.run(pace, 20) == []
    machine.slowdown = slowdown
    [(down_at, down)] = machine.run(pace, 20)
    assert down == canvas
    assert soonest_s < down_at < latest_s
    assert machine.dropped <= (15 if slowdown <= 2 else 30)
    machine.slowdown = 1.0
    [(up_at, up)] = machine.run(pace, 60)
    assert (up, pace.current) == (3, 3)
    assert up_at < 10


@pytest.mark.parametrize(
    ("before_s", "slowdowns"),
    [
        (0.0, [(1.0, 3.0)]),  # first inferences, caches, discovery
        (0.0, [(2.8, 1.4)]),
        (0.0, [(0.1, 20.0), (1.5, 1.3)]),
        (9.6, [(1.2, 1.3)]),  # the middle of a run, beside nothing
        (9.6, [(0.7, 2.0)]),
        (9.6, [(0.05, 30.0)]),  # one frame of 0.7 s
        (9.6, [(2.0, 1.25)]),
        (30.0, [(0.5, 2.0), (2.0, 1.0)] * 20),  # half a second again and again
    ],
    ids=str,
)
def test_a_short_disturbance_changes_nothing(before_s: float, slowdowns: list[tuple[float, float]]) -> None:
    machine = Machine()
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    steps = machine.run(pace, before_s)
    for seconds, machine.slowdown in slowdowns:
        steps += machine.run(pace, seconds)
    machine.slowdown = 1.0
    assert steps + machine.run(pace, 60) == []


def test_a_machine_that_is_busy_from_the_start_steps_down_after_the_first_seconds() -> None:
    machine = Machine(2.0)
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    [(down_at, down)] = machine.run(pace, 20)
    assert down == 1
    assert 3 < down_at < 6


def test_a_machine_that_is_already_on_the_smallest_canvas_stays_there() -> None:
    machine = Machine(50)
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    assert [target for _, target in machine.run(pace, 60)] == [0]


def test_a_step_is_not_taken_back_within_ten_seconds_and_tried_less_and_less_often() -> None:
    machine = Machine()
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    steps = []
    while machine.now < 700:  # load that comes back as soon as the canvas grows
        machine.slowdown = 2.0 if pace.current == 3 else 1.0
        started = machine.now
        steps += [started + at for at, _ in machine.run(pace, 0.01)]
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert min(gaps) > 9.9
    assert len(steps) < 30


def test_a_machine_that_was_busy_when_it_was_timed_steps_up() -> None:
    machine = Machine(0.4)
    pace = Pace(POINTS, 30, clock=lambda: machine.now)
    assert [target for _, target in machine.run(pace, 60)] == [4]


@pytest.mark.parametrize("share", [0.5, 0.25])
def test_cameras_share_the_machine(share: float) -> None:
    machine = Machine(1 / share)  # each frame waits for the other cameras'
    pace = Pace(POINTS, 10, share, clock=lambda: machine.now)
    assert pace.current == largest_within(POINTS, 10 / share)
    assert machine.run(pace, 100) == []


@pytest.mark.parametrize(
    ("timed", "text"),
    [
        (POINTS[3], "256x512 (AP50 car 90.0 % on drive): 24.0 ms"),
        (TimedPoint(OperatingPoint((32, 64), 1.0), 0.05, measured=False), "32x64: about 50.0 ms"),
        (TimedPoint(OperatingPoint((32, 64), 1.0), 0.0, measured=False), "32x64"),
    ],
)
def test_a_point_in_words(timed: TimedPoint, text: str) -> None:
    assert str(timed) == text


class TestTiming:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path / "cache" / "gaussian_yolo" / "network_times.json"

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        """A small network of free height and width, with operating points."""
        return make_network(tmp_path / "free.onnx", input_size=("height", "width"), card={"operating_points": CANVASES})

    @pytest.fixture
    def detector(self, model: Path) -> Detector:
        with Detector.open(model, options=RuntimeOptions(threads=1)) as detector:
            yield detector

    def test_points_are_timed_once_and_then_known(
        self, detector: Detector, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rate = 3.0  # which every machine keeps, so that at least two are timed
        first = time_points(detector, rate)
        assert [timed.point for timed in first] == list(detector.card.operating_points)
        assert first[0].measured and first[1].measured
        monkeypatch.setattr(times, "time_s", None)
        again = time_points(detector, rate)
        assert [timed.measured for timed in again] == [timed.measured for timed in first]
        # The cache holds whole microseconds.
        assert [t.network_s for t in again] == pytest.approx([t.network_s for t in first], rel=0, abs=0.6e-6)

    def test_points_far_too_slow_are_estimated(self, detector: Detector) -> None:
        timed = time_points(detector, OUT_OF_REACH_HZ)
        assert [entry.measured for entry in timed] == [True] + [False] * (len(timed) - 1)
        growth = timed[-1].point.gmacs / timed[0].point.gmacs
        assert timed[-1].network_s == pytest.approx(timed[0].network_s * growth)

    @pytest.mark.parametrize("text", ["", "not json", "[]", '{"a": 1}', '{"a": {"192x640": "fast"}}'])
    def test_a_damaged_cache_is_measured_again(self, detector: Detector, cache: Path, text: str) -> None:
        cache.parent.mkdir(parents=True)
        cache.write_text(text)
        assert time_points(detector, OUT_OF_REACH_HZ)[0].measured

    def test_a_cache_that_cannot_be_written_is_no_error(
        self, detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert time_points(detector, OUT_OF_REACH_HZ)[0].measured

    def test_nothing_is_timed_without_a_choice(self, tiny_model: Path, model: Path) -> None:
        with Detector.open(tiny_model, options=RuntimeOptions(threads=1)) as fixed:
            assert time_points(fixed, 30) == []
        with Detector.open(model, options=RuntimeOptions(threads=1, input_size=(96, 160))) as chosen_by_hand:
            assert time_points(chosen_by_hand, 30) == []

    def test_a_rate_of_zero_times_nothing(self, detector: Detector, cache: Path) -> None:
        assert len(time_points(detector, 0)) == len(detector.card.operating_points)
        assert not cache.exists()
