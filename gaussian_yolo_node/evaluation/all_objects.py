"""Average precision over every labelled object, for the classes of Gaussian YOLOv3: the figures on the models' pages.

As in KITTI's devkit (Geiger et al., CVPR 2012), neighbouring classes and DontCare regions count neither way. Unlike the
devkit, Van, Truck, Tram, Misc and Person_sitting are neighbours of every class, and there are no difficulty levels;
`kitti` has those. For data sets other than KITTI, all classes count, and ignored regions are treated as DontCare.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation import LEAST_SCORE
from gaussian_yolo_node.evaluation.average_precision import ClassCurve, PrecisionRecall, finite, mean_ap
from gaussian_yolo_node.evaluation.matching import MatchedBoxes
from gaussian_yolo_node.evaluation.paired import Indices, Paired, covers_any, match_greedily
from gaussian_yolo_node.evaluation.reliability import ScoreQuality, score_quality
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality, rank_correlation, sigma_quality
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE

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
        rows: [N], index among all detections.
        scores: [N].
        matches: [N], index of the matched object, -1 for a false positive.
        frames: [N], frame index.
        truths_per_frame: [F], objects of the class in each frame.
        ignored: number of detections on ignored regions, which do not count.
    """

    rows: Indices
    scores: NDArray[np.float64]
    matches: Indices
    frames: Indices
    truths_per_frame: Indices
    ignored: int

    @classmethod
    def of(cls, paired: Paired, name: str, rows: Indices, matches: Indices, ignored: int = 0) -> Judged:
        """The verdict on the detections `rows` of the class `name`."""
        scores, frames = paired.detections.scores[rows], paired.detection_frames[rows]
        return cls(rows, scores, matches, frames, paired.objects_per_frame(name), ignored)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[N], whether a detection matches an object."""
        return self.matches >= 0

    @property
    def truths(self) -> int:
        """Objects of the class in all frames."""
        return int(self.truths_per_frame.sum())

    @property
    def curve(self) -> PrecisionRecall:
        return PrecisionRecall.of(self.scores, self.correct, self.truths)

    def class_curve(self, name: str, iou: float) -> ClassCurve:
        """The curve with its average precisions, for the class and IoU that were judged."""
        return ClassCurve.of(name, iou, self.curve, self.ignored)


@dataclass(frozen=True)
class AllObjectsResult:
    """Result of an evaluation.

    Attributes:
        at_kitti_iou: one curve per class, at KITTI's IoU threshold for the class.
        at_common_iou: one curve per class, at IoU 0.5.
        least_score: minimum score of the detections that `scores` and `sigma` cover.
        scores: calibration of the scores at IoU 0.5 (score against share of correct detections), by class and "all".
        sigma: calibration of the standard deviations; None if the predictions have none.
    """

    paired: Paired
    at_kitti_iou: tuple[ClassCurve, ...]
    at_common_iou: tuple[ClassCurve, ...]
    least_score: float
    scores: Mapping[str, ScoreQuality]
    sigma: SigmaQuality | None

    @property
    def unknown_classes(self) -> tuple[str, ...]:
        """Predicted classes that are not evaluated."""
        return tuple(sorted(set(self.paired.detection_classes.tolist()) - {row.name for row in self.at_common_iou}))

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; AP in 0..1, null without truths."""
        return {
            "classes": [
                {
                    "class": row.name,
                    **{name: getattr(row, name) for name in ("iou", "truths", "detections", "ignored")},
                    "ap": {way: finite(value) for way, value in row.interpolations.items()},
                }
                for row in (*self.at_kitti_iou, *self.at_common_iou)
            ],
            "mean_ap": {
                "kitti_iou": finite(mean_ap(row.ap for row in self.at_kitti_iou)),
                "iou_0.5": finite(mean_ap(row.ap for row in self.at_common_iou)),
            },
            "frames": self.paired.frames,
            "unknown_classes": list(self.unknown_classes),
            "least_score": self.least_score,
            "scores": {name: asdict(quality) for name, quality in self.scores.items()},
            "sigma": asdict(self.sigma) if self.sigma else None,
        }


def evaluate(paired: Paired, least_score: float = LEAST_SCORE) -> AllObjectsResult:
    """Evaluate all classes.

    Args:
        least_score: minimum score of the detections whose scores and sigmas are judged; AP uses all detections.
    """
    ious = class_ious(paired)
    common = {name: judge_class(paired, name, COMMON_IOU) for name in ious}
    matched, loose = (match_boxes(paired, iou, least_score) for iou in (COMMON_IOU, LOOSE_IOU))
    return AllObjectsResult(
        paired,
        tuple(judge_class(paired, name, iou).class_curve(name, iou) for name, iou in ious.items()),
        tuple(judged.class_curve(name, COMMON_IOU) for name, judged in common.items()),
        least_score,
        _score_qualities(common, least_score),
        ranked_sigma_quality(matched, loose),
    )


def ranked_sigma_quality(matched: MatchedBoxes, loose: MatchedBoxes) -> SigmaQuality | None:
    """`sigma_quality` of boxes matched at `COMMON_IOU`, with the rank correlations there and at `LOOSE_IOU`."""
    return sigma_quality(matched, (rank_correlation(matched, COMMON_IOU), rank_correlation(loose, LOOSE_IOU)))


def class_ious(paired: Paired) -> dict[str, float]:
    """Minimum IoU of each class: KITTI's for its three classes, 0.5 for all others."""
    names = tuple(KITTI_IOU) if paired.kitti else paired.classes
    return {name: KITTI_IOU.get(name, COMMON_IOU) for name in names}


def judge_class(paired: Paired, name: str, least_iou: float) -> Judged:
    """Which detections of a class count, and which of them are correct, see `match_greedily`."""
    rows = paired.detections_of(name)
    matches = match_greedily(paired, rows, paired.objects_of(name), least_iou)
    regions = paired.truths.ignored | (paired.truths.categories == DONT_CARE)
    neighbours = (paired.truth_classes == "") & ~regions
    inside = covers_any(paired, rows, np.flatnonzero(regions), DONT_CARE_SHARE, by_iou=False)
    on_neighbour = covers_any(paired, rows, np.flatnonzero(neighbours), least_iou, by_iou=True)
    counts = (matches >= 0) | ~(inside | on_neighbour)
    return Judged.of(paired, name, rows[counts], matches[counts], int((~counts).sum()))


def scores_and_correct(
    judged: Iterable[Judged], least_score: float = -math.inf
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Scores from `least_score` of the detections of several classes, and which of them are correct."""
    scores, correct = [np.empty(0)], [np.empty(0, bool)]
    for of in judged:
        scores.append(of.scores)
        correct.append(of.correct)
    together = np.concatenate(scores)
    return together[together >= least_score], np.concatenate(correct)[together >= least_score]


def match_boxes(paired: Paired, least_iou: float, least_score: float) -> MatchedBoxes:
    """Detections of at least a minimum score that match an object of their class, beside that object."""
    rows, objects = match_rows(paired, least_iou, least_score)
    return MatchedBoxes(
        paired.detections.boxes[rows],
        paired.truths.boxes[objects],
        paired.detections.sigmas[rows] if paired.has_sigmas else None,
        paired.detection_classes[rows],
        paired.detection_frames[rows],
    )


def match_rows(paired: Paired, least_iou: float, least_score: float) -> tuple[Indices, Indices]:
    """Like `match_boxes`: indices of the detections, by frame, and of their objects."""
    rows, objects = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    for name in class_ious(paired):
        of_class = paired.detections_of(name)
        of_class = of_class[paired.detections.scores[of_class] >= least_score]
        matches = match_greedily(paired, of_class, paired.objects_of(name), least_iou)
        rows.append(of_class[matches >= 0])
        objects.append(matches[matches >= 0])
    row, match = np.concatenate(rows), np.concatenate(objects)
    order = np.argsort(paired.detection_frames[row], kind="stable")
    return row[order], match[order]


def _score_qualities(judged: Mapping[str, Judged], least_score: float) -> dict[str, ScoreQuality]:
    groups = {name: [of] for name, of in judged.items()} | {"all": [*judged.values()]}
    return {name: score_quality(*scores_and_correct(of, least_score)) for name, of in groups.items()}
