"""The evaluation protocols, all with the same type of result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gaussian_yolo_node.evaluation import all_objects, bdd, coco, kitti
from gaussian_yolo_node.evaluation.all_objects import COMMON_IOU, KITTI_IOU, Judged
from gaussian_yolo_node.evaluation.average_precision import ALL, ClassCurve, PrecisionRecall, finite, mean_ap
from gaussian_yolo_node.evaluation.paired import Paired
from gaussian_yolo_node.labels.annotations import DatasetError

PROTOCOLS = ("all", "kitti", "bdd", "coco")
COUNT_SCORE = 0.5
HEADLINE_DIFFICULTY = "moderate"
_ANY_IOU = ("all", "bdd")
# Predictions whose lowest score is above this were cut off for use and lack the tail of the curve.
FULL_CURVE_SCORE = 0.05

DESCRIPTIONS = {
    "all": (
        "All-point interpolated AP over every labelled object, without difficulty levels, at KITTI's IoU (car 0.7, all "
        "others 0.5) and at 0.5. Detections on Van, Truck, Tram, Misc or Person_sitting (IoU as for the class), or "
        "with half or more in an ignored region such as DontCare, count neither way."
    ),
    "kitti": (
        "KITTI's development kit for 2-D boxes: easy, moderate and hard by height, occlusion and truncation; IoU above "
        "0.7 (car) and 0.5 (pedestrian, cyclist). The headline is moderate, at 40 recall points."
    ),
    "bdd": (
        "BDD100K's evaluation of 2018, which Gaussian YOLOv3 reports: all-point interpolated AP, boxes with their last "
        "pixel, IoU above 0.5, 0.7 and 0.75; the mean is over the classes of the ground truth at 0.75. Ignored regions "
        "are not known to it."
    ),
    "coco": (
        "COCO's AP by pycocotools: 101 recall points, the best 100 detections of a class in a frame, IoU 0.5, 0.75 and "
        "the mean over 0.5 .. 0.95. Ignored regions are crowds."
    ),
}


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and misses of a class at or above a score.

    Attributes:
        iou, difficulty: as in `ClassCurve`.
        tp, fp, fn: true positives, false positives, and objects without a match.
        precision, recall: 0..1; None if the denominator is 0.
    """

    name: str
    iou: float
    difficulty: str
    score: float
    tp: int
    fp: int
    fn: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, eq=False)
class ProtocolResult:
    """Result of a protocol.

    Attributes:
        curves: by class, IoU and difficulty.
        ap: class -> IoU ("0.5") -> the protocol's AP, 0..1; NaN without truths.
        map: mean over classes with truths, at the protocol's IoU; NaN without any.
    """

    protocol: str
    paired: Paired
    curves: tuple[ClassCurve, ...]
    ap: Mapping[str, Mapping[str, float]]
    map: float
    counts: tuple[Counts, ...]

    @property
    def description(self) -> str:
        """The rules, for readers."""
        return DESCRIPTIONS[self.protocol]

    @property
    def notes(self) -> tuple[str, ...]:
        """Caveats of the figures, one sentence each."""
        return tuple(_notes(self.paired))

    def to_dict(self) -> dict[str, Any]:
        """Everything except the points of the curves, for JSON; null for missing values."""
        return {
            "protocol": self.protocol,
            "description": self.description,
            "ap": {name: {iou: finite(value) for iou, value in of.items()} for name, of in self.ap.items()},
            "map": finite(self.map),
            "curves": [_curve_dict(curve) for curve in self.curves],
            "difficulties": self._difficulties(),
            "counts": [asdict(row) for row in self.counts],
            "frames": self.paired.frames,
            "notes": list(self.notes),
        }

    def _difficulties(self) -> dict[str, dict[str, dict[str, float | None]]]:
        """Class, and "mean" -> difficulty -> interpolation -> AP; empty if the protocol has one difficulty."""
        curves = [curve for curve in self.curves if curve.difficulty != ALL]
        table: dict[str, dict[str, dict[str, float | None]]] = {}
        for curve in curves:
            ways = {way: finite(value) for way, value in curve.interpolations.items()}
            table.setdefault(curve.name, {})[curve.difficulty] = ways
        for difficulty in dict.fromkeys(curve.difficulty for curve in curves):
            level = [curve.interpolations for curve in curves if curve.difficulty == difficulty]
            means = {way: finite(mean_ap(of[way] for of in level)) for way in level[0]}
            table.setdefault("mean", {})[difficulty] = means
        return table


def evaluate_pairs(
    protocol: str, paired: Paired, count_score: float = COUNT_SCORE, ious: Sequence[float] = ()
) -> ProtocolResult:
    """Evaluate detections by a protocol, one of `PROTOCOLS`; see `check_classes`, too.

    Args:
        count_score: minimum score of the detections in `counts`.
        ious: further IoU thresholds; "all" and "bdd" only. The mean stays at the protocol's own.

    Raises:
        DatasetError: the truth has no objects in these frames, or the protocol does not apply to it.
        ModuleNotFoundError: the protocol is "coco", and pycocotools is not installed.
    """
    if not paired.classes:
        raise DatasetError(
            "the ground truth has no objects that count in the frames that were predicted: there is nothing to measure"
        )
    if ious and protocol not in _ANY_IOU:
        raise DatasetError(f"the {protocol} protocol has IoUs of its own: only {' and '.join(_ANY_IOU)} take others")
    return ProtocolResult(protocol, paired, *_EVALUATORS[protocol](paired, count_score, ious))


def check_classes(paired: Paired) -> None:
    """Raise DatasetError if the data set knows none of the detected classes.

    All figures would be 0 because of a mismatch of names.
    """
    predicted = set(paired.detection_classes.tolist())
    if predicted and predicted.isdisjoint(paired.vocabulary):
        raise DatasetError(
            f"no predicted class is one of the ground truth: predicted are {', '.join(sorted(predicted))}, and the "
            f"ground truth has {', '.join(paired.vocabulary)}: give them the same names"
        )


_Evaluation = tuple[tuple[ClassCurve, ...], dict[str, dict[str, float]], float, tuple[Counts, ...]]


def _all(paired: Paired, count_score: float, ious: Sequence[float]) -> _Evaluation:
    own = all_objects.class_ious(paired)
    at = {name: list(dict.fromkeys((iou, COMMON_IOU, *ious))) for name, iou in own.items()}
    return _judged(paired, all_objects.judge_class, at, own, count_score)


def _bdd(paired: Paired, count_score: float, ious: Sequence[float]) -> _Evaluation:
    at = {name: list(dict.fromkeys((*ious, *bdd.BDD_IOUS))) for name in paired.classes}
    return _judged(paired, bdd.judge_class, at, dict.fromkeys(paired.classes, bdd.BDD_IOUS[-1]), count_score)


def _judged(
    paired: Paired,
    judge_class: Callable[[Paired, str, float], Judged],
    ious: Mapping[str, Sequence[float]],
    headline: Mapping[str, float],
    count_score: float,
) -> _Evaluation:
    """Result of a protocol without difficulties, from the verdict on every detection."""
    curves, counts = [], []
    ap: dict[str, dict[str, float]] = {}
    for name, thresholds in ious.items():
        for iou in thresholds:
            judged = judge_class(paired, name, iou)
            curves.append(judged.class_curve(name, iou))
            ap.setdefault(name, {})[f"{iou:g}"] = curves[-1].ap
            taken = judged.scores >= count_score
            tp = int(judged.correct[taken].sum())
            fp, fn = int(taken.sum()) - tp, judged.truths - tp
            counts.append(_counts(name, iou, ALL, count_score, tp, fp, fn))
    return tuple(curves), ap, mean_ap(ap[name][f"{iou:g}"] for name, iou in headline.items()), tuple(counts)


def _kitti(paired: Paired, count_score: float, _: Sequence[float]) -> _Evaluation:
    if not paired.kitti:
        raise DatasetError("the kitti protocol needs KITTI labels (types, truncation, occlusion): use all, bdd or coco")
    curves, counts = [], []
    ap: dict[str, dict[str, float]] = {}
    for name, iou in KITTI_IOU.items():
        detections = int((paired.detection_classes == name).sum())
        for difficulty in kitti.DIFFICULTIES:
            matching = kitti.Matching(paired, name, difficulty, iou)
            devkit = matching.curve()
            ways = {"eleven_point": devkit.eleven_point, "forty_point": devkit.forty_point}
            precision = devkit.precision[: len(devkit.thresholds)]
            sampled = PrecisionRecall(devkit.thresholds, precision, devkit.recall, devkit.truths)
            area = devkit.forty_point
            curves.append(ClassCurve(name, iou, difficulty, devkit.truths, detections, 0, area, ways, sampled))
            if difficulty == HEADLINE_DIFFICULTY:
                ap[name] = {f"{iou:g}": area}
            counts.append(_counts(name, iou, difficulty, count_score, *matching.counts_at(count_score)))
    return tuple(curves), ap, mean_ap(value for of in ap.values() for value in of.values()), tuple(counts)


def _coco(paired: Paired, count_score: float, _: Sequence[float]) -> _Evaluation:
    names = paired.classes
    evaluation = coco.coco_evaluation(paired, names)
    curves, counts = [], []
    ap: dict[str, dict[str, float]] = {}
    for place, name in enumerate(names):
        detections = int((paired.detection_classes == name).sum())
        truths = len(paired.objects_of(name))
        ap[name] = {"0.5:0.95": coco.average_precision(evaluation, place)}
        for iou in (0.5, 0.75):
            area = ap[name][f"{iou:g}"] = coco.average_precision(evaluation, place, iou)
            recall, precision = coco.precisions(evaluation, place, iou)
            curve = PrecisionRecall(np.full(len(recall), np.nan), precision, recall, truths)
            curves.append(ClassCurve(name, iou, ALL, truths, detections, 0, area, {"101_point": area}, curve))
            tp, fp = coco.counts_at(evaluation, place, iou, count_score)
            counts.append(_counts(name, iou, ALL, count_score, tp, fp, truths - tp))
    return tuple(curves), ap, mean_ap(of["0.5:0.95"] for of in ap.values()), tuple(counts)


_EVALUATORS = {"all": _all, "kitti": _kitti, "bdd": _bdd, "coco": _coco}


def _counts(name: str, iou: float, difficulty: str, score: float, tp: int, fp: int, fn: int) -> Counts:
    precision = tp / (tp + fp) if tp + fp else None
    return Counts(name, iou, difficulty, score, tp, fp, fn, precision, tp / (tp + fn) if tp + fn else None)


def _notes(paired: Paired) -> Iterable[str]:
    if paired.unlabelled:
        yield f"{len(paired.unlabelled)} predicted frames have no truth and are not counted: {_some(paired.unlabelled)}"
    if paired.unpredicted:
        number, shown = len(paired.unpredicted), _some(paired.unpredicted)
        yield f"{number} labelled frames have no predictions and are not counted: {shown}"
    if paired.unknown_classes:
        yield (
            f"predicted classes that no object of the ground truth has, not counted: "
            f"{', '.join(paired.unknown_classes)}; it has {', '.join(paired.classes)}"
        )
    if paired.lowest_score > FULL_CURVE_SCORE:
        yield (
            f"the lowest score is {paired.lowest_score:.3g}: what was cut off below it lowers the AP; to measure AP, "
            "detect with --score-threshold 0.005"
        )


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"


def _curve_dict(curve: ClassCurve) -> dict[str, Any]:
    plain = {name: getattr(curve, name) for name in ("iou", "difficulty", "truths", "detections", "ignored")}
    ways = {way: finite(value) for way, value in curve.interpolations.items()}
    return {"class": curve.name, **plain, "ap": finite(curve.ap), "interpolations": ways}
