"""Average precision against KITTI labels (Geiger et al., CVPR 2012), for the classes of Gaussian YOLOv3.

As in KITTI's devkit, neighbouring classes and DontCare regions count neither way; unlike there, all of Van, Truck,
Tram, Misc and Person_sitting are such neighbours of all classes, and there are no difficulty levels: every
labelled object counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.datasets.classes import KITTI_CLASSES
from gaussian_yolo_node.evaluation import LEAST_SCORE, LabelError
from gaussian_yolo_node.evaluation.average_precision import (
    PrecisionRecall,
    all_point_ap,
    eleven_point_ap,
    forty_point_ap,
)
from gaussian_yolo_node.evaluation.matching import (
    MatchedBoxes,
    box_areas,
    intersection_areas,
    match_greedily,
    overlaps,
)
from gaussian_yolo_node.evaluation.predictions import FramePredictions
from gaussian_yolo_node.evaluation.reliability import ScoreQuality, score_quality
from gaussian_yolo_node.evaluation.uncertainty import SigmaQuality, rank_correlation, sigma_quality

NEIGHBOURS = ("Van", "Truck", "Tram", "Misc", "Person_sitting")
DONT_CARE = "DontCare"
KITTI_IOU = {"car": 0.7, "pedestrian": 0.5, "cyclist": 0.5}
COMMON_IOU = 0.5
# Boxes that hardly overlap their object, among which a sigma must tell the good from the bad.
LOOSE_IOU = 0.1
# Share of a detection's own area that must lie in a DontCare region for it not to count.
DONT_CARE_SHARE = 0.5

_FIELDS = 15  # type truncated occluded alpha x1 y1 x2 y2 h w l x y z ry; 16 with a score


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """Labels of one frame.

    Attributes:
        boxes: float64 [N, 4], x1 y1 x2 y2 in px.
        types: N KITTI types ("Car", "DontCare", ...).
    """

    boxes: NDArray[np.float64]
    types: NDArray[np.str_]


Frame = tuple[FrameLabels, FramePredictions]


@dataclass(frozen=True)
class ClassResult:
    """How well one class is detected at one IoU.

    Attributes:
        name: the class.
        iou: least IoU of a detection with its object.
        truths: labelled objects.
        detections: detections that count.
        ignored: detections on ignore regions, which do not.
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
    """What an evaluation found.

    Attributes:
        at_kitti_iou: a result a class at KITTI's IoU for it.
        at_common_iou: the same, all at IoU 0.5.
        matched: stems of the label files that a prediction record belongs to; these are evaluated.
        unlabelled: frames of prediction records without a label file; not counted.
        unpredicted: stems of label files without a prediction record; not counted.
        unknown_classes: classes among the counted predictions that KITTI has not; not counted.
        lowest_score: of the counted predictions; 0 without any.
        least_score: of the detections that `scores` and `sigma` are about.
        scores: whether scores are the share of detections that is right at IoU 0.5, by class and "all".
        sigma: how honest the standard deviations are; None where the predictions have none.
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
    labels: Mapping[str, FrameLabels], predictions: Sequence[FramePredictions], least_score: float = LEAST_SCORE
) -> KittiResult:
    """Evaluate the frames that have both labels and a prediction record.

    Args:
        labels: by stem of the label file.
        predictions: a record a frame; "000012.png" and 12 belong to the labels "000012".
        least_score: of the detections whose scores and sigmas are judged; AP counts all.

    Raises:
        LabelError: no frame has both, or two records belong to one label file.
    """
    pairs, unlabelled = pair_frames(labels, predictions)
    frames = list(pairs.values())
    seen = {str(name) for _, record in frames for name in record.classes}
    correlations = tuple(
        rank_correlation(match_frames(frames, iou, least_score), iou) for iou in (COMMON_IOU, LOOSE_IOU)
    )
    return KittiResult(
        tuple(_evaluate_class(frames, name, iou) for name, iou in KITTI_IOU.items()),
        tuple(_evaluate_class(frames, name, COMMON_IOU) for name in KITTI_IOU),
        tuple(pairs),
        tuple(unlabelled),
        tuple(stem for stem in labels if stem not in pairs),
        tuple(sorted(seen - set(KITTI_IOU))),
        min((float(record.scores.min()) for _, record in frames if len(record.scores)), default=0.0),
        least_score,
        _score_qualities(frames, least_score),
        sigma_quality(match_frames(frames, COMMON_IOU, least_score), correlations),
    )


def pair_frames(
    labels: Mapping[str, FrameLabels], predictions: Sequence[FramePredictions]
) -> tuple[dict[str, Frame], list[str]]:
    """The frames that have both labels and a prediction record, by stem of the label file, and the names of the others.

    Raises:
        LabelError: no frame has both, or two records belong to one label file.
    """
    pairs: dict[str, Frame] = {}
    unlabelled = []
    for record in predictions:
        stem = next((stem for stem in _stems(record.frame) if stem in labels), None)
        if stem is None:
            unlabelled.append(str(record.frame))
        elif stem in pairs:
            raise LabelError(f"the predictions have two records for the labels {stem}: one a frame is wanted")
        else:
            pairs[stem] = labels[stem], record
    if not pairs:
        raise LabelError(_nothing_matches(labels, predictions))
    return pairs, unlabelled


def match_frames(frames: Sequence[Frame], iou_threshold: float, least_score: float) -> MatchedBoxes:
    """Detections that found an object of their class, beside it."""
    boxes: list[NDArray[np.float64]] = [np.empty((0, 4))]
    truths: list[NDArray[np.float64]] = [np.empty((0, 4))]
    sigmas: list[NDArray[np.float64]] = [np.empty((0, 4))]
    names: list[str] = []
    numbers: list[int] = []
    for number, (labels, record) in enumerate(frames):
        for kitti_type, name in KITTI_CLASSES.items():
            rows = _by_falling_score(record, name)
            rows = rows[record.scores[rows] >= least_score]
            truth_boxes = labels.boxes[labels.types == kitti_type]
            taken = match_greedily(overlaps(record.boxes[rows], truth_boxes), iou_threshold)
            rows, taken = rows[taken >= 0], taken[taken >= 0]
            boxes.append(record.boxes[rows])
            truths.append(truth_boxes[taken])
            sigmas.append(np.empty((0, 4)) if record.sigmas is None else record.sigmas[rows])
            names += [name] * len(rows)
            numbers += [number] * len(rows)
    known = all(record.sigmas is not None for _, record in frames)
    return MatchedBoxes(
        np.concatenate(boxes),
        np.concatenate(truths),
        np.concatenate(sigmas) if known else None,
        np.array(names, np.str_),
        np.array(numbers, np.intp),
    )


def _score_qualities(frames: Sequence[Frame], least_score: float) -> dict[str, ScoreQuality]:
    judged = {name: _judge_class(frames, name, COMMON_IOU) for name in KITTI_IOU}
    scores = {name: scores[scores >= least_score] for name, (scores, _, _) in judged.items()}
    correct = {name: correct[scores >= least_score] for name, (scores, correct, _) in judged.items()}
    together = score_quality(np.concatenate(list(scores.values())), np.concatenate(list(correct.values())))
    return {name: score_quality(scores[name], correct[name]) for name in judged} | {"all": together}


def _evaluate_class(frames: Sequence[Frame], name: str, iou_threshold: float) -> ClassResult:
    scores, correct, ignored = _judge_class(frames, name, iou_threshold)
    truths = sum(int((labels.types == _kitti_type(name)).sum()) for labels, _ in frames)
    curve = PrecisionRecall.of(scores, correct, truths)
    return ClassResult(
        name,
        iou_threshold,
        truths,
        len(curve.scores),
        ignored,
        all_point_ap(curve),
        eleven_point_ap(curve),
        forty_point_ap(curve),
    )


def _judge_class(
    frames: Sequence[Frame], name: str, iou_threshold: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], int]:
    """Scores [N] of the detections that count, whether each is right, and how many do not count."""
    scores: list[NDArray[np.float64]] = [np.empty(0)]
    correct: list[NDArray[np.bool_]] = [np.empty(0, bool)]
    ignored = 0
    for labels, record in frames:
        of_class = _by_falling_score(record, name)
        boxes = record.boxes[of_class]
        truth_boxes = labels.boxes[labels.types == _kitti_type(name)]
        found = match_greedily(overlaps(boxes, truth_boxes), iou_threshold) >= 0
        counts = found | ~_on_ignore_region(boxes, labels, iou_threshold)
        ignored += int((~counts).sum())
        scores.append(record.scores[of_class][counts])
        correct.append(found[counts])
    return np.concatenate(scores), np.concatenate(correct), ignored


def _by_falling_score(record: FramePredictions, name: str) -> NDArray[np.intp]:
    """Rows of the detections of a class; of equal scores the first is first."""
    rows = np.flatnonzero(record.classes == name)
    return rows[np.argsort(-record.scores[rows], kind="stable")]


def _kitti_type(name: str) -> str:
    return next(kind for kind, class_name in KITTI_CLASSES.items() if class_name == name)


def _on_ignore_region(boxes: NDArray[np.float64], labels: FrameLabels, iou_threshold: float) -> NDArray[np.bool_]:
    """[N], whether a detection covers an object of a neighbouring class or lies in a DontCare region."""
    neighbours = labels.boxes[np.isin(labels.types, NEIGHBOURS)]
    regions = labels.boxes[labels.types == DONT_CARE]
    shared = intersection_areas(boxes, regions)
    inside = (shared > 0) & (shared >= DONT_CARE_SHARE * box_areas(boxes)[:, None])
    on_neighbour = overlaps(boxes, neighbours) >= iou_threshold
    return np.asarray(np.concatenate([inside, on_neighbour], axis=1).any(axis=1))


def read_labels(folder: Path) -> dict[str, FrameLabels]:
    """Read all label files of a folder, by stem.

    Raises:
        LabelError: there is no such folder, it has no label files, or one of them is malformed.
    """
    if not folder.is_dir():
        raise LabelError(f"label folder {folder} does not exist")
    paths = sorted(folder.glob("*.txt"))
    if not paths:
        raise LabelError(f"label folder {folder} has no KITTI label files (*.txt)")
    return {path.stem: read_label_file(path) for path in paths}


def read_label_file(path: Path) -> FrameLabels:
    """Read one label file; an empty one is a frame without objects.

    Raises:
        LabelError: it cannot be read, or a line is malformed; names file and line.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as error:
        raise LabelError(f"label file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LabelError(f"label file {path} is not text") from error
    boxes, types = [], []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            kind, box = _label(line.split())
        except ValueError as error:
            raise LabelError(f"label file {path}, line {number}: {error}") from error
        types.append(kind)
        boxes.append(box)
    return FrameLabels(np.array(boxes, np.float64).reshape(-1, 4), np.array(types, np.str_))


def _label(fields: list[str]) -> tuple[str, list[float]]:
    if len(fields) not in (_FIELDS, _FIELDS + 1):
        raise ValueError(f"it has {len(fields)} fields, and a KITTI label has {_FIELDS}")
    kind = fields[0]
    if kind not in (*KITTI_CLASSES, *NEIGHBOURS, DONT_CARE):
        raise ValueError(f"'{kind}' is not a KITTI type")
    try:
        x1, y1, x2, y2 = box = [float(field) for field in fields[4:8]]
    except ValueError:
        raise ValueError(f"its box is not four numbers: {' '.join(fields[4:8])}") from None
    if not (all(map(math.isfinite, box)) and x1 <= x2 and y1 <= y2):
        raise ValueError(f"its box is not x1 <= x2, y1 <= y2: {' '.join(fields[4:8])}")
    return kind, box


def _stems(frame: str | int) -> tuple[str, ...]:
    """The names that the label file of a frame may have."""
    if isinstance(frame, int):
        return f"{frame:06d}", str(frame)
    return frame, Path(frame).stem


def _nothing_matches(labels: Mapping[str, FrameLabels], predictions: Sequence[FramePredictions]) -> str:
    if not predictions:
        return "the predictions have no frames"
    return (
        f"no frame of the predictions has a label file: they name frames such as {predictions[0].frame}, "
        f"and the labels are for frames such as {next(iter(labels), 'none')}"
    )
