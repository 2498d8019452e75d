"""Truths and detections of the frames that have both, as flat arrays over all frames: the input of the protocols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.matching import intersection_areas_of_pairs, overlaps_of_pairs
from gaussian_yolo_node.labels.annotations import LabelError
from gaussian_yolo_node.labels.classes import BDD_CATEGORIES, KITTI_CLASSES
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FramePredictions, FrameTruths, GroundTruth

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Frame = tuple[FrameTruths, FramePredictions]


@dataclass(frozen=True, eq=False)
class Objects:
    """Labelled objects of all frames, in frame order and then in the order of the labels.

    Attributes:
        frames: [M], frame index.
        boxes: [M, 4], x1 y1 x2 y2 in px.
        categories: M names as in the data set.
        classes: M names as detectors use them, "" for none.
        ignored: [M], regions that count neither way.
        truncation, occlusion: [M], see `FrameTruths`.
        cuboids: [M, 7], see `Annotation.cuboid`; NaN for objects without one.
    """

    frames: Indices
    boxes: Floats
    categories: NDArray[np.str_]
    classes: NDArray[np.str_]
    ignored: Mask
    truncation: Floats
    occlusion: Indices
    cuboids: Floats


@dataclass(frozen=True, eq=False)
class Found:
    """Detections of all frames, in frame order and then in the order of the predictions.

    Attributes:
        frames: [N], frame index.
        boxes: [N, 4], x1 y1 x2 y2 in px.
        scores: [N].
        classes: N names.
        sigmas: [N, 4], of centre x, centre y, width, height in px; None if unknown.
        places: [N], breaks ties: of equal scores, the smaller place counts first.
    """

    frames: Indices
    boxes: Floats
    scores: Floats
    classes: NDArray[np.str_]
    sigmas: Floats | None
    places: Indices

    def of_class(self, name: str, least_score: float = -np.inf) -> Indices:
        """Rows of a class, by falling score."""
        rows = np.flatnonzero((self.classes == name) & (self.scores >= least_score))
        return rows[np.lexsort((self.places[rows], -self.scores[rows]))]


@dataclass(frozen=True, eq=False)
class Paired:
    """The frames that have both truth and a prediction record.

    Attributes:
        names: frame names as in the ground truth.
        objects, found: the truths and detections of these frames.
        unlabelled: frames of prediction records without truth; not counted.
        unpredicted: frames of the truth without a prediction record.
        kitti: whether the categories are KITTI's types.
        vocabulary: classes of the data set, with or without objects in these frames; sorted.
    """

    names: tuple[str, ...]
    objects: Objects
    found: Found
    unlabelled: tuple[str, ...]
    unpredicted: tuple[str, ...]
    kitti: bool
    vocabulary: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the truths that count, sorted."""
        return tuple(sorted(set(self.objects.classes[~self.objects.ignored].tolist()) - {""}))

    @property
    def unknown_classes(self) -> tuple[str, ...]:
        """Classes of detections that no truth has, sorted."""
        return tuple(sorted(set(self.found.classes.tolist()) - set(self.objects.classes.tolist())))


def pair(truths: GroundTruth, predictions: Sequence[FramePredictions]) -> Paired:
    """Pair truths with predictions.

    A list of objects does not name frames without objects, so predicted frames that it lacks count as empty frames.

    Raises:
        LabelError: no frame has both, or two records belong to one frame.
    """
    pairs, unlabelled = pair_frames(truths.frames, predictions)
    unpredicted = tuple(name for name in truths.frames if name not in pairs)
    if truths.kind == "list":
        named = {str(record.frame): record for record in predictions}
        pairs |= {name: (FrameTruths.of(name, [], []), named[name]) for name in unlabelled}
        unlabelled = []
    labels, records = [pair[0] for pair in pairs.values()], [pair[1] for pair in pairs.values()]
    categories = _joined([frame.classes for frame in labels], np.str_)
    objects = Objects(
        _frame_numbers(frame.boxes for frame in labels),
        _joined([frame.boxes for frame in labels], np.float64, 4),
        categories,
        _renamed(categories, truths),
        _joined([frame.ignored for frame in labels], np.bool_),
        _joined([frame.truncation for frame in labels], np.float64),
        _joined([frame.occlusion for frame in labels], np.intp),
        _joined([_cuboids(frame) for frame in labels], np.float64, 7),
    )
    sigmas = [record.sigmas for record in records if record.sigmas is not None]
    found = Found(
        _frame_numbers(record.boxes for record in records),
        _joined([record.boxes for record in records], np.float64, 4),
        _joined([record.scores for record in records], np.float64),
        _joined([record.classes for record in records], np.str_),
        _joined(sigmas, np.float64, 4) if len(sigmas) == len(records) else None,
        _places(records),
    )
    return Paired(
        tuple(pairs), objects, found, tuple(unlabelled), unpredicted, truths.is_kitti, _vocabulary(truths, objects)
    )


def pair_frames(
    labels: Mapping[str, FrameTruths], predictions: Sequence[FramePredictions]
) -> tuple[dict[str, Frame], list[str]]:
    """The frames that have both labels and a prediction record, by label name, and the names of the other records.

    "000012.png" and 12 belong to the labels "000012". A record without a name belongs to the frame of its stamp.

    Raises:
        LabelError: no frame has both, or two records belong to one frame.
    """
    names = {Path(name).stem: name for name in labels} | {name: name for name in labels}
    stamps: dict[int | None, str] = {
        frame.stamp_ns: name for name, frame in labels.items() if frame.stamp_ns is not None
    }
    pairs: dict[str, Frame] = {}
    unlabelled = []
    for record in predictions:
        name = next((names[key] for key in _keys(record.frame) if key in names), stamps.get(record.stamp_ns))
        if name is None:
            unlabelled.append(str(record.frame))
        elif name in pairs:
            raise LabelError(f"the predictions have two records for the labels {name}: one a frame is wanted")
        else:
            pairs[name] = labels[name], record
    if not pairs:
        raise LabelError(_nothing_matches(labels, predictions))
    return pairs, unlabelled


def candidates(first: Indices, second: Indices) -> tuple[Indices, Indices]:
    """All pairs of rows from two arrays that belong to the same frame: [P] and [P], ordered by first row, then second
    row.

    Args:
        first, second: frame of each row; `second` must not fall.
    """
    starts, ends = np.searchsorted(second, first, "left"), np.searchsorted(second, first, "right")
    counts = ends - starts
    rows = np.repeat(np.arange(len(first)), counts)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.repeat(starts, counts) + offsets


def take_greedily(
    boxes: Floats, frames: Indices, scores: Floats, truth_boxes: Floats, truth_frames: Indices, threshold: float
) -> Indices:
    """Match greedily: by falling score, each detection takes the free object of its frame with the largest IoU.

    The IoU must reach the threshold. Of equal scores or overlaps, the first is taken.

    Args:
        boxes, frames, scores: [N, 4], [N], [N].
        truth_boxes, truth_frames: [M, 4], [M]; frames must not fall.

    Returns:
        [N], index of the matched object, -1 for none.
    """
    taken = np.full(len(boxes), -1, np.intp)
    rows, objects = candidates(frames, truth_frames)
    iou = overlaps_of_pairs(boxes[rows], truth_boxes[objects])
    near = iou >= threshold
    rows, objects, iou = rows[near], objects[near], iou[near]
    free = np.ones(len(truth_boxes), bool)
    # Few pairs reach the threshold, so a Python loop is fast enough.
    for pair in np.lexsort((objects, -iou, rows, -scores[rows])).tolist():
        row, target = rows[pair], objects[pair]
        if taken[row] < 0 and free[target]:
            taken[row] = target
            free[target] = False
    return taken


def covers_any(
    boxes: Floats, frames: Indices, region_boxes: Floats, region_frames: Indices, least: float, *, by_iou: bool
) -> Mask:
    """[N], whether a detection covers a region of its frame.

    Args:
        region_boxes, region_frames: [M, 4], [M]; frames must not fall.
        least: minimum IoU with the region, or minimum share of the detection's area inside it.
    """
    covered = np.zeros(len(boxes), bool)
    rows, regions = candidates(frames, region_frames)
    if by_iou:
        hit = overlaps_of_pairs(boxes[rows], region_boxes[regions]) >= least
    else:
        shared = intersection_areas_of_pairs(boxes[rows], region_boxes[regions])
        sides = boxes[rows, 2:] - boxes[rows, :2]
        hit = (shared > 0) & (shared >= least * sides[:, 0] * sides[:, 1])
    covered[rows[hit]] = True
    return covered


def _keys(frame: str | int) -> tuple[str, ...]:
    """Names that the labels of a frame may have."""
    if isinstance(frame, int):
        return f"{frame:06d}", str(frame)
    return frame, Path(frame).stem


def _nothing_matches(labels: Mapping[str, FrameTruths], predictions: Sequence[FramePredictions]) -> str:
    if not predictions:
        return "the predictions have no frames"
    return (
        f"no frame of the predictions has a label file: they name frames such as {predictions[0].frame}, "
        f"and the labels are for frames such as {next(iter(labels), 'none')}"
    )


def _renamed(categories: NDArray[np.str_], truths: GroundTruth) -> NDArray[np.str_]:
    if not len(categories):
        return categories
    names, which = np.unique(categories, return_inverse=True)
    # DontCare is not a class, whatever the data set's mapping says.
    return np.array(["" if name == DONT_CARE else truths.class_of(str(name)) for name in names], np.str_)[which.ravel()]


def _vocabulary(truths: GroundTruth, objects: Objects) -> tuple[str, ...]:
    if truths.is_kitti:
        return tuple(sorted(KITTI_CLASSES.values()))
    known = {*objects.classes.tolist(), *truths.category_ids.values()} - {""}
    # A few frames of BDD may lack some of its classes.
    return tuple(sorted(known | (set() if known.isdisjoint(BDD_CATEGORIES) else set(BDD_CATEGORIES))))


def _cuboids(frame: FrameTruths) -> Floats:
    return np.full((len(frame.boxes), 7), np.nan) if frame.cuboids is None else frame.cuboids


def _places(records: Sequence[FramePredictions]) -> Indices:
    known = [record.places for record in records if record.places is not None]
    if len(known) == len(records):
        return _joined(known, np.intp)
    return np.arange(sum(len(record.boxes) for record in records))


def _frame_numbers(boxes: Iterable[Floats]) -> Indices:
    counts = [len(each) for each in boxes]
    return np.repeat(np.arange(len(counts)), counts)


def _joined(arrays: Sequence[NDArray[Any]], kind: type, width: int = 0) -> NDArray[Any]:
    empty: NDArray[Any] = np.empty((0, width) if width else 0, kind)
    return np.concatenate([empty, *arrays])
