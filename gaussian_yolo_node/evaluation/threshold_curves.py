"""True and false positives against the score threshold, and the effect of the score's uncertainty term on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.evaluation.all_objects import Judged, scores_and_correct
from gaussian_yolo_node.evaluation.matching import Floats

# Rows of a table; a curve keeps every score.
THRESHOLDS = tuple(step / 20 for step in range(1, 20))


@dataclass(frozen=True)
class AtThreshold:
    """Counts at one threshold.

    Attributes:
        true_positives, false_positives: detections with at least that score.
        missed: objects that none of these matches.
    """

    threshold: float
    true_positives: int
    false_positives: int
    missed: int


@dataclass(frozen=True, eq=False)
class ThresholdCurve:
    """True and false positives as the threshold falls past each score in turn.

    Attributes:
        thresholds: [K], the distinct scores, falling.
        true_positives, false_positives: [K], detections with at least that score.
    """

    thresholds: Floats
    true_positives: NDArray[np.intp]
    false_positives: NDArray[np.intp]
    truths: int

    def at(self, threshold: float) -> AtThreshold:
        """Counts at a threshold."""
        passed = int(np.searchsorted(-self.thresholds, -threshold, side="right"))
        right, wrong = (int(of[passed - 1]) if passed else 0 for of in (self.true_positives, self.false_positives))
        return AtThreshold(threshold, right, wrong, self.truths - right)

    def finding(self, true_positives: int) -> AtThreshold | None:
        """Counts at the highest threshold with at least this many true positives; None if there are fewer.

        For zero true positives the threshold is infinite, above all scores.
        """
        if true_positives <= 0:
            return AtThreshold(float("inf"), 0, 0, self.truths)
        place = int(np.searchsorted(self.true_positives, true_positives))
        return None if place == len(self.thresholds) else self.at(float(self.thresholds[place]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, at the thresholds of the table."""
        rows = [self.at(threshold) for threshold in THRESHOLDS]
        return {
            "truths": self.truths,
            "thresholds": [row.threshold for row in rows],
            "true_positives": [row.true_positives for row in rows],
            "false_positives": [row.false_positives for row in rows],
        }


@dataclass(frozen=True)
class TermEffect:
    """Effect of the uncertainty term at one threshold.

    Attributes:
        with_term, without_term: at the same threshold. The term lowers every score, so fewer detections pass, correct
            or wrong.
        equal: without the term, at the threshold that matches as many objects as `with_term`. Only this comparison
            shows whether the term separates correct from wrong. None if no threshold matches as many.
    """

    with_term: AtThreshold
    without_term: AtThreshold
    equal: AtThreshold | None


def threshold_curve(scores: Floats, correct: NDArray[np.bool_], truths: int) -> ThresholdCurve:
    """Count true and false positives at each of the scores [N], in any order; `correct` [N] says which match."""
    rising, group = np.unique(scores, return_inverse=True)
    count = len(rising)
    right, wrong = (
        np.cumsum(np.bincount(group[of], minlength=count)[::-1], dtype=np.intp) for of in (correct, ~correct)
    )
    return ThresholdCurve(rising[::-1].astype(np.float64), right, wrong, truths)


def false_positives_by_threshold(classes: Iterable[Judged]) -> ThresholdCurve:
    """The curve of several classes together."""
    parts = list(classes)
    return threshold_curve(*scores_and_correct(parts), sum(part.truths for part in parts))


def term_effects(
    with_term: ThresholdCurve, without_term: ThresholdCurve, thresholds: Sequence[float] = THRESHOLDS
) -> tuple[TermEffect, ...]:
    """Compare two runs of one model over the same frames, with criterion "gaussian" and "confidence"."""
    here = [with_term.at(threshold) for threshold in thresholds]
    return tuple(
        TermEffect(each, without_term.at(each.threshold), without_term.finding(each.true_positives)) for each in here
    )
