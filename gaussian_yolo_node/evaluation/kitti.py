"""KITTI's object detection benchmark for 2-D boxes.

The rules are those of the development kit (Geiger et al., CVPR 2012; evaluation of `devkit_object`, with the 40 recall
points of 2019).

Each class is evaluated at three difficulties. An object that is too small, too occluded or too truncated for a
difficulty is ignored there, as is an object of a neighbouring class (Van for Car, Person_sitting for Pedestrian): it
does not count as missed, and a detection of it does not count. A detection below the difficulty's minimum height is
ignored. A detection whose share of area inside a DontCare region exceeds the class's minimum IoU is no false positive.

Peculiarities of the devkit, kept here:
- IoU must be above the threshold. Objects choose their detections, in the order of the labels, not the other way round.
- Scores are sampled at up to 41 recalls by a first matching, in which an object takes the detection with the highest
  score. Precision and recall come from a second matching for each sampled score, in which an object takes the detection
  with the largest IoU, preferring detections that are not ignored.
- A detection that is too small is ignored whatever its class. It can therefore take an object of another class, which
  is then not missed.
- Precision is 0 at a recall that was never sampled, and where nothing that counts is left (0 / 0 there).

An object of exactly the minimum height counts, as in the C++ program; most Python ports ignore it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from gaussian_yolo_node.evaluation.matching import Floats, intersection_areas, overlaps
from gaussian_yolo_node.evaluation.paired import Indices, Mask, Paired, candidates
from gaussian_yolo_node.labels.labelled_frames import DONT_CARE

DIFFICULTIES = ("easy", "moderate", "hard")
LEAST_HEIGHT = {"easy": 40.0, "moderate": 25.0, "hard": 25.0}  # px
MOST_OCCLUSION = {"easy": 0, "moderate": 1, "hard": 2}
MOST_TRUNCATION = {"easy": 0.15, "moderate": 0.3, "hard": 0.5}
NEIGHBOUR = {"car": "Van", "pedestrian": "Person_sitting"}
SAMPLES = 41


@dataclass(frozen=True, eq=False)
class DevkitCurve:
    """Precision of one class at one difficulty, at the sampled scores.

    Attributes:
        truths: number of objects that count.
        thresholds: [S], falling scores; S <= 41.
        tp, fp, fn: [S], counts at each score.
        precision: [41], the best at this recall sample or a higher one; 0 if there is no sample.
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


def sample_scores(scores: Floats, truths: int) -> Floats:
    """The scores, falling, at which recall is nearest to 0, 1/40 .. 1, from those of the correct detections in any
    order."""
    falling = np.sort(scores)[::-1]
    sampled: list[float] = []
    recall = 0.0
    for index, score in enumerate(falling.tolist()):
        left, last = (index + 1) / truths, index == len(falling) - 1
        if last or (index + 2) / truths - recall >= recall - left:
            sampled.append(score)
            recall += 1 / (SAMPLES - 1)
    return np.array(sampled, np.float64)


class Matching:
    """Objects and detections relevant to one class at one difficulty, and the pairs with enough overlap.

    Args:
        name: "car", "pedestrian" or "cyclist".
        difficulty: one of `DIFFICULTIES`.
        least_iou: the IoU of a detection with its object must exceed this.
    """

    def __init__(self, paired: Paired, name: str, difficulty: str, least_iou: float) -> None:
        objects, detections, frames = paired.truths, paired.detections, paired.detection_frames
        least_height = LEAST_HEIGHT[difficulty]
        high = objects.boxes[:, 3] - objects.boxes[:, 1] >= least_height
        plain = (
            high
            & (objects.occlusion <= MOST_OCCLUSION[difficulty])
            & (objects.truncation <= MOST_TRUNCATION[difficulty])
            & ~objects.ignored
        )
        of_class = paired.truth_classes == name
        wanted = np.flatnonzero(of_class | (objects.categories == NEIGHBOUR.get(name, "")))
        self._object_counts: Mask = (of_class & plain)[wanted]
        low = detections.boxes[:, 3] - detections.boxes[:, 1] < least_height
        rows = np.flatnonzero(low | (paired.detection_classes == name))
        self._scores: Floats = detections.scores[rows]
        self._row_counts: Mask = ~low[rows]
        self.truths = int(self._object_counts.sum())

        regions = np.flatnonzero(objects.categories == DONT_CARE)
        inside, region = candidates(frames[rows], paired.truth_frames[regions])
        boxes = detections.boxes[rows][inside]
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        share = intersection_areas(boxes, objects.boxes[regions][region]) / np.where(area > 0, area, np.inf)
        in_dont_care = np.zeros(len(rows), bool)
        in_dont_care[inside[share > least_iou]] = True
        self._wrong_if_free: Mask = self._row_counts & ~in_dont_care

        targets, places = candidates(paired.truth_frames[wanted], frames[rows])
        iou = overlaps(objects.boxes[wanted][targets], detections.boxes[rows][places])
        near = iou > least_iou
        targets, places, iou = targets[near], places[near], iou[near]
        # One object and one detection that overlap only each other leave no choice.
        alone = (np.bincount(targets)[targets] == 1) & (np.bincount(places)[places] == 1)
        self._targets, self._places = targets[alone], places[alone]
        self._contests = list(self._groups(targets[~alone], places[~alone], iou[~alone]))

    def curve(self) -> DevkitCurve:
        """Precision at each sample."""
        thresholds = sample_scores(self._first_pass(), self.truths)
        tp, fp, fn = self._second_pass(thresholds)
        precision = np.zeros(SAMPLES)
        precision[: len(thresholds)] = tp / np.maximum(tp + fp, 1)
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        return DevkitCurve(self.truths, thresholds, tp, fp, fn, precision, tp / np.maximum(tp + fn, 1))

    def counts_at(self, score: float) -> tuple[int, int, int]:
        """True positives, false positives and misses at or above a score."""
        tp, fp, fn = self._second_pass(np.array([score]))
        return int(tp[0]), int(fp[0]), int(fn[0])

    def _groups(self, targets: Indices, places: Indices, iou: Floats) -> Iterator[_Contest]:
        """One connected group of objects and detections at a time, in the order of the labels."""
        group = _connected(targets, places)
        order = np.argsort(group, kind="stable")
        columns = (values[order].tolist() for values in (group, targets, places, iou))
        pairs = zip(*columns, strict=True)
        for _, of_group in groupby(pairs, key=itemgetter(0)):
            yield [
                (
                    bool(self._object_counts[target]),
                    [
                        _Option(place, float(self._scores[place]), value, bool(self._row_counts[place]))
                        for _, _, place, value in of_object
                    ],
                )
                for target, of_object in groupby(of_group, key=itemgetter(1))
            ]

    def _first_pass(self) -> Floats:
        """Scores of the correct detections when each object takes the free detection with the highest score."""
        right = self._object_counts[self._targets] & self._row_counts[self._places]
        scores = self._scores[self._places[right]].tolist()
        for contest in self._contests:
            taken: set[int] = set()
            for object_counts, options in contest:
                free = [option for option in options if option.place not in taken]
                if not free:
                    continue
                best = max(free, key=lambda option: option.score)  # the first of equal scores
                taken.add(best.place)
                if object_counts and best.counts:
                    scores.append(best.score)
        return np.array(scores, np.float64)

    def _second_pass(self, thresholds: Floats) -> tuple[Indices, Indices, Indices]:
        """True positives, false positives and misses, each [S], at falling scores [S]."""
        wrong, places = self._wrong_if_free, self._places
        object_counts = self._object_counts[self._targets]
        tp = _at_least(self._scores[places[object_counts & self._row_counts[places]]], thresholds)
        matched = _at_least(self._scores[places[object_counts]], thresholds)
        # A free detection that counts is wrong, unless it lies in DontCare.
        fp = _at_least(self._scores[wrong], thresholds) - _at_least(self._scores[places[wrong[places]]], thresholds)
        # First sample that includes each detection. Between two such samples a group's matching does not change.
        since = np.searchsorted(-thresholds, -self._scores, side="left").tolist()
        steps = [[0, 0, 0] for _ in range(len(thresholds) + 1)]
        for contest in self._contests:
            before = [0, 0, 0]
            for sample in sorted({since[option.place] for _, options in contest for option in options}):
                after = self._take(contest, since, sample)
                steps[sample] = [step + new - old for step, new, old in zip(steps[sample], after, before, strict=True)]
                before = after
        more_right, more_matched, spared = np.cumsum(np.array(steps, np.intp), axis=0)[:-1].T
        return tp + more_right, fp - spared, self.truths - matched - more_matched

    def _take(self, contest: _Contest, since: list[int], sample: int) -> list[int]:
        """Match a group with the detections that a sample includes.

        Returns:
            Correct detections, counted objects that are matched, and matched detections that would otherwise be wrong.
        """
        taken: set[int] = set()
        right = matched = spared = 0
        for object_counts, options in contest:
            free = [option for option in options if since[option.place] <= sample and option.place not in taken]
            if not free:
                continue
            real = [option for option in free if option.counts]
            # The first of the ignored detections, or the largest overlap of the others.
            best = max(real, key=lambda option: option.iou) if real else free[0]
            taken.add(best.place)
            matched += object_counts
            right += object_counts and best.counts
            spared += bool(self._wrong_if_free[best.place])
        return [right, matched, spared]


class _Option(NamedTuple):
    """A detection that an object may take; `counts` unless its height is too small."""

    place: int
    score: float
    iou: float
    counts: bool


# Objects in the order of the labels: whether each counts, and its candidates in the order of the predictions.
_Contest = list[tuple[bool, list[_Option]]]


def _connected(targets: Indices, places: Indices) -> Indices:
    """[P], the smallest object index in the connected group of each pair; shared objects and detections connect
    pairs."""
    group = targets
    while len(group):
        least = group
        for side in (targets, places):
            of_side = np.full(side.max() + 1, np.iinfo(np.intp).max)
            np.minimum.at(of_side, side, least)
            least = of_side[side]
        if np.array_equal(least, group):
            break
        group = least
    return group


def _at_least(scores: Floats, thresholds: Floats) -> Indices:
    """Number of scores at or above each threshold."""
    return len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
