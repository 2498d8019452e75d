"""Average precision over every labelled object, for the classes of Gaussian YOLOv3: the figures on the models' pages.

As in KITTI's devkit (Geiger et al., CVPR 2012), neighbouring classes and DontCare regions count neither way. Unlike the
devkit, Van, Truck, Tram, Misc and Person_sitting are neighbours of every class, and there are no difficulty levels;
`kitti` has those. For data sets other than KITTI, all classes count, and ignored regions are treated as DontCare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.average_precision import (
    PrecisionRecall,
    all_point_ap,
    eleven_point_ap,
    forty_point_ap,
)
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import Indices, Paired, covers_any, pair, take_greedily
from gaussian_yolo_node.evaluation.reliability import ScoreQuality, score_quality
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality, rank_correlation, sigma_quality
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FramePredictions, GroundTruth

KITTI_IOU = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
COMMON_IOU = 0.5
# Low enough to include badly placed boxes, which sigma must tell from good ones.
LOOSE_IOU = 0.1
# Minimum share of a detection's own area inside a DontCare region for the detection to be ignored.
DONT_CARE_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Judged:
    """The counted detections of one class by falling score, and the verdict on each.

    Attributes:
        scores: [N].
        correct: [N], whether a detection matches an object.
        frames: [N], frame index.
        truths_per_frame: [F], objects of the class in each frame.
        frame_names: F names.
        ignored: number of detections on ignored regions, which do not count.
    """

    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    frames: NDArray[np.intp]
    truths_per_frame: NDArray[np.intp]
    frame_names: tuple[str, ...]
    ignored: int

    @property
    def truths(self) -> int:
        """Objects of the class in all frames."""
        return int(self.truths_per_frame.sum())

    @property
    def curve(self) -> PrecisionRecall:
        return PrecisionRecall.of(self.scores, self.correct, self.truths)


@dataclass(frozen=True)
class ClassResult:
    """Accuracy for one class at one IoU threshold.

    Attributes:
        name: the class.
        iou: minimum IoU of a detection with its object.
        truths: number of labelled objects.
        detections: number of detections that count.
        ignored: number of detections on ignored regions, which do not count.
        all_point, eleven_point, forty_point: average precision, 0..1; NaN without truths.
    """

    name: str
    iou: float
    truths: int
    detections: int
    ignored: int
    all_point: float
    eleven_point: float
    forty_point: float


@dataclass(frozen=True)
class KittiResult:
    """Result of an evaluation.

    Attributes:
        at_kitti_iou: one result per class, at KITTI's IoU threshold for the class.
        at_common_iou: one result per class, at IoU 0.5.
        matched: stems of the label files that have a prediction record; these frames are evaluated.
        unlabelled: frames with a prediction record but no label file; not counted.
        unpredicted: stems of label files without a prediction record; not counted.
        unknown_classes: predicted classes that the labels lack; not counted.
        lowest_score: lowest score of the counted predictions; 0 without any.
        least_score: minimum score of the detections that `scores` and `sigma` cover.
        scores: calibration of the scores at IoU 0.5 (score against share of correct detections), by class and "all".
        sigma: calibration of the standard deviations; None if the predictions have none.
    """

    at_kitti_iou: tuple[ClassResult, ...]
    at_common_iou: tuple[ClassResult, ...]
    matched: tuple[str, ...]
    unlabelled: tuple[str, ...]
    unpredicted: tuple[str, ...]
    unknown_classes: tuple[str, ...]
    lowest_score: float
    least_score: float
    scores: Mapping[str, ScoreQuality]
    sigma: SigmaQuality | None


def evaluate(
    truths: GroundTruth, predictions: Sequence[FramePredictions], least_score: float = LEAST_SCORE
) -> KittiResult:
    """Evaluate the frames that have both labels and a prediction record.

    Args:
        predictions: one record per frame; "000012.png" and 12 belong to the labels "000012".
        least_score: minimum score of the detections whose scores and sigmas are judged; AP uses all detections.

    Raises:
        LabelError: no frame has both, or two records belong to one frame.
    """
    return evaluate_paired(pair(truths, predictions), least_score)


def evaluate_paired(paired: Paired, least_score: float = LEAST_SCORE) -> KittiResult:
    """Like `evaluate`, for frames that are already paired."""
    ious = class_ious(paired)
    common = {name: judge_class(paired, name, COMMON_IOU) for name in ious}
    correlations = tuple(
        rank_correlation(match_boxes(paired, iou, least_score), iou) for iou in (COMMON_IOU, LOOSE_IOU)
    )
    return KittiResult(
        tuple(_class_result(judge_class(paired, name, iou), name, iou) for name, iou in ious.items()),
        tuple(_class_result(judged, name, COMMON_IOU) for name, judged in common.items()),
        paired.names,
        paired.unlabelled,
        paired.unpredicted,
        tuple(sorted(set(paired.found.classes.tolist()) - set(ious))),
        float(paired.found.scores.min()) if len(paired.found.scores) else 0.0,
        least_score,
        _score_qualities(common, least_score),
        sigma_quality(match_boxes(paired, COMMON_IOU, least_score), correlations),
    )


def class_ious(paired: Paired) -> dict[str, float]:
    """Minimum IoU of each class: KITTI's for its three classes, 0.5 for all others."""
    names = tuple(KITTI_IOU) if paired.kitti else paired.classes
    return {name: KITTI_IOU.get(name, COMMON_IOU) for name in names}


def judge_class(paired: Paired, name: str, iou_threshold: float) -> Judged:
    """Which detections of a class count, and which of them are correct.

    By falling score, each detection takes the free object of its frame with the largest IoU, if that reaches the
    threshold.
    """
    found, objects = paired.found, paired.objects
    rows = found.of_class(name)
    boxes, frames, scores = found.boxes[rows], found.frames[rows], found.scores[rows]
    wanted = (objects.classes == name) & ~objects.ignored
    correct = take_greedily(boxes, frames, scores, objects.boxes[wanted], objects.frames[wanted], iou_threshold) >= 0
    regions = objects.ignored | (objects.categories == DONT_CARE)
    inside = covers_any(boxes, frames, objects.boxes[regions], objects.frames[regions], DONT_CARE_SHARE, by_iou=False)
    neighbours = (objects.classes == "") & ~regions
    on_neighbour = covers_any(
        boxes, frames, objects.boxes[neighbours], objects.frames[neighbours], iou_threshold, by_iou=True
    )
    counts = correct | ~(inside | on_neighbour)
    truths_per_frame = np.bincount(objects.frames[wanted], minlength=len(paired.names))
    return Judged(scores[counts], correct[counts], frames[counts], truths_per_frame, paired.names, int((~counts).sum()))


def match_boxes(paired: Paired, iou_threshold: float, least_score: float) -> MatchedBoxes:
    """Detections of at least a minimum score that match an object of their class, beside that object."""
    found = paired.found
    rows, targets = match_rows(paired, iou_threshold, least_score)
    return MatchedBoxes(
        found.boxes[rows],
        paired.objects.boxes[targets],
        None if found.sigmas is None else found.sigmas[rows],
        found.classes[rows],
        found.frames[rows],
    )


def match_rows(paired: Paired, iou_threshold: float, least_score: float) -> tuple[Indices, Indices]:
    """Like `match_boxes`: the rows of the detections, by frame, and those of their objects."""
    found, objects = paired.found, paired.objects
    parts = []
    for name in class_ious(paired):
        rows = found.of_class(name, least_score)
        wanted = np.flatnonzero((objects.classes == name) & ~objects.ignored)
        taken = take_greedily(
            found.boxes[rows],
            found.frames[rows],
            found.scores[rows],
            objects.boxes[wanted],
            objects.frames[wanted],
            iou_threshold,
        )
        parts.append((rows[taken >= 0], wanted[taken[taken >= 0]]))
    rows = np.concatenate([np.empty(0, np.intp), *(part[0] for part in parts)])
    targets = np.concatenate([np.empty(0, np.intp), *(part[1] for part in parts)])
    order = np.argsort(found.frames[rows], kind="stable")
    return rows[order], targets[order]


def _score_qualities(judged: Mapping[str, Judged], least_score: float) -> dict[str, ScoreQuality]:
    kept = {name: of.scores >= least_score for name, of in judged.items()}
    scores = {name: of.scores[kept[name]] for name, of in judged.items()}
    correct = {name: of.correct[kept[name]] for name, of in judged.items()}
    together = score_quality(
        np.concatenate([np.empty(0), *scores.values()]), np.concatenate([np.empty(0, bool), *correct.values()])
    )
    return {name: score_quality(scores[name], correct[name]) for name in judged} | {"all": together}


def _class_result(judged: Judged, name: str, iou_threshold: float) -> ClassResult:
    curve = judged.curve
    return ClassResult(
        name,
        iou_threshold,
        judged.truths,
        len(curve.scores),
        judged.ignored,
        all_point_ap(curve),
        eleven_point_ap(curve),
        forty_point_ap(curve),
    )
