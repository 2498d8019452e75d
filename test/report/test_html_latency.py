from __future__ import annotations

import numpy as np
import pytest

from gaussian_yolo_node.replay.run_folder import ReplayCounters, ReplayedFrame, ReplayRun
from gaussian_yolo_node.report.latency import latency_values, measure_latency
from gaussian_yolo_node.report.page import render

PLAIN = {
    "bag": "b", "image_topic": "/i", "rate_factor": 1.0, "rate_hz": None, "score_threshold": None, "criterion": "",
    "model": {}, "model_hash": "", "runtime": "", "machine": "", "command": [], "started": "", "notes": [],
}  # fmt: skip


def run_of(ages: list[float | None], hz: float = 10.0, mode: str = "realtime", **diagnostics: str) -> ReplayRun:
    """A run at a constant rate."""
    frames = [
        ReplayedFrame(str(number), number, 10, 10, number / hz, None if age is None else number / hz + age)
        for number, age in enumerate(ages)
    ]
    answered = sum(age is not None for age in ages)
    return ReplayRun(
        **PLAIN,  # type: ignore[arg-type]
        mode=mode,  # type: ignore[arg-type]
        elapsed_s=len(ages) / hz,
        counters=ReplayCounters(len(ages), answered, len(ages) - answered, 0),
        diagnostics=diagnostics,
        frames=frames,
    )


@pytest.mark.parametrize(
    ("ages", "p50", "oldest", "lost", "in_a_row", "wait"),
    [
        ([], None, None, 0, 0, None),
        ([None], None, None, 1, 1, None),
        ([0.02], 0.02, 0.02, 0, 0, 0.02),
        ([None] * 3, None, None, 3, 3, None),
        ([0.02, 0.02, 0.02], 0.02, 0.02, 0, 0, 0.1),
        ([0.02, 0.01, None, None, 0.05], 0.02, 0.05, 2, 2, 0.34),
        ([None, None, 0.03], 0.03, 0.03, 2, 2, 0.23),  # silence from the start
        ([0.03, None, None, None], 0.03, 0.03, 3, 3, 0.27),  # silence to the end
        ([0.03, None, 0.03, None, None, 0.03], 0.03, 0.03, 3, 2, 0.3),
    ],
)
def test_figures(
    ages: list[float | None], p50: float | None, oldest: float | None, lost: int, in_a_row: int, wait: float | None
) -> None:
    latency = measure_latency(run_of(ages))

    assert latency.age_percentiles_s.get(50) == pytest.approx(p50)
    assert latency.age_percentiles_s.get(100) == pytest.approx(oldest)
    assert latency.lost == lost
    assert latency.longest_loss_frames == in_a_row
    assert latency.longest_wait_s == pytest.approx(wait)


def test_rates() -> None:
    latency = measure_latency(run_of([0.01, None, 0.01, None, 0.01], hz=20))
    assert latency.played_hz == pytest.approx(20)
    assert latency.answered_hz == pytest.approx(10)
    assert measure_latency(run_of([0.01])).played_hz is None


def content_of(run: ReplayRun) -> str:
    """The latency section of a run."""
    return render("latency", latency_values(run, measure_latency(run)))


@pytest.mark.parametrize("ages", [[], [None], [0.02], [0.02, None, 0.03], [0.01] * 40])
def test_section_of_any_run(ages: list[float | None]) -> None:
    content = content_of(run_of(ages))
    assert "Real time" in content
    assert ("<svg" in content) == any(age is not None for age in ages)


def test_lockstep_is_not_taken_for_a_camera() -> None:
    run = run_of([0.02] * 3, mode="lockstep")
    assert "say nothing about a camera" in content_of(run)


def test_stages_of_a_node_that_tells_them() -> None:
    run = run_of([0.02] * 3, inference_ms="12.5", preprocess_ms="", publish_ms="a lot")
    content = content_of(run)
    assert "12.50" in content and "a lot" not in content


def test_a_long_run_is_a_small_drawing() -> None:
    ages = list(0.02 + 0.001 * np.random.default_rng(0).random(18_000))
    ages[5000:9000] = [None] * 4000
    run = run_of(ages)
    assert len(content_of(run)) < 300_000
