"""Writes a report: reads the evidence, evaluates it, and assembles the sections."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.report.assess import Assessment, assess, frames_of
from gaussian_yolo_node.report.comparison import common_frames, compare
from gaussian_yolo_node.report.contents import Baseline, Contents, scores_are_alike, sections_of
from gaussian_yolo_node.report.evidence import Evidence, read_file_evidence, read_run_evidence
from gaussian_yolo_node.report.json_document import json_document
from gaussian_yolo_node.report.page import page
from gaussian_yolo_node.report.pictures import pictures_of

HTML_FILE = "report.html"


class ReportError(GaussianYoloError):
    """A report cannot be written; the message says why."""


def write_report(
    run_dir: Path,
    *,
    baseline: Path | None = None,
    thumbnails: int = 12,
    protocol: str | None = None,
    images: Path | None = None,
    output: Path | None = None,
) -> Path:
    """Write the report of a replay.

    Args:
        run_dir: folder that `gaussian-yolo replay` wrote.
        baseline: folder of another run of the same bag, to compare with.
        thumbnails: number of worst frames to show; with 0, the report contains no pixel of the bag.
        protocol: "all", "kitti", "bdd" or "coco"; None for the one that fits the truth.
        images: folder of the frames; None for the played bag.
        output: the HTML file; None for report.html in the run's folder. The JSON is written next to it.

    Returns:
        Path of the HTML.

    Raises:
        ReplayRunError, DatasetError, BagError: something in the folders is missing or malformed.
        ComparisonError: the runs have no frames in common.
        ReportError: it cannot be written.
    """
    target = _html(run_dir / HTML_FILE if output is None else output)
    evidence = read_run_evidence(run_dir)
    if protocol is None:
        evidence, assessment = _assessed(evidence)
    else:  # an explicit protocol that cannot be applied is an error
        assessment = assess(evidence, protocol)
    other = None if baseline is None else _compared(evidence, assessment, baseline)
    options = ["--baseline", str(baseline)] if baseline is not None else []
    options += ["--protocol", protocol] if protocol is not None else []
    commands = [shlex.join(["gaussian-yolo", "report", str(run_dir), *options])]
    if evidence.run is not None and evidence.run.command:
        commands.insert(0, shlex.join(evidence.run.command))
    pictures = pictures_of(evidence, assessment, thumbnails, images)
    return _write(Contents(evidence, assessment, other, pictures, commands), target)


def write_file_report(
    ground_truth: Path,
    predictions: Path,
    output: Path,
    *,
    images: Path | None = None,
    thumbnails: int = 12,
    protocol: str | None = None,
) -> Path:
    """Write the report of predictions in a file; it has no latency section.

    Args:
        ground_truth, predictions: as for `gaussian-yolo evaluate`.
        output: the HTML file; the JSON is written next to it.
        images: folder of the frames; None for no thumbnails.
        thumbnails, protocol: see `write_report`.

    Returns:
        Path of the HTML.

    Raises:
        DatasetError, BagError: one of the files is missing or malformed, or no frame has both.
        ReportError: it cannot be written.
    """
    target = _html(output)
    evidence = read_file_evidence(ground_truth, predictions)
    assessment = assess(evidence, protocol)
    words = ["--ground-truth", str(ground_truth), "--predictions", str(predictions), "--output", str(output)]
    words += ["--protocol", protocol] if protocol is not None else []
    command = shlex.join(["gaussian-yolo", "report", *words])
    pictures = pictures_of(evidence, assessment, thumbnails, images)
    return _write(Contents(evidence, assessment, None, pictures, [command]), target)


def _assessed(
    evidence: Evidence, protocol: str | None = None, threshold: float | None = None
) -> tuple[Evidence, Assessment]:
    """Like `assess`; evidence that does not fit its truth is assessed without truth, for its latency."""
    try:
        return evidence, assess(evidence, protocol, threshold)
    except DatasetError as error:
        note = f"The detections cannot be held against the bag's truth: {error}."
        evidence = replace(evidence, truths=None, notes=(*evidence.notes, note))
        return evidence, assess(evidence, protocol, threshold)


def _compared(evidence: Evidence, assessment: Assessment, folder: Path) -> Baseline:
    theirs = read_run_evidence(folder)
    common_frames(assessment.figures.keys, frames_of(theirs)[0])  # before they are paired with this run's truth
    # Use one truth and one threshold, so that only the runs differ.
    theirs = replace(theirs, truths=evidence.truths)
    protocol = None if assessment.result is None else assessment.result.protocol
    theirs, other = _assessed(theirs, protocol, assessment.threshold)
    no_verdict = [] if scores_are_alike(evidence.run, theirs.run) else ["found", "false_positives"]
    if len(evidence.lost) != len(theirs.lost):  # an unanswered frame has no false positives
        no_verdict.append("false_positives")
    if any(each.run is not None and each.run.mode == "lockstep" for each in (evidence, theirs)):
        no_verdict += ["age_p50_s", "age_p99_s"]  # lockstep ages are of an idle node and vary with the load
    return Baseline(theirs, other, compare(assessment.figures, other.figures, no_verdict=no_verdict))


def _html(output: Path) -> Path:
    if output.suffix not in (".html", ".htm"):
        raise ReportError(f"the report is HTML: give {output} a name that ends in .html")
    return output


def _write(contents: Contents, output: Path) -> Path:
    with whole_file(output, ReportError) as html, whole_file(output.with_suffix(".json"), ReportError) as document:
        document.write_text(json_document(contents), encoding="utf-8")
        html.write_text(page(contents.title, contents.subtitle, sections_of(contents)), encoding="utf-8")
    return output
