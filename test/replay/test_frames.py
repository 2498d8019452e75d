"""When frames are due, and reading ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed (extra 'bags')")

from gaussian_yolo_node.replay.frames import BagTime, Prefetched, Schedule

S = 1_000_000_000
YEAR = 365 * 86_400 * S


@pytest.mark.parametrize(
    ("factor", "hz", "times", "due"),
    [
        pytest.param(1.0, None, [5 * S], [0], id="one frame"),
        pytest.param(1.0, None, [5 * S, 6 * S, 6 * S, 8 * S], [0, S, S, 3 * S], id="as recorded"),
        pytest.param(2.0, None, [0, S, 3 * S], [0, S // 2, 3 * S // 2], id="twice as fast"),
        pytest.param(0.5, None, [0, S], [0, 2 * S], id="half as fast"),
        pytest.param(1.0, 4.0, [0, 9 * S, 9 * S], [0, S // 4, S // 2], id="at a rate of its own"),
        pytest.param(1.0, 3.0, [0] * 4, [0, 333_333_333, 666_666_667, S], id="nothing adds up"),
        pytest.param(1.0, None, [0, 60 * S, 121 * S], [0, 60 * S, 61 * S], id="a long gap is shortened"),
        pytest.param(1.0, None, [0, 50 * YEAR, 50 * YEAR + S], [0, S, 2 * S], id="a first stamp of 0"),
    ],
)
def test_frames_are_due(factor: float, hz: float | None, times: Sequence[int], due: Sequence[int]) -> None:
    schedule = Schedule(factor, hz)
    assert [schedule.due_ns(time) for time in times] == list(due)


def test_no_drift_over_a_long_bag() -> None:
    schedule = Schedule(1.0, 30.0)
    last = [schedule.due_ns(0) for _ in range(18_001)][-1]
    assert last == 600 * S


def test_the_bag_s_time_stands_still_where_it_runs_backwards() -> None:
    time = BagTime()
    assert [time.forward(ns) for ns in (3, 5, 4, 2, 5, 6)] == [3, 5, 5, 5, 5, 6]
    assert time.backwards == 2


@pytest.mark.parametrize("count", [0, 1, 7])
def test_all_is_read_in_order(count: int) -> None:
    with Prefetched(range(count), depth=2) as items:
        assert list(items) == list(range(count))


def test_what_the_source_raises_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("cut short")

    seen = []
    with Prefetched(source(), depth=2) as items, pytest.raises(ValueError, match="cut short"):
        for item in items:
            seen.append(item)
    assert seen == [1]


def test_no_more_than_the_depth_is_read_ahead_and_leaving_ends_it() -> None:
    given = threading.Semaphore(0)

    def source() -> Iterator[int]:
        for index in range(1000):
            given.release()
            yield index

    before = threading.active_count()
    with Prefetched(source(), depth=3) as items:
        assert next(iter(items)) == 0
        for _ in range(5):  # one taken, three waiting, one being read
            assert given.acquire(timeout=30)
        assert not given.acquire(timeout=0.2)
    assert threading.active_count() == before
