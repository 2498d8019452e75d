from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.report.comparison import FrameFigures, JudgedClass
from gaussian_yolo_node.report.worst import worst_frames

NAN = float("nan")


def figures(
    wrong: list[int], missed: list[int], *, hz: float = 1.0, ages: list[float] | None = None, stamps: bool = True
) -> FrameFigures:
    """Frames with these numbers of false positives and missed objects, plus one correct detection each."""
    frames = len(wrong)
    truths = np.array(missed, np.intp) + 1
    judged = JudgedClass(np.empty(0), np.empty(0, bool), np.empty(0, np.intp), truths)
    return FrameFigures(
        tuple(map(str, range(frames))),
        np.arange(frames) / hz if stamps else np.full(frames, NAN),
        {"car": judged},
        np.ones(frames),
        np.array(wrong, np.float64),
        None,
        None,
        None if ages is None else np.array(ages),
    )


@pytest.mark.parametrize(
    ("wrong", "missed", "most", "expected"),
    [
        ([], [], 3, []),
        ([0, 0], [0, 0], 3, []),  # no mistakes
        ([1, 0, 2], [0, 3, 0], 3, [1, 2, 0]),
        ([1, 1, 1], [0, 0, 0], 2, [0, 1]),  # the first of equals
        ([1, 2, 3], [0, 0, 0], 0, []),
        ([1, 0], [0, 0], 5, [0]),
    ],
)
def test_order(wrong: list[int], missed: list[int], most: int, expected: list[int]) -> None:
    assert [each.row for each in worst_frames(figures(wrong, missed), most)] == expected


def test_of_a_bad_moment_one_frame() -> None:
    worst = worst_frames(figures([5, 6, 5, 0, 0, 0, 0, 0, 0, 1], [0] * 10, hz=10), 3)
    assert [each.row for each in worst] == [1, 9]


def test_unknown_times_are_near_nothing() -> None:
    assert len(worst_frames(figures([1, 1, 1], [0, 0, 0], stamps=False), 3)) == 3


def test_what_is_told_of_a_frame() -> None:
    worst = worst_frames(figures([2, 0], [1, 4], ages=[0.02, 0.03]), 2)
    assert [(each.mistakes, each.false_positives, each.missed) for each in worst] == [(4, 0, 4), (3, 2, 1)]


def test_a_frame_without_an_answer_is_no_mistake_of_the_detector() -> None:
    assert [each.row for each in worst_frames(figures([1, 0], [0, 9], ages=[0.02, NAN]), 2)] == [0]
    assert worst_frames(figures([0], [9], ages=[NAN]), 2) == []


def test_without_truth_there_are_no_mistakes() -> None:
    bare = FrameFigures(("a",), np.zeros(1), {}, None, None, None, None, np.zeros(1))
    assert worst_frames(bare, 3) == []
