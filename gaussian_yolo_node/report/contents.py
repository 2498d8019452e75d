"""The sections of a report, in reading order, and the values that their templates show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from markupsafe import Markup

from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.evaluation.position import Placed
from gaussian_yolo_node.evaluation.uncertainty_report import UncertaintyReport, uncertainty_report
from gaussian_yolo_node.replay.run_folder import ReplayRun
from gaussian_yolo_node.report import plots
from gaussian_yolo_node.report.accuracy import accuracy_values
from gaussian_yolo_node.report.assess import RESAMPLED, Assessment, Intervals
from gaussian_yolo_node.report.comparison import ComparedRuns, measure_of
from gaussian_yolo_node.report.evidence import Evidence
from gaussian_yolo_node.report.latency import Latency, latency_values, measure_latency
from gaussian_yolo_node.report.page import Section, integer
from gaussian_yolo_node.report.pictures import Pictures
from gaussian_yolo_node.report.road import Tracked, place_values, placed, track_values, tracked
from gaussian_yolo_node.report.uncertainty import uncertainty_values
from gaussian_yolo_node.report.worst import APART_SECONDS

# With fewer objects, an AP moves by more than a point per object.
_FEW_OBJECTS = 100


@dataclass(frozen=True, eq=False)
class Baseline:
    """Another run of the same bag.

    Attributes:
        evidence, assessment: of the baseline, by the truth and threshold of the run compared with it.
        compared: the differences.
    """

    evidence: Evidence
    assessment: Assessment
    compared: ComparedRuns


@dataclass(frozen=True, eq=False)
class Contents:
    """All contents of a report.

    Attributes:
        evidence, assessment: of the run.
        baseline: None if there is nothing to compare with.
        pictures: pictures of the worst frames.
        commands: commands that repeat the report.
    """

    evidence: Evidence
    assessment: Assessment
    baseline: Baseline | None
    pictures: Pictures
    commands: Sequence[str]

    @property
    def title(self) -> str:
        """Title of the page."""
        run = self.evidence.run
        return f"Replay report: {self.evidence.name}" if run is not None else f"Report: {self.evidence.name}"

    @property
    def subtitle(self) -> str:
        """What was measured, in one line."""
        run = self.evidence.run
        frames = f"{integer(len(self.evidence.all_frames))} frames"
        if run is None:
            return f"{frames}, from files"
        mode = "lockstep" if run.mode == "lockstep" else "real time"
        return f"{frames} of {run.bag}, {mode}, {run.model.get('name') or 'unknown model'}, {run.started}"

    @cached_property
    def intervals(self) -> Intervals:
        """Confidence intervals of the run's figures."""
        return Intervals.of(self.assessment.figures)

    @cached_property
    def latency(self) -> Latency | None:
        """Latency of the run; None for predictions from a file."""
        return None if self.evidence.run is None else measure_latency(self.evidence.run)

    @cached_property
    def uncertainty(self) -> UncertaintyReport | None:
        """Uncertainty of the run; None without truth."""
        if self.assessment.paired is None:
            return None
        return uncertainty_report(self.assessment.paired, without_term=self._without_term)

    @cached_property
    def tracked(self) -> Tracked | None:
        """Tracks of the run; None without any."""
        return tracked(self.evidence)

    @cached_property
    def placed(self) -> Placed | None:
        """Places of the run beside the true ones; None without any."""
        return placed(self.evidence)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by name of the files from which the figures are computed."""
        others = {} if self.baseline is None else self.baseline.evidence.files
        return {**self.evidence.files, **{f"baseline: {name}": digest for name, digest in others.items()}}

    @property
    def _without_term(self) -> Paired | None:
        if self.baseline is None or self.evidence.run is None or self.baseline.evidence.run is None:
            return None
        criteria = (self.evidence.run.criterion, self.baseline.evidence.run.criterion)
        return self.baseline.assessment.paired if criteria == ("gaussian", "confidence") else None


def sections_of(contents: Contents) -> Iterator[Section]:
    """The sections of the report, in order."""
    evidence, assessment, baseline = contents.evidence, contents.assessment, contents.baseline
    run, threshold = evidence.run, assessment.threshold
    yield Section("summary", "Summary", _summary(contents))
    if baseline is not None:
        yield Section("comparison", "Compared with the baseline", _comparison(contents, baseline))
    if assessment.result is not None:
        figures = {"this run": assessment.figures}
        if baseline is not None:
            figures[f"baseline {baseline.evidence.name}"] = baseline.assessment.figures
        yield Section("accuracy", "Accuracy", accuracy_values(assessment, contents.intervals, figures))
    else:
        counts = Counter(name for record in evidence.answers for name in record.class_names.tolist())
        yield Section("detections", "Detections", {"frames": len(evidence.answers), "counts": counts.most_common()})
    if contents.uncertainty is not None:
        yield Section("uncertainty", "Uncertainty", uncertainty_values(contents.uncertainty))
    if contents.tracked is not None:
        other = None if baseline is None else tracked(baseline.evidence)
        yield Section("tracks", "Tracks", track_values(contents.tracked, other, assessment.figures.stamps))
    if contents.placed is not None:
        there = None if baseline is None else placed(baseline.evidence)
        yield Section("places", "Places on the road", place_values(contents.placed, there))
    if run is not None and contents.latency is not None:
        yield Section("latency", "Latency and drops", latency_values(run, contents.latency))
    if contents.pictures.frames:
        values = {"pictures": contents.pictures, "threshold": threshold, "apart_s": APART_SECONDS}
        yield Section("worst", "Worst frames", values)
    if run is not None:
        yield Section("model", "Model", {"model": run.model, "model_hash": run.model_hash})
    yield Section("method", "How it was measured", _method(contents))
    limits = {"run": run, "result": assessment.result, "threshold": threshold}
    yield Section("limits", "What this report does not say", limits)
    yield Section("signature", "Signature", {"files": contents.files})


def scores_are_alike(run: ReplayRun | None, other: ReplayRun | None) -> bool:
    """Whether scores of the two runs are comparable: same model and same criterion."""
    if run is None or other is None:
        return False
    return (run.model_hash, run.criterion) == (other.model_hash, other.criterion)


def _summary(contents: Contents) -> dict[str, Any]:
    result, figures, estimates = contents.assessment.result, contents.assessment.figures, contents.intervals.estimates
    within = estimates.get("within_1_sigma")
    return {
        "run": contents.evidence.run,
        "result": result,
        "answered": contents.assessment.answered,
        "threshold": contents.assessment.threshold,
        "map_estimate": estimates.get("map") if result is not None and result.protocol in RESAMPLED else None,
        "measure": measure_of("map"),
        "within_one_sigma": None if within is None else within.value,
        "objects": sum(figures.objects.values()),
        "few_objects": {name: objects for name, objects in figures.objects.items() if objects < _FEW_OBJECTS},
        "found": None if figures.found is None else figures.found.sum(),
        "false_positives": None if figures.false_positives is None else figures.false_positives.sum(),
        "uncertainty": contents.uncertainty,
        "latency": contents.latency,
    }


def _comparison(contents: Contents, baseline: Baseline) -> dict[str, Any]:
    run, other, result = contents.evidence.run, baseline.evidence.run, contents.assessment.result
    assert run is not None and other is not None
    curve, other_curve = (each.figures.threshold_curve for each in (contents.assessment, baseline.assessment))
    at = None if curve is None or other_curve is None else curve.at(contents.assessment.threshold)
    return {
        "baseline": baseline.evidence.name,
        "compared": baseline.compared,
        "differing": {
            name: (here, there)
            for (name, here), there in zip(_settings(run).items(), _settings(other).values(), strict=True)
            if here != there
        },
        "other_scores": not scores_are_alike(run, other),
        "here_at": at,
        "there_at": None if at is None or other_curve is None else other_curve.finding(at.true_positives),
        "not_resampled": None if result is None or result.protocol in RESAMPLED else result.protocol,
        "drawings": _difference_drawings(baseline.compared),
    }


def _method(contents: Contents) -> dict[str, Any]:
    run = contents.evidence.run
    return {
        "run": run,
        "sizes": [] if run is None else sorted({(frame.width, frame.height) for frame in run.frames if frame.width}),
        "pace": None if run is None else _pace(run),
        "notes": contents.evidence.notes,
        "commands": contents.commands,
    }


def _settings(run: ReplayRun) -> dict[str, str]:
    """What may differ between two runs."""
    return {
        "model": f"{run.model.get('name') or 'unknown'} ({run.model_hash or 'no hash'})",
        "runtime": run.runtime,
        "criterion": run.criterion,
        "score threshold": str(run.score_threshold),
        "mode": _pace(run),
        "machine": run.machine,
        "bag": run.bag,
    }


def _pace(run: ReplayRun) -> str:
    if run.mode == "lockstep":
        return "lockstep"
    return f"{run.rate_hz:g} Hz" if run.rate_hz else f"{run.rate_factor:g} times the bag's pace"


def _difference_drawings(compared: ComparedRuns) -> dict[str, Markup]:
    """The drawings of differences by title, one per unit."""
    groups = {
        "ap": ("Differences of AP", "points", [key for key in compared.rows if key == "map" or key.startswith("ap/")]),
        "shares": ("Differences of shares", "points", ["within_1_sigma", "lost"]),
        "ages": ("Differences of age", "ms", ["age_p50_s", "age_p99_s"]),
    }
    drawings = {}
    for group, (title, unit, keys) in groups.items():
        rows = {
            row.measure.name: row.difference.scaled(row.measure.scale)
            for row in (compared.rows[key] for key in keys if key in compared.rows)
            if row.difference.value is not None
        }
        if rows:
            drawings[title] = plots.differences(f"differences-{group}", rows, f"this run less the baseline, {unit}")
    return drawings
