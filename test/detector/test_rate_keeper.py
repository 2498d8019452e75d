"""The canvas of a detector that keeps a rate, with a clock and frame times of the tests."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from factories import make_image

from gaussian_yolo_node.detector import pace, rate_keeper
from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.pace import TimedPoint
from gaussian_yolo_node.detector.rate_keeper import RateKeeper
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime import RuntimeOptions, times
from gaussian_yolo_node.runtime.base import show_size

FRAME = (360, 640)


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Detector]:
    """The default model, whose operating points take 8, 16, 24, .. ms."""

    def timed(of: Detector, rate_hz: float) -> list[TimedPoint]:
        return [TimedPoint(point, 0.008 * i) for i, point in enumerate(of.card.operating_points, 1)]

    monkeypatch.setattr(rate_keeper, "time_points", timed)
    for module in (pace, rate_keeper):
        monkeypatch.setattr(module, "BUSY_SHARE", 0.75)  # that of two cores
    with Detector.open(options=RuntimeOptions(threads=1, precision="fp32")) as detector:
        yield detector


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def keep(keeper: RateKeeper, clock: Clock, seconds: float, network_s: float) -> None:
    for _ in range(int(30 * seconds)):
        clock.now += 1 / 30
        keeper.frame_done(network_s, network_s + 0.002)


def wait_for_canvas(detector: Detector, size: tuple[int, int]) -> None:
    deadline = time.monotonic() + 60
    while detector.input_size != size and time.monotonic() < deadline:
        time.sleep(0.01)
    assert detector.input_size == size


@pytest.mark.parametrize(
    ("rate", "share", "canvas"),
    [
        (30, 1.0, (416, 768)),
        (30, 0.5, (256, 448)),
        pytest.param(60, 1.0, (256, 448), marks=pytest.mark.slow),
        pytest.param(1000, 1.0, (256, 448), marks=pytest.mark.slow),
        pytest.param(10, 0.5, (512, 928), marks=pytest.mark.slow),
    ],
)
def test_the_largest_canvas_that_keeps_the_rate_in_the_frames_shape(
    detector: Detector, rate: float, share: float, canvas: tuple[int, int]
) -> None:
    keeper = RateKeeper(detector, rate, share=share)
    keeper.start(FRAME)
    assert detector.input_size == canvas
    assert detector(make_image(*FRAME)).boxes.shape[1] == 4


def test_the_choice_names_accuracy_cost_and_larger_canvases(detector: Detector) -> None:
    keeper = RateKeeper(detector, 30)
    keeper.start()
    points = [TimedPoint(point, 0.008 * i) for i, point in enumerate(detector.card.operating_points, 1)]
    assert keeper.choice.startswith(f"canvas {points[2]} of 25.0 ms at 30 Hz; larger: {points[3]}")
    assert keeper.accuracy == points[2].accuracy
    assert keeper.notice == ""


def test_a_rate_out_of_reach_is_said(detector: Detector) -> None:
    keeper = RateKeeper(detector, 200)
    keeper.start()
    assert "no canvas of csp_nano_driving keeps 200 Hz" in keeper.notice
    assert "target_rate" in keeper.notice


def test_a_rate_of_zero_takes_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "measure_s", None)  # nothing is timed
    with Detector.open(options=RuntimeOptions(threads=1)) as detector:
        keeper = RateKeeper(detector, 0)
        keeper.start()
        assert detector.input_size == detector.card.operating_points[-1].input_size
        assert keeper.choice.endswith("the largest")
        keeper.frame_done(10.0, 10.0)
        assert detector.input_size == detector.card.operating_points[-1].input_size


def test_a_canvas_chosen_by_hand_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with Detector.open(options=RuntimeOptions(threads=1, input_size=(192, 640))) as detector:
        keeper = RateKeeper(detector, 30)
        keeper.start(FRAME)
        assert detector.input_size == (192, 640)
        assert keeper.choice == "canvas 192x640, fixed"
        for _ in range(200):
            keeper.frame_done(1.0, 1.0)
        assert detector.input_size == (192, 640)


def test_down_under_load_with_a_warning_and_up_again(detector: Detector) -> None:
    clock, warnings = Clock(), []
    keeper = RateKeeper(detector, 30, warn=warnings.append, clock=clock)
    keeper.start(FRAME)
    keep(keeper, clock, 20, 0.024)
    assert detector.input_size == (416, 768)

    keep(keeper, clock, 3, 0.048)
    wait_for_canvas(detector, (256, 448))
    small = detector.card.sigma_calibration_at(detector.input_size)
    assert detector.sigma_calibration == small
    assert keeper.notice == "the machine is busy: canvas 192x640 instead of 320x1024"
    smallest = detector.card.operating_points[0].average_precision["drive_0011"]["AP50 car"]
    assert keeper.accuracy == f"AP50 car {100 * smallest:.1f} % on drive_0011"

    keep(keeper, clock, 30, 0.008)
    wait_for_canvas(detector, (416, 768))
    assert keeper.notice == ""
    assert [("down" in text, "up" in text) for text in warnings] == [(True, False), (False, True)]


def test_times_of_a_busy_machine_are_forgotten(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runtime, size = detector.runtime, detector.input_size
    times.measure_s(runtime, detector.model_hash)
    clock = Clock()
    keeper = RateKeeper(detector, 30, warn=lambda _: None, clock=clock)
    keeper.start(FRAME)
    keep(keeper, clock, 5, 0.024)
    assert times.known_time_s(runtime, detector.model_hash, size) is not None
    keep(keeper, clock, 20, 0.018)  # three quarters of the time that the choice was made by
    wait_for_canvas(detector, (512, 928))
    deadline = time.monotonic() + 60
    while times.known_time_s(runtime, detector.model_hash, size) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert times.known_time_s(runtime, detector.model_hash, size) is None


def test_answers_are_right_while_the_canvas_changes(detector: Detector) -> None:
    frame = make_image(*FRAME)
    prepared = detector.prepare(frame)
    first = detector.detect(prepared)
    waiting = detector.prepare(frame)  # on the canvas before the change
    detector.operate_like((192, 640))
    again = detector.detect(waiting)
    np.testing.assert_array_equal(first.boxes, again.boxes)
    assert detector.prepare(frame).image.shape == (256, 448, 3)


@pytest.mark.parametrize("frame_size", [None, FRAME])
def test_the_smaller_canvas_is_there_before_the_second_frame(
    detector: Detector, frame_size: tuple[int, int] | None
) -> None:
    keeper = RateKeeper(detector, 30, clock=Clock())
    keeper.start(frame_size)
    detector(make_image(*FRAME))
    keeper.frame_done(0.02, 0.02)
    loaded = detector.load(detector.card.operating_points[1].input_size)
    assert loaded.input_size != detector.input_size
    assert set(detector._loaded._runtimes) >= {loaded.input_size, detector.input_size}
    assert "canvas" not in [thread.name for thread in threading.enumerate()]


def test_a_smaller_canvas_that_cannot_be_loaded_leaves_the_present_one(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[str] = []
    keeper = RateKeeper(detector, 30, warn=warnings.append, clock=Clock())
    keeper.start()
    detector(make_image(*FRAME))

    def fail(like: tuple[int, int]) -> None:
        raise ModelError("no memory")

    monkeypatch.setattr(detector, "load", fail)
    keeper.frame_done(0.02, 0.02)
    assert warnings == [f"the canvas stays {show_size(detector.input_size)}: no memory"]
