"""The sections of a report, in reading order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.evaluation.uncertainty_report import UncertaintyReport, uncertainty_report
from gaussian_yolo_node.replay.run_folder import ReplayRun
from gaussian_yolo_node.report.accuracy import RESAMPLED, accuracy_section, threshold_curve_of
from gaussian_yolo_node.report.assess import Assessment, Intervals
from gaussian_yolo_node.report.compared import comparison_section
from gaussian_yolo_node.report.comparison import ComparedRuns, FrameFigures
from gaussian_yolo_node.report.evidence import Evidence
from gaussian_yolo_node.report.latency import Latency, latency_section
from gaussian_yolo_node.report.page import Content, Section, count, join, number, percent, table, tag
from gaussian_yolo_node.report.pictures import Pictures, pictures_section
from gaussian_yolo_node.report.provenance import (
    limits_section,
    method_section,
    model_section,
    signature_section,
)
from gaussian_yolo_node.report.summary import (
    Card,
    accuracy_cards,
    latency_cards,
    sigma_card,
    summary_section,
)
from gaussian_yolo_node.report.uncertainty_section import uncertainty_section

# With fewer objects, an AP moves by more than a point per object.
_FEW_OBJECTS = 100
THIS_RUN = "this run"


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
        evidence, assessment, intervals: of the run.
        latency: None for predictions from a file.
        baseline: None if there is nothing to compare with.
        pictures: pictures of the worst frames.
        commands: commands that repeat the report.
    """

    evidence: Evidence
    assessment: Assessment
    intervals: Intervals
    latency: Latency | None
    baseline: Baseline | None
    pictures: Pictures
    commands: tuple[str, ...]

    @property
    def title(self) -> str:
        """Title of the page."""
        run = self.evidence.run
        return f"Replay report: {self.evidence.name}" if run is not None else f"Report: {self.evidence.name}"

    @property
    def subtitle(self) -> str:
        """What was measured, in one line."""
        run = self.evidence.run
        frames = f"{count(len(self.evidence.all_frames))} frames"
        if run is None:
            return f"{frames}, from files"
        mode = "lockstep" if run.mode == "lockstep" else "real time"
        return f"{frames} of {run.bag}, {mode}, {run.model.get('name') or 'unknown model'}, {run.started}"

    @cached_property
    def uncertainty(self) -> UncertaintyReport | None:
        """Uncertainty of the run; None without truth."""
        if self.assessment.paired is None:
            return None
        return uncertainty_report(self.assessment.paired, without_term=self._without_term)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the reader, one sentence each."""
        return self.evidence.notes

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 by name of the files from which the figures are computed."""
        files = dict(self.evidence.files)
        if self.baseline is not None:
            files |= {f"baseline: {name}": digest for name, digest in self.baseline.evidence.files.items()}
        return files

    @property
    def _without_term(self) -> Paired | None:
        if self.baseline is None or self.evidence.run is None or self.baseline.evidence.run is None:
            return None
        criteria = (self.evidence.run.criterion, self.baseline.evidence.run.criterion)
        return self.baseline.assessment.paired if criteria == ("gaussian", "confidence") else None


def scores_are_alike(run: ReplayRun | None, other: ReplayRun | None) -> bool:
    """Whether scores of the two runs are comparable: same model and same criterion."""
    if run is None or other is None:
        return False
    return (run.model_hash, run.criterion) == (other.model_hash, other.criterion)


def sections_of(contents: Contents) -> list[Section]:
    """The sections of the report, in order."""
    return list(_sections(contents))


def _sections(contents: Contents) -> Iterator[Section]:
    evidence, assessment, run = contents.evidence, contents.assessment, contents.evidence.run
    yield summary_section(_cards(contents), _statements(contents), _warnings(contents))
    if contents.baseline is not None:
        other = contents.baseline.evidence
        yield comparison_section(
            contents.baseline.compared, other.name, [*_differing(run, other.run), *_remarks(contents)]
        )
    if assessment.result is not None:
        yield accuracy_section(
            assessment.result,
            assessment.answered,
            contents.intervals.estimates,
            contents.intervals.block,
            _figures(contents),
            assessment.threshold,
        )
    else:
        yield _detections_section(evidence)
    if contents.uncertainty is not None:
        yield uncertainty_section(contents.uncertainty)
    if run is not None and contents.latency is not None:
        yield latency_section(run, contents.latency)
    if contents.pictures.told:
        yield pictures_section(contents.pictures, assessment.threshold)
    if run is not None:
        yield model_section(run.model, run.model_hash)
    yield method_section(run, contents.notes, contents.commands)
    yield limits_section(_limits(contents))
    yield signature_section(contents.files)


def _figures(contents: Contents) -> dict[str, FrameFigures]:
    figures = {THIS_RUN: contents.assessment.figures}
    if contents.baseline is not None:
        figures[f"baseline {contents.baseline.evidence.name}"] = contents.baseline.assessment.figures
    return figures


def _cards(contents: Contents) -> list[Card]:
    result, run = contents.assessment.result, contents.evidence.run
    cards: list[Card] = []
    if result is not None:
        cards += accuracy_cards(result, contents.assessment.answered, contents.intervals.estimates)
    if run is not None and contents.latency is not None:
        cards += latency_cards(run, contents.latency)
    return cards + sigma_card(contents.intervals.estimates.get("within_1_sigma"))


def _statements(contents: Contents) -> list[Content]:
    assessment, run = contents.assessment, contents.evidence.run
    told: list[Content] = []
    if run is not None:
        counters = run.counters
        share = percent(counters.answered / counters.played if counters.played else None, 2)
        told.append(
            f"Of {count(counters.played)} frames played, {count(counters.answered)} ({share} %) were answered, "
            f"{count(counters.dropped)} dropped and {count(counters.failed)} failed."
        )
    result, figures = assessment.result, assessment.figures
    if result is not None and figures.found is not None and figures.false_positives is not None:
        objects = sum(int(judged.truths.sum()) for judged in figures.classes.values())
        found, wrong = int(figures.found.sum()), int(figures.false_positives.sum())
        frames = len(result.paired.names)
        told.append(
            f"At the score threshold {assessment.threshold:g}, {count(found)} of {count(objects)} objects were found "
            f"({percent(found / objects if objects else None)} %), with {count(wrong)} false positives in "
            f"{count(frames)} labelled frames ({number(wrong / frames, 2)} a frame)."
        )
    if contents.uncertainty is not None and contents.uncertainty.sigma is not None:
        overall = contents.uncertainty.sigma.overall
        one, two, three = (percent(share) for share in overall.within)
        told.append(
            f"Of the errors of boxes on their objects, {one} / {two} / {three} % lie within 1 / 2 / 3 predicted sigma; "
            "a Gaussian has 68.3 / 95.4 / 99.7 %."
        )
    if contents.latency is not None and contents.latency.longest_wait_s is not None:
        told.append(
            f"The longest time without an answer was {number(contents.latency.longest_wait_s, 3)} s, the most frames "
            f"lost in a row {count(contents.latency.longest_loss_frames)}."
        )
    return told


def _warnings(contents: Contents) -> list[Content]:
    """Warnings that a reader would overlook further down."""
    assessment, run = contents.assessment, contents.evidence.run
    told: list[Content] = []
    if assessment.result is None:
        told.append("No truth: this report is of latency and detections, and says nothing of accuracy.")
    else:
        few = {
            name: int(judged.truths.sum())
            for name, judged in assessment.figures.classes.items()
            if judged.truths.sum() < _FEW_OBJECTS
        }
        if few:
            named = ", ".join(f"{name} ({count(objects)})" for name, objects in few.items())
            told.append(f"Few objects, so that AP moves by more than a point with each: {named}.")
        if assessment.result.paired.unlabelled:
            told.append(f"{count(len(assessment.result.paired.unlabelled))} frames have no truth and are not judged.")
    if run is not None and run.counters.dropped:
        share = percent(run.counters.dropped / max(1, run.counters.played))
        told.append(f"{count(run.counters.dropped)} frames ({share} %) were dropped: the node did not keep up.")
    if run is not None and run.counters.failed:
        told.append(f"{count(run.counters.failed)} frames failed: the notes tell why.")
    if run is not None and not run.counters.answered:
        told.append("Not one frame was answered.")
    return told


def _detections_section(evidence: Evidence) -> Section:
    """Detections of a run without truth."""
    counts: dict[str, int] = {}
    for record in evidence.answers:
        for name in record.class_names.tolist():
            counts[name] = counts.get(name, 0) + 1
    frames = len(evidence.answers)
    rows = [[name, count(of), number(of / frames)] for name, of in sorted(counts.items(), key=lambda item: -item[1])]
    content = table(
        ("class", "detections", "a frame"), rows, caption=f"Detections in {count(frames)} answered frames, as recorded."
    )
    return Section(
        "detections", "Detections", join(tag("p", "Without truth, nobody can say which are right."), content)
    )


def _differing(run: ReplayRun | None, other: ReplayRun | None) -> list[str]:
    if run is None or other is None:
        return []
    shown = {
        "model": (_model(run), _model(other)),
        "runtime": (run.runtime, other.runtime),
        "criterion": (run.criterion, other.criterion),
        "score threshold": (str(run.score_threshold), str(other.score_threshold)),
        "mode": (_pace(run), _pace(other)),
        "machine": (run.machine, other.machine),
        "bag": (run.bag, other.bag),
    }
    told = [f"{name}: {here}; baseline: {there}" for name, (here, there) in shown.items() if here != there]
    if not scores_are_alike(run, other):
        told.append(
            "Scores of another model or criterion mean something else, so what is found and what is wrong at the same "
            "threshold is no verdict."
        )
    return told


def _remarks(contents: Contents) -> list[str]:
    """How to read the comparison."""
    result = contents.assessment.result
    told = [
        *_at_as_many_found(contents),
        "Ages also differ by what else the machine did during a run, which no interval here covers: repeat both runs "
        "before a difference of age counts.",
    ]
    if result is not None and result.protocol not in RESAMPLED:
        told.append(
            f"AP is compared over every labelled object, all points of the curve at the protocol's IoU: the rules of "
            f"{result.protocol} for what counts are not in what is resampled."
        )
    return told


def _at_as_many_found(contents: Contents) -> list[str]:
    """False positives of the baseline at as many true positives as the run."""
    assert contents.baseline is not None
    run, baseline = (each.figures for each in (contents.assessment, contents.baseline.assessment))
    if not run.classes or not baseline.classes:
        return []
    here = threshold_curve_of(run).at(contents.assessment.threshold)
    there = threshold_curve_of(baseline).finding(here.true_positives)
    told = (
        f"At the threshold {here.threshold:g} this run finds {count(here.true_positives)} objects with "
        f"{count(here.false_positives)} false positives"
    )
    if there is None:
        return [f"{told}; the baseline finds as many at no threshold."]
    return [f"{told}; the baseline, where it finds as many, has {count(there.false_positives)}."]


def _model(run: ReplayRun) -> str:
    return f"{run.model.get('name') or 'unknown'} ({run.model_hash or 'no hash'})"


def _pace(run: ReplayRun) -> str:
    if run.mode == "lockstep":
        return "lockstep"
    return f"{run.rate_hz:g} Hz" if run.rate_hz else f"{run.rate_factor:g} times the bag's pace"


def _limits(contents: Contents) -> Iterator[Content]:
    run, result = contents.evidence.run, contents.assessment.result
    yield (
        "It is of one recording. Other roads, light, weather and cameras are other figures; the intervals do not "
        "cover them."
    )
    if result is not None:
        yield (
            "Objects that nobody labelled are false positives where they are detected: errors of the labels are in "
            "every figure."
        )
        yield "Frames are judged one by one: for how long an object stays unseen is not measured."
    if run is not None and run.mode == "lockstep":
        yield "In lockstep nothing can be dropped: what a camera at full rate would lose is not in these figures."
    if run is not None and run.mode == "realtime":
        yield (
            "A frame without an answer counts as one without detections. A consumer that keeps the last answer sees "
            "stale boxes instead."
        )
        yield "Ages and drops are of this machine under its load at the time; another machine needs its own run."
    yield (
        f"What is counted at the score threshold {contents.assessment.threshold:g} holds for that threshold alone; the "
        "curves show how it moves."
    )
