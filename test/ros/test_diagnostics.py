from __future__ import annotations

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")

from diagnostic_msgs.msg import DiagnosticStatus

from gaussian_yolo_node.ros.diagnostics import WINDOW_FRAMES, FrameStatistics, FrameTimes
from gaussian_yolo_node.ros.health import build_status


class Clock:
    """A clock that the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def times(age: float | None = 0.02) -> FrameTimes:
    return FrameTimes(
        age=age, wait=0.0001, decode=0.002, preprocess=0.001, inference=0.01, postprocess=0.0005, publish=0.0002
    )


def test_nothing_received_yet() -> None:
    statistics = FrameStatistics()
    assert (statistics.received, statistics.processed, statistics.failed) == (0, 0, 0)
    assert statistics.values()["frame_age_p50_ms"] == ""
    assert statistics.values()["rate_hz"] == "0.0"


def test_rate_counts_the_latest_seconds() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    for _ in range(100):
        clock.now += 0.1
        statistics.count_processed(times())
    assert statistics.rate_hz == pytest.approx(10, abs=0.3)
    clock.now += 60
    assert statistics.rate_hz == 0
    assert statistics.processed == 100


def test_rate_soon_after_the_start() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    clock.now += 0.5
    for _ in range(5):
        statistics.count_processed(times())
    assert statistics.rate_hz == pytest.approx(10)


def test_ages_are_percentiles_and_stages_medians() -> None:
    statistics = FrameStatistics()
    for milliseconds in range(1, 102):
        statistics.count_processed(times(milliseconds / 1e3))
    values = statistics.values()
    assert values["frame_age_p50_ms"] == "51.00"
    assert values["frame_age_p99_ms"] == "100.00"
    assert values["frame_age_max_ms"] == "101.00"
    assert values["preprocess_ms"] == "1.00"
    assert values["inference_ms"] == "10.00"
    assert values["postprocess_ms"] == "0.50"
    assert values["publish_ms"] == "0.20"


def test_old_frames_are_forgotten() -> None:
    statistics = FrameStatistics()
    statistics.count_processed(times(9.0))
    for _ in range(WINDOW_FRAMES):
        statistics.count_processed(times(0.01))
    assert statistics.values()["frame_age_max_ms"] == "10.00"


def test_frames_without_a_stamp_have_no_age() -> None:
    statistics = FrameStatistics()
    statistics.count_processed(times(None))
    assert statistics.values()["frame_age_p50_ms"] == ""
    assert statistics.values()["inference_ms"] == "10.00"


def test_failures_are_news_once() -> None:
    statistics = FrameStatistics()
    assert statistics.count_failed("bad step")
    assert not statistics.count_failed("bad step")
    assert statistics.count_failed("bad encoding")
    assert statistics.failing
    statistics.count_processed(times())
    assert not statistics.failing
    assert statistics.last_error == "bad encoding"
    assert statistics.count_failed("bad encoding")
    assert statistics.failed == 4


def test_failures_are_reported_once() -> None:
    statistics = FrameStatistics()
    statistics.count_failed("bad step")
    statistics.count_failed("bad step")
    assert statistics.take_unreported_failures() == 2
    assert statistics.take_unreported_failures() == 0


def test_silence() -> None:
    clock = Clock()
    statistics = FrameStatistics(clock)
    clock.now += 3
    assert statistics.silence_s == 3
    statistics.count_received()
    assert statistics.silence_s == 0


def test_status_message() -> None:
    status = build_status("/perception: perception", "tiny", DiagnosticStatus.WARN, "late", {"rate_hz": "3.0"})
    assert (status.name, status.hardware_id) == ("/perception: perception", "tiny")
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "late")
    assert [(value.key, value.value) for value in status.values] == [("rate_hz", "3.0")]
