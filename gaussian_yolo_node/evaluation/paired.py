"""Truths and detections of the frames that have both, concatenated over all frames: the input of the protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.evaluation.matching import box_areas, intersection_areas, overlaps
from gaussian_yolo_node.file_names import AmbiguousNameError, FrameNames
from gaussian_yolo_node.labels.annotations import DatasetError
from gaussian_yolo_node.labels.classes import BDD_CATEGORIES, KITTI_CLASSES, common_names
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE, FramePredictions, FrameTruths, GroundTruth, Truths

Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]
Names = NDArray[np.str_]


@dataclass(frozen=True, eq=False)
class Paired:
    """The frames that have both truth and a prediction record, with all their objects and detections.

    Objects and detections are in frame order; within a frame they are in the order of the labels or the predictions.

    Attributes:
        names: frame names as in the ground truth.
        truths: M objects.
        truth_frames: [M], frame index of each object.
        truth_classes: M class names as detectors use them, "" for none.
        detections: N detections, float64.
        detection_frames: [N], frame index of each detection.
        detection_classes: N class names.
        places: [N], breaks ties: of equal scores, the smaller place counts first.
        has_sigmas: False if the standard deviations of any frame are unknown.
        unlabelled: frames of prediction records without truth; not counted.
        unpredicted: frames of the truth without a prediction record.
        kitti: whether the categories are KITTI's types.
        vocabulary: classes of the data set, with or without objects in these frames; sorted.
    """

    names: tuple[str, ...]
    truths: Truths
    truth_frames: Indices
    truth_classes: Names
    detections: Detections
    detection_frames: Indices
    detection_classes: Names
    places: Indices
    has_sigmas: bool
    unlabelled: tuple[str, ...]
    unpredicted: tuple[str, ...]
    kitti: bool
    vocabulary: tuple[str, ...]

    @property
    def frames(self) -> dict[str, list[str]]:
        """Which frames are counted, for JSON."""
        groups = {"matched": self.names, "unlabelled": self.unlabelled, "unpredicted": self.unpredicted}
        return {name: list(frames) for name, frames in groups.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the truths that count, sorted."""
        return tuple(sorted(set(self.truth_classes[~self.truths.ignored].tolist()) - {""}))

    @property
    def unknown_classes(self) -> tuple[str, ...]:
        """Classes of detections that no truth has, sorted."""
        return tuple(sorted(set(self.detection_classes.tolist()) - set(self.truth_classes.tolist())))

    @property
    def lowest_score(self) -> float:
        """Of all detections; 0 without any."""
        return float(self.detections.scores.min()) if len(self.detections) else 0.0

    def detections_of(self, name: str) -> Indices:
        """Indices of the detections of a class, by falling score."""
        rows = np.flatnonzero(self.detection_classes == name)
        return rows[np.lexsort((self.places[rows], -self.detections.scores[rows]))]

    def objects_of(self, name: str) -> Indices:
        """Indices of the objects of a class that count."""
        return np.flatnonzero((self.truth_classes == name) & ~self.truths.ignored)

    def objects_per_frame(self, name: str) -> Indices:
        """[F], number of objects of a class that count, in each frame."""
        return np.bincount(self.truth_frames[self.objects_of(name)], minlength=len(self.names))


def pair(truths: GroundTruth, predictions: Sequence[FramePredictions]) -> Paired:
    """Pair truths with predictions.

    A list of objects does not name frames without objects, so predicted frames that it lacks count as empty frames.

    Raises:
        DatasetError: no frame has both, or two records belong to one frame.
    """
    pairs, unlabelled = pair_frames(truths.frames, predictions)
    unpredicted = tuple(name for name in truths.frames if name not in pairs)
    if truths.kind == "list":
        named = {str(record.frame): record for record in predictions}
        pairs |= {name: (FrameTruths(name, Truths.of([], [])), named[name]) for name in unlabelled}
        unlabelled = []
    labels, records = [labels for labels, _ in pairs.values()], [record for _, record in pairs.values()]
    objects = Truths.concatenate(frame.truths for frame in labels)
    detections = Detections.concatenate(record.detections for record in records)
    # DontCare is not a class, whatever the data set's mapping says.
    truth_classes = _renamed(objects.categories, lambda name: "" if name == DONT_CARE else truths.class_of(name))
    vocabulary = _vocabulary(truths, truth_classes)
    predicted = np.concatenate([np.empty(0, np.str_), *(record.class_names for record in records)])
    common = common_names(vocabulary, set(predicted.tolist()))
    places = [record.places for record in records if record.places is not None]
    return Paired(
        tuple(pairs),
        objects,
        _frame_indices([frame.truths for frame in labels]),
        _renamed(truth_classes, lambda name: common.get(name, name)),
        detections,
        _frame_indices([record.detections for record in records]),
        _renamed(predicted, lambda name: common.get(name, name)),
        np.concatenate(places) if len(places) == len(records) else np.arange(len(detections)),
        all(record.has_sigmas for record in records),
        tuple(unlabelled),
        unpredicted,
        truths.is_kitti,
        tuple(sorted({common.get(name, name) for name in vocabulary})),
    )


def pair_frames(
    labels: Mapping[str, FrameTruths], predictions: Sequence[FramePredictions]
) -> tuple[dict[str, tuple[FrameTruths, FramePredictions]], list[str]]:
    """The frames that have both labels and a prediction record, by label name, and the names of the other records.

    "000012.png" and 12 belong to the labels "000012"; see `FrameNames`. A record without a name belongs to
    the frame of its stamp.

    Raises:
        DatasetError: no frame has both, or two records belong to one frame.
    """
    names = FrameNames(labels)
    stamps: dict[int | None, str] = {of.stamp_ns: name for name, of in labels.items() if of.stamp_ns is not None}
    pairs: dict[str, tuple[FrameTruths, FramePredictions]] = {}
    unlabelled = []
    for record in predictions:
        frame = record.frame
        try:
            # Names that the labels of a numbered frame may have.
            keys = (f"{frame:06d}", str(frame)) if isinstance(frame, int) else (frame,)
            name = next(filter(None, map(names.find, keys)), None) or stamps.get(record.stamp_ns)
        except AmbiguousNameError as error:
            raise DatasetError(f"the predictions' frame {error}") from error
        if name is None:
            unlabelled.append(str(frame))
        elif name in pairs:
            raise DatasetError(
                f"the predictions have two records for the labels {name}, those of {pairs[name][1].frame} and {frame}: "
                "one a frame is wanted"
            )
        else:
            pairs[name] = labels[name], record
    if not predictions:
        raise DatasetError("the predictions have no frames")
    if not pairs:
        raise DatasetError(
            f"no frame of the predictions has a label file: they name frames such as {predictions[0].frame}, "
            f"and the labels are for frames such as {next(iter(labels), 'none')}"
        )
    return pairs, unlabelled


def candidates(first: Indices, second: Indices) -> tuple[Indices, Indices]:
    """All pairs of rows from two arrays that belong to the same frame: [P] and [P], ordered by first row, then second
    row. The arrays are the frame of each row; `second` must not fall."""
    starts, ends = np.searchsorted(second, first, "left"), np.searchsorted(second, first, "right")
    counts = ends - starts
    rows = np.repeat(np.arange(len(first)), counts)
    offsets = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rows, np.repeat(starts, counts) + offsets


def match_greedily(paired: Paired, rows: Indices, objects: Indices, least_iou: float) -> Indices:
    """Match greedily: by falling score, each detection takes the free object of its frame with the largest IoU.

    Of equal scores or overlaps, the first is taken.

    Args:
        rows: [N], indices of detections.
        objects: [M], rising indices of objects.
        least_iou: minimum IoU of a detection with its object.

    Returns:
        [N], index of the matched object, -1 for none.
    """
    detections, truths = paired.detections[rows], paired.truths.boxes[objects]
    matches = np.full(len(rows), -1, np.intp)
    places, targets = candidates(paired.detection_frames[rows], paired.truth_frames[objects])
    iou = overlaps(detections.boxes[places], truths[targets])
    near = iou >= least_iou
    places, targets, iou = places[near], targets[near], iou[near]
    free = np.ones(len(objects), bool)
    # Few pairs reach the threshold, so a Python loop is fast enough.
    for index in np.lexsort((targets, -iou, places, -detections.scores[places])).tolist():
        place, target = places[index], targets[index]
        if matches[place] < 0 and free[target]:
            matches[place] = objects[target]
            free[target] = False
    return matches


def covers_any(paired: Paired, rows: Indices, regions: Indices, least: float, *, by_iou: bool) -> Mask:
    """[N], whether a detection covers a region of its frame.

    Args:
        rows: [N], indices of detections.
        regions: [M], rising indices of objects.
        least: minimum IoU with the region, or minimum share of the detection's area inside it.
    """
    covered = np.zeros(len(rows), bool)
    places, targets = candidates(paired.detection_frames[rows], paired.truth_frames[regions])
    boxes, regions_boxes = paired.detections.boxes[rows[places]], paired.truths.boxes[regions[targets]]
    if by_iou:
        hit = overlaps(boxes, regions_boxes) >= least
    else:
        shared = intersection_areas(boxes, regions_boxes)
        hit = (shared > 0) & (shared >= least * box_areas(boxes))
    covered[places[hit]] = True
    return covered


def _renamed(names: Names, name_of: Callable[[str], str]) -> Names:
    if not len(names):
        return names
    kinds, which = np.unique(names, return_inverse=True)
    return np.array([name_of(name) for name in kinds.tolist()], np.str_)[which.ravel()]


def _vocabulary(truths: GroundTruth, truth_classes: Names) -> tuple[str, ...]:
    if truths.is_kitti:
        return tuple(sorted(KITTI_CLASSES.values()))
    known = {*truth_classes.tolist(), *truths.category_ids.values()} - {""}
    # A few frames of BDD may lack some of its classes.
    return tuple(sorted(known | (set() if known.isdisjoint(BDD_CATEGORIES) else set(BDD_CATEGORIES))))


def _frame_indices(frames: Sequence[Truths] | Sequence[Detections]) -> Indices:
    return np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])
