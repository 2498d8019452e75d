"""Assignment of answers to frames, for any stamps."""

from __future__ import annotations

import pytest

from gaussian_yolo_node.replay.frame_log import FrameLog, FrameName
from gaussian_yolo_node.replay.run_folder import ReplayCounters


def log_of(*stamps: int) -> FrameLog:
    log = FrameLog()
    for index, stamp in enumerate(stamps):
        log.published(stamp, 1000 + index, (8, 4), index)
    return log


def test_answers_in_order() -> None:
    log = log_of(10, 20, 30)
    for index, stamp in enumerate((10, 20, 30)):
        assert log.take_answer(stamp, 100 + index, 2) is log[index]
    assert log.counters() == ReplayCounters(3, 3, 0, 0)
    assert not log.waiting and not log.in_flight


def test_an_answer_tells_that_those_before_were_dropped() -> None:
    log = log_of(10, 20, 30, 40)
    assert log.take_answer(30, 100, 0) is log[2]
    assert log.in_flight == 1 and log.waiting
    assert log.take_answer(20, 101, 0) is None  # the node never goes back
    assert log.take_answer(40, 102, 0) is log[3]
    assert log.counters() == ReplayCounters(4, 2, 2, 0)
    assert log.late == 1


@pytest.mark.parametrize("stamps", [(0, 0, 0), (7, 7, 9), (30, 20, 10)], ids=["zero", "repeated", "backwards"])
def test_stamps_that_do_not_run_forward(stamps: tuple[int, ...]) -> None:
    log = log_of(*stamps)
    assert [log.take_answer(stamp, 0, 0) for stamp in stamps] == list(log)


@pytest.mark.parametrize(
    ("stamps", "odd"), [((), (0, 0, 0)), ((1, 2, 3), (0, 0, 0)), ((0, 0, 0), (3, 2, 0)), ((5, 3, 5), (0, 1, 1))]
)
def test_odd_stamps_are_counted(stamps: tuple[int, ...], odd: tuple[int, int, int]) -> None:
    log = log_of(*stamps)
    assert (log.zero, log.repeated, log.backwards) == odd


def test_a_late_answer_is_not_taken_for_that_of_a_later_frame() -> None:
    log = log_of(0)
    log.fail(0, "no answer", answer_owed=True)
    log.published(0, 0, (8, 4), 0)
    assert log.take_answer(0, 0, 0) is None
    assert log.take_answer(0, 0, 0) is log[1]
    assert log.counters() == ReplayCounters(2, 1, 0, 1)


@pytest.mark.parametrize("how", ["forgiven", "idle"])
def test_an_answer_that_never_comes_is_not_waited_for(how: str) -> None:
    log = log_of(0)
    log.fail(0, "no answer", answer_owed=True)
    log.published(0, 0, (8, 4), 0)
    if how == "forgiven":
        assert log.forgive()
        assert not log.forgive()
    else:
        log.expect_no_late_answers()
    assert log.take_answer(0, 0, 0) is log[1]


@pytest.mark.parametrize(
    ("failed", "unknown", "failures", "counters"),
    [
        (0, 0, ["", "", ""], ReplayCounters(3, 1, 2, 0)),
        (1, 1, ["", "", ""], ReplayCounters(3, 1, 1, 1)),
        (2, 0, ["bad", "", "bad"], ReplayCounters(3, 1, 0, 2)),
        (5, 0, ["bad", "", "bad"], ReplayCounters(3, 1, 0, 2)),
    ],
)
def test_failures_told_as_a_number(failed: int, unknown: int, failures: list[str], counters: ReplayCounters) -> None:
    log = log_of(1, 2, 3)
    log.take_answer(2, 0, 0)
    assert log.fail_unanswered(failed, "bad") == unknown
    assert [row.failure for row in log] == failures
    assert log.counters() == counters


def test_names_are_the_bag_s_or_the_stamps_and_unique() -> None:
    log = log_of(10, 20, 10, 0, 0)
    log.take_answer(10, 2_000_000_000, 3)
    frames = list(log.named({10: FrameName("a.png", 8, 4), 20: FrameName("b.png", 8, 4)}, 0))
    assert [frame.name for frame in frames] == ["a.png", "b.png", "a#2.png", "0", "0#2"]
    assert (frames[0].answered_s, frames[0].detections, frames[0].width, frames[0].height) == (2.0, 3, 8, 4)


def test_a_size_that_the_message_does_not_tell_is_the_bag_s() -> None:
    log = FrameLog()
    log.published(10, 0, (0, 0), 0)
    (frame,) = log.named({10: FrameName("a.png", 8, 4)}, 0)
    assert (frame.width, frame.height) == (8, 4)
