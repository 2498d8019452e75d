"""The report's section that compares a run with a baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.bootstrap import BLOCK_SECONDS, LEVEL, RESAMPLES, Estimate
from gaussian_yolo_node.report.comparison import ComparedRuns, Comparison, Measure
from gaussian_yolo_node.report.drawing import captioned, side_by_side
from gaussian_yolo_node.report.page import (
    MISSING,
    Html,
    Section,
    bullets,
    count,
    join,
    number,
    percent,
    table,
    tag,
)

_VERDICTS = {
    "better": tag("span", "better", class_="better"),
    "worse": tag("span", "worse", class_="worse"),
    "changed": "changed",
    "none": "the same",
    "not beyond chance": "not beyond chance",
}


def comparison_section(compared: ComparedRuns, baseline: str, notes: list[str]) -> Section:
    """Figures of both runs, their differences, and whether chance explains them.

    Args:
        compared: the figures.
        baseline: the other run's name.
        notes: other differences between the runs, one sentence each.
    """
    intro = tag(
        "p",
        "Held against the baseline ",
        tag("strong", baseline),
        f" over the {count(compared.frames)} frames that both runs have"
        + (
            f" (left out: {count(compared.only_run)} of this run alone, {count(compared.only_baseline)} of the "
            "baseline alone)."
            if compared.only_run or compared.only_baseline
            else "."
        ),
    )
    rows = [_row(row) for row in compared.rows.values()]
    parts: list[Html] = [
        intro,
        *([tag("p", "What differs between the runs:"), bullets(notes)] if notes else []),
        table(
            ("figure", "this run", "baseline", "difference", f"{percent(LEVEL, 0)} % interval", "verdict"),
            rows,
            caption=f"Difference: this run less the baseline. {bootstrap_words(compared.block, timed=True)}",
        ),
    ]
    figures = [
        _forest(compared, key, title, "points", 100)
        for key, title in (("ap", "Differences of AP"), ("shares", "Differences of shares"))
    ]
    figures.append(_forest(compared, "ages", "Differences of age", "ms", 1e3))
    shown = [figure for figure in figures if figure]
    if shown:
        parts.append(side_by_side(*shown))
    return Section("comparison", "Compared with the baseline", join(*parts))


def comparison_dict(compared: ComparedRuns) -> dict[str, Any]:
    """The whole comparison, unrounded, for JSON; shares in 0..1, ages in s."""
    return {
        "frames": compared.frames,
        "only_run": compared.only_run,
        "only_baseline": compared.only_baseline,
        "bootstrap": {"resamples": RESAMPLES, "block_frames": compared.block, "level": LEVEL},
        "figures": {
            key: {
                "run": row.run,
                "baseline": row.baseline,
                "difference": row.difference.value,
                "low": row.difference.low,
                "high": row.difference.high,
                "verdict": row.verdict,
            }
            for key, row in compared.rows.items()
        },
    }


def bootstrap_words(block: int, *, timed: bool) -> str:
    """How the intervals were computed, for a caption.

    Args:
        block: number of frames per block.
        timed: whether the times of the frames are known.
    """
    length = (
        f"about {number(BLOCK_SECONDS, 0)} s, at most a quarter of the recording"
        if timed
        else ("the cube root of their number, as their times are not known: too short for video")
    )
    return (
        f"Intervals: {count(RESAMPLES)} resamples of whole stretches of {count(block)} consecutive frames ({length}), "
        "because consecutive frames show the same objects and are not independent. They tell how far the figure moves "
        "with other stretches of the same drive, not with other drives."
    )


def shown(value: float | None, measure: Measure, *, sign: bool = False) -> str:
    """A figure in its unit."""
    text = number(None if value is None else measure.scale * value, measure.digits, sign=sign)
    return text if text == MISSING or not measure.unit else f"{text} {measure.unit}"


def interval(estimate: Estimate, measure: Measure, *, sign: bool = False) -> str:
    """Both ends of an interval; a dash without an interval."""
    if estimate.low is None or estimate.high is None:
        return MISSING
    low, high = (number(measure.scale * end, measure.digits, sign=sign) for end in (estimate.low, estimate.high))
    return f"{low} to {high}"


def _row(row: Comparison) -> list[str]:
    return [
        row.measure.name,
        shown(row.run, row.measure),
        shown(row.baseline, row.measure),
        _difference(row),
        interval(row.difference, row.measure, sign=True),
        _VERDICTS[row.verdict] if row.difference.low is not None else MISSING,
    ]


def _difference(row: Comparison) -> str:
    # The difference of two percentages is in points.
    unit = "points" if row.measure.unit == "%" else row.measure.unit
    return shown(row.difference.value, replace(row.measure, unit=unit), sign=True)


def _forest(compared: ComparedRuns, group: str, title: str, unit: str, scale: float) -> Html | None:
    keys = {
        "ap": [key for key in compared.rows if key == "map" or key.startswith("ap/")],
        "shares": [key for key in ("within_1_sigma", "lost") if key in compared.rows],
        "ages": [key for key in ("age_p50_s", "age_p99_s") if key in compared.rows],
    }[group]
    rows = {
        compared.rows[key].measure.name: _scaled(compared.rows[key].difference, scale)
        for key in keys
        if compared.rows[key].difference.value is not None
    }
    if not rows:
        return None
    drawing = plots.differences(f"differences-{group}", rows, f"this run less the baseline, {unit}")
    return captioned(
        drawing,
        title,
        f"Over {count(compared.frames)} common frames. A dot is the difference, a bar its {percent(LEVEL, 0)} % "
        "interval; a bar that crosses zero (grey) is not beyond chance.",
    )


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    value, low, high = (
        None if each is None else scale * each for each in (estimate.value, estimate.low, estimate.high)
    )
    return Estimate(value, low, high)
