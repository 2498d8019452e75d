from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gaussian_yolo_node.report.comparison import (
    ComparisonError,
    FrameFigures,
    JudgedClass,
    compare,
    figures_of,
    measure_of,
)

FRAMES = 80


def figures(frames: int = FRAMES, *, right: float = 0.7, delay: float = 0.0, first: int = 0) -> FrameFigures:
    """A run over frames at 10 Hz, with three detections and three objects per frame."""
    generator = np.random.default_rng(5)
    of_frame = np.repeat(np.arange(frames), 3)
    correct = generator.random(3 * frames) < right
    scores = generator.random(3 * frames)
    found = np.bincount(of_frame[correct], minlength=frames).astype(np.float64)
    return FrameFigures(
        tuple(f"{number:06d}" for number in range(first, first + frames)),
        np.arange(first, first + frames) / 10,
        {"car": JudgedClass(scores, correct, of_frame, np.full(frames, 3))},
        found,
        3 - found,
        4 * found * 0.6,
        4 * found,
        0.02 + 0.001 * generator.random(frames) + delay,
    )


def test_a_run_does_not_differ_from_itself() -> None:
    compared = compare(figures(), figures(), resamples=100)

    assert compared.frames == FRAMES and not compared.only_run and not compared.only_baseline
    assert set(compared.rows) == {
        "map", "ap/car", "found", "false_positives", "within_1_sigma", "age_p50_s", "age_p99_s", "lost",
    }  # fmt: skip
    for row in compared.rows.values():
        assert row.run == row.baseline
        assert (row.difference.value, row.difference.low, row.difference.high) == (0, 0, 0)
        assert row.verdict == "none"


def test_a_known_shift_is_found() -> None:
    run, baseline = figures(right=0.9, delay=0.004), figures(right=0.5)

    compared = compare(run, baseline, resamples=300)

    better = compared.rows["ap/car"]
    assert better.verdict == "better" and better.difference.value is not None and better.difference.value > 0.2
    assert compared.rows["false_positives"].verdict == "better"  # fewer
    age = compared.rows["age_p50_s"]
    assert age.verdict == "worse"
    assert age.difference.value == pytest.approx(0.004)
    assert age.difference.low is not None and 0.0035 < age.difference.low <= 0.004
    assert compared.rows["within_1_sigma"].verdict == "none"  # 60 % in both


def test_pairs_see_what_independent_intervals_would_not() -> None:
    """Ages that vary widely from frame to frame, but equally in both runs."""
    varied = np.linspace(0.01, 0.1, FRAMES)
    baseline = replace(figures(), ages=varied)
    run = replace(figures(), ages=varied + 0.001)

    assert compare(run, baseline, resamples=200).rows["age_p50_s"].verdict == "worse"


def test_only_common_frames_are_compared() -> None:
    compared = compare(figures(60), figures(60, first=20), resamples=50)

    assert (compared.frames, compared.only_run, compared.only_baseline) == (40, 20, 20)
    run = compared.rows["found"].run
    assert run == figures(60).of(tuple(f"{number:06d}" for number in range(20, 60))).found.sum()


def test_frames_are_picked_with_their_detections() -> None:
    whole = figures()
    part = whole.of(("000003", "000001"))

    judged = part.classes["car"]
    assert sorted(judged.frames.tolist()) == [0, 0, 0, 1, 1, 1]
    assert judged.scores[judged.frames == 0].tolist() == whole.classes["car"].scores[9:12].tolist()
    assert part.ages is not None and whole.ages is not None
    assert part.ages.tolist() == whole.ages[[3, 1]].tolist()


@pytest.mark.parametrize(
    ("run", "baseline", "complaint"),
    [
        (figures(10), figures(10, first=50), "no frame in common: the run has frames such as 000000"),
        (figures(10), figures(10, first=9), "one frame in common, 000009"),
        (figures(1), figures(1), "one frame in common"),
        (figures(10).of(()), figures(10), "no frame in common: the run has frames such as none"),
    ],
)
def test_what_cannot_be_compared(run: FrameFigures, baseline: FrameFigures, complaint: str) -> None:
    with pytest.raises(ComparisonError, match=complaint):
        compare(run, baseline, resamples=10)


def test_without_truth_only_latency_is_compared() -> None:
    bare = replace(figures(), classes={}, found=None, false_positives=None, inside=None, coordinates=None)
    assert set(compare(bare, figures(), resamples=10).rows) == {"age_p50_s", "age_p99_s", "lost"}


def test_two_frames_have_values_but_no_interval() -> None:
    row = compare(figures(2), figures(2), resamples=10).rows["lost"]
    assert row.difference.value == 0 and row.difference.low is None


def test_a_class_without_objects_has_no_ap() -> None:
    run = figures(10)
    nothing = JudgedClass(np.array([0.5]), np.array([False]), np.array([0]), np.zeros(10, np.intp))
    run = replace(run, classes={**run.classes, "bus": nothing})

    values = figures_of(run, np.ones((1, 10), np.int32))
    assert "ap/bus" not in values and values["map"] == values["ap/car"]


def test_every_answer_lost() -> None:
    dead = replace(figures(), ages=np.full(FRAMES, np.nan))
    rows = compare(dead, figures(), resamples=20).rows
    assert rows["age_p50_s"].run is None and rows["age_p50_s"].difference.value is None
    assert rows["lost"].verdict == "worse" and rows["lost"].run == 1


def test_names_of_figures_are_for_people() -> None:
    assert measure_of("ap/traffic light").name == "AP traffic light"
    assert measure_of("lost").unit == "%"
