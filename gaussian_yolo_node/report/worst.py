"""Selection of the worst frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gaussian_yolo_node.report.comparison import FrameFigures

# Consecutive frames fail alike, so one frame per moment is shown.
APART_SECONDS = 0.5


@dataclass(frozen=True)
class WorstFrame:
    """A frame with mistakes.

    Attributes:
        row: row in the `FrameFigures`.
        false_positives: wrong detections at the threshold.
        missed: objects that no detection at the threshold matches.
    """

    row: int
    false_positives: int
    missed: int

    @property
    def mistakes(self) -> int:
        """False positives and missed objects together."""
        return self.false_positives + self.missed


def worst_frames(figures: FrameFigures, most: int) -> list[WorstFrame]:
    """Answered frames with mistakes, those with the most first; of equal ones, the first in time.

    An unanswered frame misses all of its objects, which says nothing about the detector, so it is left out.

    Args:
        figures: with truth.
        most: maximum number of frames; frames within half a second of a worse one are left out.
    """
    if figures.found is None or figures.false_positives is None or most < 1:
        return []
    truths = np.sum([judged.truths for judged in figures.classes.values()], axis=0, initial=0)
    missed = np.broadcast_to(truths, figures.found.shape) - figures.found
    mistakes = figures.false_positives + missed
    chosen: list[WorstFrame] = []
    free = mistakes > 0 if figures.ages is None else (mistakes > 0) & ~np.isnan(figures.ages)
    for row in np.argsort(-mistakes, kind="stable"):
        if len(chosen) == most:
            break
        if not free[row]:
            continue
        chosen.append(WorstFrame(int(row), int(figures.false_positives[row]), int(missed[row])))
        free[row] = False
        # An unknown stamp (NaN) is near no other.
        free[np.abs(figures.stamps - figures.stamps[row]) < APART_SECONDS] = False
    return chosen
