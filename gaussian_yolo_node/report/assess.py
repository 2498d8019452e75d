"""All accuracy and uncertainty figures of a run's report, computed once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation import LEAST_SCORE, all_objects, bdd
from gaussian_yolo_node.evaluation.all_objects import Judged
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import Paired, pair, pair_frames
from gaussian_yolo_node.evaluation.protocols import (
    ALL,
    HEADLINE_DIFFICULTY,
    ClassCurve,
    ProtocolResult,
    check_classes,
    evaluate_pairs,
)
from gaussian_yolo_node.labels.labelled_frames import GroundTruth
from gaussian_yolo_node.report.bootstrap import Estimate, Resampling
from gaussian_yolo_node.report.comparison import FrameFigures, JudgedClass, figures_of
from gaussian_yolo_node.report.evidence import Evidence, has_objects
from gaussian_yolo_node.report.latency import ages_of

Floats = NDArray[np.float64]

# Minimum IoU of a box with its object for its sigmas to be judged.
MATCH_IOU = all_objects.COMMON_IOU
# Protocols whose AP the bootstrap covers; it does not resample KITTI's difficulties and COCO's limits.
RESAMPLED = ("all", "bdd")
# Used if neither the model nor the node states a threshold.
_FALLBACK_THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class Assessment:
    """Accuracy and uncertainty of a run.

    Attributes:
        result: over all labelled frames; frames without an answer count as frames without detections. None without
            truth.
        answered: over the answered frames only; None if all were answered, or no answered frame is labelled.
        paired: truth and predictions of the labelled frames; None without truth.
        figures: frame by frame.
        threshold: score threshold in use.
    """

    result: ProtocolResult | None
    answered: ProtocolResult | None
    paired: Paired | None
    figures: FrameFigures
    threshold: float


@dataclass(frozen=True)
class Intervals:
    """Confidence intervals of a run's figures, for other frames of the same drive.

    Attributes:
        estimates: by the keys of `comparison.measure_of`.
        block: number of frames per block of the bootstrap.
    """

    estimates: Mapping[str, Estimate]
    block: int

    @classmethod
    def of(cls, figures: FrameFigures) -> Intervals:
        """Intervals of all figures of a run."""
        resampling = Resampling.of(figures.stamps)
        return cls(resampling.estimates(lambda weights: figures_of(figures, weights)), resampling.block)


def assess(evidence: Evidence, protocol: str | None, threshold: float | None = None) -> Assessment:
    """Compute accuracy and uncertainty, as far as the evidence allows.

    Args:
        evidence: evidence of one run.
        protocol: name of the protocol; None for the one that fits the truth.
        threshold: score threshold in use; None for the model's.

    Raises:
        DatasetError: no frame has both truth and predictions, two records belong to one frame, the truth knows none of
            the predicted classes, or the protocol does not apply to it.
    """
    used = driving_threshold(evidence) if threshold is None else threshold
    keys, stamps, ages = frames_of(evidence)
    if evidence.truths is None:
        return Assessment(None, None, None, FrameFigures(keys, stamps, {}, None, None, None, None, ages), used)
    chosen = protocol or default_protocol(evidence.truths)
    paired = pair(evidence.truths, evidence.all_frames)
    check_classes(paired)
    result = evaluate_pairs(chosen, paired, used)
    answered = None
    if evidence.lost and has_objects(evidence.truths, evidence.answers):
        answered = evaluate_pairs(chosen, pair(evidence.truths, evidence.answers), used)
    matched = all_objects.match_boxes(paired, MATCH_IOU, LEAST_SCORE)
    rows = _rows(evidence, paired)
    classes = {
        curve.name: _of_all_frames(judge_class(chosen, paired, curve.name, curve.iou), rows, len(keys))
        for curve in headline_curves(result)
    }
    found, wrong = _counts(classes, used, len(keys))
    inside, coordinates = _within_one_sigma(matched, rows, len(keys))
    return Assessment(
        result, answered, paired, FrameFigures(keys, stamps, classes, found, wrong, inside, coordinates, ages), used
    )


def headline_curves(result: ProtocolResult) -> list[ClassCurve]:
    """Each class's curve at the IoU of the mean AP; for COCO's many IoUs at 0.5, for KITTI at moderate difficulty."""
    wanted: dict[str, ClassCurve] = {}
    for curve in result.curves:
        if curve.difficulty in (ALL, HEADLINE_DIFFICULTY):
            if result.protocol == "bdd":  # BDD's last curve is the strictest
                wanted[curve.name] = curve
            else:
                wanted.setdefault(curve.name, curve)
    return list(wanted.values())


def judge_class(protocol: str, paired: Paired, name: str, iou: float) -> Judged:
    """The verdict on every detection of a class; without KITTI's difficulties and COCO's limits."""
    return (bdd if protocol == "bdd" else all_objects).judge_class(paired, name, iou)


def driving_threshold(evidence: Evidence) -> float:
    """The model's threshold, or the node's if higher: detections below it are recorded only for the curves."""
    if evidence.run is None:
        return _FALLBACK_THRESHOLD
    reported = [evidence.run.model.get("score_threshold"), evidence.run.score_threshold]
    known = [float(value) for value in reported if isinstance(value, int | float)]
    return max(known, default=_FALLBACK_THRESHOLD)


def default_protocol(truths: GroundTruth) -> str:
    """The protocol that fits the data: "all" for KITTI, "coco" for COCO, otherwise "bdd"."""
    if truths.is_kitti:
        return "all"
    return "coco" if truths.kind == "coco" else "bdd"


def frames_of(evidence: Evidence) -> tuple[tuple[str, ...], Floats, Floats | None]:
    """Keys, stamps in s and ages in s of all frames, in the order of `all_frames`."""
    if evidence.run is None:
        names = tuple(str(record.frame) for record in evidence.all_frames)
        return names, np.full(len(names), np.nan), None
    frames = evidence.run.frames
    # The same name in another bag is a different frame.
    keys = tuple(
        frame.name if frame.name == str(frame.stamp_ns) else f"{frame.name} of {frame.stamp_ns}" for frame in frames
    )
    # Relative to the first frame, because float64 cannot hold the ns of an epoch.
    first = frames[0].stamp_ns if frames else 0
    return keys, np.array([(frame.stamp_ns - first) / 1e9 for frame in frames], np.float64), ages_of(frames)


def _rows(evidence: Evidence, paired: Paired) -> NDArray[np.intp]:
    """Row among all frames of each frame that has truth, in the order of `paired.names`."""
    assert evidence.truths is not None
    pairs, _ = pair_frames(evidence.truths.frames, evidence.all_frames)
    row_of_record = {id(record): row for row, record in enumerate(evidence.all_frames)}
    return np.array([row_of_record[id(pairs[name][1])] for name in paired.names], np.intp)


def _of_all_frames(judged: Judged, rows: NDArray[np.intp], frames: int) -> JudgedClass:
    truths = np.zeros(frames, np.intp)
    truths[rows] = judged.truths_per_frame
    return JudgedClass(judged.scores, judged.correct, rows[judged.frames], truths)


def _counts(classes: Mapping[str, JudgedClass], threshold: float, frames: int) -> tuple[Floats, Floats]:
    """Correct and wrong detections per frame."""
    found, wrong = np.zeros(frames), np.zeros(frames)
    for judged in classes.values():
        used = judged.scores >= threshold
        found += np.bincount(judged.frames[used & judged.correct], minlength=frames)
        wrong += np.bincount(judged.frames[used & ~judged.correct], minlength=frames)
    return found, wrong


def _within_one_sigma(
    matched: MatchedBoxes, rows: NDArray[np.intp], frames: int
) -> tuple[Floats | None, Floats | None]:
    """Number of coordinates within one sigma of the object's, and number of coordinates, both [F]."""
    if matched.sigmas is None or not len(matched):
        return None, None
    row = rows[matched.frames]
    within = (np.abs(matched.errors) <= matched.sigmas).sum(axis=1)
    inside, boxes = np.bincount(row, within, frames), np.bincount(row, minlength=frames)
    return inside.astype(np.float64), (4 * boxes).astype(np.float64)  # four coordinates per box
