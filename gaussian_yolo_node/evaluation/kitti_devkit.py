"""KITTI's object detection benchmark, 2-D boxes: the rules of the development kit (Geiger et al., CVPR 2012; evaluation
of `devkit_object`, with the 40 recall points of 2019).

Of a class, three difficulties are evaluated. An object that is too small, too occluded or too truncated for one is
ignored there, and so is one of a neighbouring class (Van for Car, Person_sitting for Pedestrian): it neither counts as
missed, nor does a detection of it count. A detection that is less high than the difficulty's least height is ignored,
and one with more of its area in a DontCare region than the class's least IoU is no false positive.

Peculiar to the devkit, and kept:
- IoU must be above the threshold; objects choose their detections in the order of the labels, not the other way round.
- Scores are sampled at (up to) 41 recalls by a first matching in which an object takes the detection of the best score;
  precision and recall come from a second one, a matching for each sampled score, in which it takes the one of the best
  overlap, of those that are not ignored if there are any.
- A detection that is too small is ignored whatever its class is, so it can take an object of another class, which is
  then not missed.
- The precision at a recall that was never sampled is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.matching import intersection_areas_of_pairs, overlaps_of_pairs
from gaussian_yolo_node.evaluation.paired import Paired, candidates
from gaussian_yolo_node.evaluation.truths import DONT_CARE

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

DIFFICULTIES = ("easy", "moderate", "hard")
LEAST_HEIGHT = {"easy": 40.0, "moderate": 25.0, "hard": 25.0}  # px
MOST_OCCLUSION = {"easy": 0, "moderate": 1, "hard": 2}
MOST_TRUNCATION = {"easy": 0.15, "moderate": 0.3, "hard": 0.5}
NEIGHBOUR = {"car": "Van", "pedestrian": "Person_sitting"}
SAMPLES = 41


@dataclass(frozen=True, eq=False)
class DevkitCurve:
    """Precision of one class at one difficulty where it was sampled.

    Attributes:
        truths: objects that count.
        thresholds: [S], falling scores; S <= 41.
        tp, fp, fn: [S], counts at each.
        precision: [41], the best at this recall sample or a higher one; 0 where there was none.
        recall: [S].
    """

    truths: int
    thresholds: Floats
    tp: Indices
    fp: Indices
    fn: Indices
    precision: Floats
    recall: Floats

    @property
    def eleven_point(self) -> float:
        """AP over recalls 0, 0.1 .. 1; NaN without truths."""
        return float(self.precision[::4].mean()) if self.truths else float("nan")

    @property
    def forty_point(self) -> float:
        """AP over recalls 1/40 .. 1; NaN without truths."""
        return float(self.precision[1:].mean()) if self.truths else float("nan")


def devkit_curve(paired: Paired, name: str, difficulty: str, least_iou: float) -> DevkitCurve:
    """Evaluate one class ("car", "pedestrian", "cyclist") at one difficulty."""
    matching = _Matching(paired, name, difficulty, least_iou)
    thresholds = sample_scores(matching.first_pass(), matching.truths)
    tp, fp, fn = matching.second_pass(thresholds)
    precision = np.zeros(SAMPLES)
    precision[: len(thresholds)] = tp / np.maximum(tp + fp, 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return DevkitCurve(matching.truths, thresholds, tp, fp, fn, precision, tp / np.maximum(tp + fn, 1))


def counts_at(paired: Paired, name: str, difficulty: str, least_iou: float, score: float) -> tuple[int, int, int]:
    """True positives, false positives and misses at one score."""
    tp, fp, fn = _Matching(paired, name, difficulty, least_iou).second_pass(np.array([score]))
    return int(tp[0]), int(fp[0]), int(fn[0])


def sample_scores(scores: Floats, truths: int) -> Floats:
    """The scores, falling, at which recall comes nearest to 0, 1/40 .. 1.

    Args:
        scores: of the right detections, in any order.
        truths: objects there are.
    """
    falling = np.sort(scores)[::-1]
    sampled: list[float] = []
    recall = 0.0
    for index, score in enumerate(falling.tolist()):
        left = (index + 1) / truths
        last = index == len(falling) - 1
        if not last and (index + 2) / truths - recall < recall - left:
            continue
        sampled.append(score)
        recall += 1 / (SAMPLES - 1)
    return np.array(sampled, np.float64)


class _Matching:
    """The objects and detections that one class at one difficulty is about, and which of them overlap enough."""

    def __init__(self, paired: Paired, name: str, difficulty: str, least_iou: float) -> None:
        objects, found = paired.objects, paired.found
        least_height = LEAST_HEIGHT[difficulty]
        high = objects.boxes[:, 3] - objects.boxes[:, 1] >= least_height
        plain = (
            high
            & (objects.occlusion <= MOST_OCCLUSION[difficulty])
            & (objects.truncation <= MOST_TRUNCATION[difficulty])
            & ~objects.ignored
        )
        of_class = objects.classes == name
        wanted = np.flatnonzero(of_class | (objects.categories == NEIGHBOUR.get(name, "")))
        self._object_counts: Mask = (of_class & plain)[wanted]
        low = found.boxes[:, 3] - found.boxes[:, 1] < least_height
        rows = np.flatnonzero(low | (found.classes == name))
        self._scores: Floats = found.scores[rows]
        self._row_counts: Mask = ~low[rows]
        self.truths = int(self._object_counts.sum())

        targets, places = candidates(objects.frames[wanted], found.frames[rows])
        iou = overlaps_of_pairs(objects.boxes[wanted][targets], found.boxes[rows][places])
        near = iou > least_iou
        self._targets, self._places, self._iou = targets[near], places[near], iou[near]
        self._frame_of_pair = objects.frames[wanted][self._targets]

        regions = np.flatnonzero(objects.categories == DONT_CARE)
        inside, region = candidates(found.frames[rows], objects.frames[regions])
        boxes = found.boxes[rows][inside]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        share = intersection_areas_of_pairs(boxes, objects.boxes[regions][region]) / np.where(area > 0, area, np.inf)
        self._in_dont_care = np.zeros(len(rows), bool)
        self._in_dont_care[inside[share > least_iou]] = True
        # An object with one detection that has no other object: nothing to choose.
        alone = (np.bincount(self._targets, minlength=len(wanted))[self._targets] == 1) & (
            np.bincount(self._places, minlength=len(rows))[self._places] == 1
        )
        self._alone = np.flatnonzero(alone)
        self._contested = _split(np.flatnonzero(~alone), self._frame_of_pair)

    def first_pass(self) -> Floats:
        """Scores of the right detections, if each object takes the free detection of the best score."""
        targets, places = self._targets[self._alone], self._places[self._alone]
        right = self._object_counts[targets] & self._row_counts[places]
        scores = self._scores[places[right]].tolist()
        for pairs in self._contested:
            taken: set[int] = set()
            for of_object in _split(pairs, self._targets):
                free = [pair for pair in of_object.tolist() if self._places[pair] not in taken]
                if not free:
                    continue
                pair = max(free, key=lambda each: self._scores[self._places[each]])  # of equal ones the first
                place = int(self._places[pair])
                taken.add(place)
                if self._object_counts[self._targets[pair]] and self._row_counts[place]:
                    scores.append(float(self._scores[place]))
        return np.array(scores, np.float64)

    def second_pass(self, thresholds: Floats) -> tuple[Indices, Indices, Indices]:
        """True positives, false positives and misses, [S] each, at falling scores [S]."""
        targets, places = self._targets[self._alone], self._places[self._alone]
        counts, real = self._object_counts[targets], self._row_counts[places]
        tp = _at_least(self._scores[places[counts & real]], thresholds)
        matched = _at_least(self._scores[places[counts]], thresholds)
        # What is free and counts is wrong, unless it lies in DontCare.
        wrong = self._row_counts & ~self._in_dont_care
        fp = _at_least(self._scores[wrong], thresholds) - _at_least(self._scores[places[wrong[places]]], thresholds)
        for pairs in self._contested:
            scores = np.unique(self._scores[self._places[pairs]])[::-1]
            state = np.searchsorted(-scores, -thresholds, side="right")  # detections that are there, by falling score
            changes = np.array([(0, 0, 0), *(self._take(pairs, score, wrong) for score in scores)])[state]
            tp, matched, fp = tp + changes[:, 0], matched + changes[:, 1], fp - changes[:, 2]
        return tp, fp, self.truths - matched

    def _take(self, pairs: Indices, threshold: float, wrong: Mask) -> tuple[int, int, int]:
        """Among contested pairs of a frame: right ones, objects that count and are matched, and detections that would
        be wrong and are taken."""
        taken: set[int] = set()
        right = matched = spared = 0
        for of_object in _split(pairs, self._targets):
            free = [
                (bool(self._row_counts[self._places[pair]]), float(self._iou[pair]), int(self._places[pair]))
                for pair in of_object.tolist()
                if self._places[pair] not in taken and self._scores[self._places[pair]] >= threshold
            ]
            if not free:
                continue
            real = [each for each in free if each[0]]
            # Of ignored ones the first that comes, of the others the one of the best overlap.
            _, _, place = max(real, key=lambda each: each[1]) if real else free[0]
            taken.add(place)
            counts = bool(self._object_counts[self._targets[of_object[0]]])
            matched += counts
            right += counts and bool(real)
            spared += bool(wrong[place])
        return right, matched, spared


def _split(pairs: Indices, key: Indices) -> list[Indices]:
    """Pairs in runs of equal keys; the keys of the pairs do not fall."""
    if not len(pairs):
        return []
    return np.split(pairs, np.flatnonzero(np.diff(key[pairs])) + 1)


def _at_least(scores: Floats, thresholds: Floats) -> Indices:
    """How many scores are at each threshold or above."""
    counted: Indices = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
    return counted
