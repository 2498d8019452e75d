"""The report's drawings, from plain arrays.

Each is called with the name of its figure, unique in the page, in place of the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from gaussian_yolo_node.report.bootstrap import Estimate
from gaussian_yolo_node.report.drawing import BAD, COLOURS, INK, LINE, RASTER, SOFT, draw, drawing, series_label
from gaussian_yolo_node.report.page import integer

Floats = NDArray[np.float64]

# A screen cannot show more points than this.
_LINE_POINTS = 400
_SCATTER_POINTS = 5000
_TIMELINE_POINTS = 1200
_MARKED_POINTS = 300
_LEAST_SPAN_MS = 0.1
_CROWD = 1000  # dots; from here on they are drawn smaller, so that they do not hide each other
_BOUND: dict[str, Any] = {"color": SOFT, "linewidth": 1.1}
_DASHES: tuple[str, ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True, eq=False)
class Line:
    """A line of a drawing.

    Attributes:
        name: for the legend.
        x, y: [N].
    """

    name: str
    x: Floats
    y: Floats


def precision_recall(figure: str, lines: Sequence[Line]) -> Markup:
    """Precision against recall, one line per class."""

    def paint(axes: Axes) -> None:
        _plot(axes, lines)
        _unit_square(axes, "recall: share of the objects found", "precision: share of the detections right")
        axes.legend(loc="lower left")

    return draw(figure, f"Precision against recall of {', '.join(line.name for line in lines)}", paint)


@drawing("False positives against the score threshold")
def false_positives(axes: Axes, lines: Sequence[Line], threshold: float) -> None:
    """False positives against the score threshold."""
    _plot(axes, lines)
    axes.axvline(threshold, color=SOFT, linewidth=1, linestyle=":")
    axes.set(xlabel="score threshold", ylabel="false positives", xlim=(0, 1), yscale="symlog")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(_grouped)
    axes.legend(loc="upper right")


@drawing("Objects found against false positives")
def found_against_false(axes: Axes, lines: Sequence[Line]) -> None:
    """Objects detected against false positives, as the threshold falls."""
    _plot(axes, lines)
    axes.set(xlabel="false positives", ylabel="objects found", xscale="symlog")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(_grouped)
    axes.yaxis.set_major_formatter(_grouped)
    axes.legend(loc="lower right")


@drawing("IoU of boxes with their objects against their uncertainty")
def iou_against_sigma(
    axes: Axes, sigmas: Floats, ious: Floats, centres: Floats, means: Floats, low: Floats, high: Floats
) -> None:
    """IoU of boxes with their objects against their uncertainty.

    Args:
        sigmas, ious: [N], of single boxes; at most 5,000 of them are drawn.
        centres, means, low, high: [B], mean uncertainty, mean IoU and two percentiles of IoU per bin.
    """
    shown = _sample(len(sigmas), _SCATTER_POINTS)
    size, opacity = (9, 0.7) if len(shown) < _CROWD else (5, 0.35)
    axes.scatter(sigmas[shown], ious[shown], s=size, color=RASTER, alpha=opacity, linewidths=0, rasterized=True)
    axes.fill_between(centres, low, high, color=COLOURS[1], alpha=0.25, linewidth=0)
    axes.plot(centres, means, color=COLOURS[1], marker="o", markersize=3.5)
    axes.set(xlabel="relative sigma of the box", ylabel="IoU with the object", ylim=(0, 1.02))
    if len(centres):
        # A few outliers would squeeze all other boxes into a corner.
        axes.set_xlim(0, float(max(np.quantile(sigmas, 0.995), centres.max())) * 1.05)


@drawing("Precision of detections against their score")
def reliability(axes: Axes, score: Floats, precision: Floats, detections: NDArray[np.intp]) -> None:
    """Precision of detections against their score.

    Args:
        score, precision, detections: [B], mean score, share correct and number of detections per bin.
    """
    _diagonal(axes)
    share = np.sqrt(detections / max(1, detections.max(initial=1)))
    axes.scatter(score, precision, s=12 + 60 * share, color=COLOURS[0], zorder=3, linewidths=0)
    axes.plot(score, precision, color=COLOURS[0])
    _unit_square(axes, "mean score", "share of the detections right")


@drawing("Observed against expected coverage of the predicted intervals")
def sigma_coverage(axes: Axes, expected: Floats, observed: Mapping[str, Floats]) -> None:
    """Share of errors inside central intervals, against the share of a Gaussian.

    Args:
        expected: [L], 0..1.
        observed: [L] by coordinate.
    """
    _diagonal(axes)
    for number, (name, values) in enumerate(observed.items()):
        axes.plot(expected, values, label=series_label(name), **_looks(number))
    _unit_square(axes, "share expected inside the interval", "share observed inside")
    axes.legend(loc="upper left")


@drawing("Error of the boxes that are kept against the share that is kept")
def risk_coverage(axes: Axes, lines: Sequence[Line], bounds: Sequence[Line], ylabel: str) -> None:
    """Error of the boxes that are kept, against the share that is kept.

    Args:
        lines: one per ranking.
        bounds: best and random order, between which the lines should lie.
        ylabel: name of the error.
    """
    _plot(axes, lines)
    for number, line in enumerate(bounds):
        rows = _thinned(len(line.x))
        axes.plot(line.x[rows], line.y[rows], label=line.name, **_BOUND, linestyle=_DASHES[1 + number])
    axes.set(xlabel="share kept, surest first", ylabel=ylabel, xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0))
    axes.legend(loc="best")


@drawing("Error of the range against the range")
def range_errors(axes: Axes, distances: Floats, errors: Floats, sigmas: Floats) -> None:
    """Errors of ranges against the true ranges, with the median of one predicted standard deviation.

    Args:
        distances, errors, sigmas: [N], m.
    """
    shown = _sample(len(distances), _SCATTER_POINTS)
    axes.scatter(distances[shown], errors[shown], s=9, color=RASTER, alpha=0.7, linewidths=0, rasterized=True)
    order = np.argsort(distances, kind="stable")
    bands = [rows for rows in np.array_split(order, min(10, max(1, len(order) // 5))) if len(rows)]
    middle, sigma = (np.array([np.median(of[rows]) for rows in bands]) for of in (distances, sigmas))
    for side in (-1, 1):
        axes.plot(middle, side * sigma, color=COLOURS[1], marker="o", markersize=3)
    axes.axhline(0, color=INK, linewidth=0.9)
    axes.set(xlabel="true range, m", ylabel="error of the range, m", xlim=(0, None))


def track_lives(figure: str, lives: Mapping[str, tuple[NDArray[np.intp], NDArray[np.intp]]], stamps: Floats) -> Markup:
    """Which track is on which object over time.

    Args:
        lives: by object, rows of the frames in which it is labelled, and the track's id in each; below 0 for none.
        stamps: [F] of all frames, s.
    """
    period = float(np.median(np.diff(stamps))) if len(stamps) > 1 else 1.0

    def paint(axes: Axes) -> None:
        for place, (rows, ids) in enumerate(lives.values()):
            axes.broken_barh([(stamps[row], period) for row in rows], (place - 0.12, 0.24), color=LINE)
            order = {track: number for number, track in enumerate(dict.fromkeys(ids[ids >= 0].tolist()))}
            for track, number in order.items():
                spans = [(stamps[row], period) for row in rows[ids == track]]
                axes.broken_barh(spans, (place - 0.32, 0.64), color=COLOURS[number % len(COLOURS)])
        axes.set_yticks(range(len(lives)), [series_label(name) for name in lives])
        axes.set_ylim(len(lives) - 0.5, -0.5)
        axes.set_xlabel("time since the first frame, s")

    return draw(figure, "Tracks on each object over time", paint, inches=(9.6, 0.8 + 0.2 * len(lives)))


@drawing("Histogram of the ages of the answers")
def age_histogram(axes: Axes, ages_ms: Floats, marks: Mapping[str, float]) -> None:
    """Histogram of the answers' ages.

    Args:
        ages_ms: [N].
        marks: percentiles by name, ms.
    """
    top = float(np.quantile(ages_ms, 0.999)) * 1.02
    shown = np.minimum(ages_ms, top)  # the last bar holds all older ones
    bins = int(np.clip(np.sqrt(len(ages_ms)) * 2, 10, 60))
    low = float(shown.min())
    # Nearly equal ages would need bars narrower than float64 resolves.
    span = (low, max(top, low + _LEAST_SPAN_MS))
    axes.hist(shown, bins=bins, range=span, color=COLOURS[0], alpha=0.8, linewidth=0)
    for number, (name, value) in enumerate(marks.items()):
        axes.axvline(value, color=INK, linewidth=1.2, linestyle=_DASHES[number], label=series_label(name))
    axes.set(xlabel="age of the answer, ms", ylabel="frames")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncol=len(marks), borderaxespad=0)


@drawing("Ages of the answers over the run", inches=(9.6, 2.6))
def age_timeline(axes: Axes, times_s: Floats, ages_ms: Floats, lost_s: Floats) -> None:
    """Ages over the run, with lost frames.

    Args:
        times_s, ages_ms: [N], when a frame was published and how old its answer was.
        lost_s: [M], when the frames without an answer were published.
    """
    if len(times_s) > _TIMELINE_POINTS:
        groups = np.array_split(np.arange(len(times_s)), _TIMELINE_POINTS // 2)
        middle = np.array([np.median(times_s[rows]) for rows in groups])
        low, high = (np.array([pick(ages_ms[rows]) for rows in groups]) for pick in (np.min, np.max))
        axes.fill_between(middle, low, high, color=COLOURS[0], linewidth=0.4, alpha=0.9)
    else:
        marker = "." if len(times_s) < _MARKED_POINTS else ""
        axes.plot(times_s, ages_ms, color=COLOURS[0], linewidth=0.8, marker=marker, markersize=3)
    top = float(ages_ms.max(initial=1.0)) * 1.12
    if len(lost_s):
        many = len(lost_s) > _TIMELINE_POINTS
        axes.vlines(lost_s, 0, top, color=BAD if not many else "#d0453a", linewidth=0.7, rasterized=many)
    axes.set(xlabel="time since the start of the run, s", ylabel="age of the answer, ms", ylim=(0, top))
    axes.margins(x=0.01)


def differences(figure: str, rows: Mapping[str, Estimate], xlabel: str) -> Markup:
    """Differences and their confidence intervals, one below the other."""

    def paint(axes: Axes) -> None:
        names = list(rows)
        for place, name in enumerate(names):
            estimate = rows[name]
            if estimate.value is None:
                continue
            colour = COLOURS[0] if estimate.excludes_zero else SOFT
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [place, place], color=colour, linewidth=2.2)
            axes.plot([estimate.value], [place], color=colour, marker="o", markersize=5)
        axes.axvline(0, color=INK, linewidth=0.9)
        axes.set_yticks(range(len(names)), [series_label(name) for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(xlabel)

    return draw(figure, "Differences with confidence intervals", paint, inches=(4.9, 0.8 + 0.34 * len(rows)))


def _plot(axes: Axes, lines: Sequence[Line]) -> None:
    for number, line in enumerate(lines):
        rows = _thinned(len(line.x))
        axes.plot(line.x[rows], line.y[rows], label=series_label(line.name), **_looks(number))


def _looks(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": _DASHES[number // len(COLOURS) % len(_DASHES)]}


def _unit_square(axes: Axes, xlabel: str, ylabel: str) -> None:
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1.01), ylim=(0, 1.01))


def _diagonal(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.2)


def _thinned(points: int) -> NDArray[np.intp]:
    """Indices of evenly spaced points, including both ends."""
    return np.unique(np.linspace(0, max(0, points - 1), min(points, _LINE_POINTS)).round().astype(np.intp))


def _sample(points: int, most: int) -> NDArray[np.intp]:
    """Indices of a fixed sample, so that equal data give equal drawings."""
    if points <= most:
        return np.arange(points)
    return np.sort(np.random.default_rng(0).choice(points, most, replace=False))


def _grouped(tick: float, _position: float) -> str:
    return integer(round(tick))  # not "−0"
