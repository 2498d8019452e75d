"""Settings of post-processing that may change between frames, unless an engine has them built in."""

from __future__ import annotations

from typing import TypeVar

from gaussian_yolo_node.detector.class_selection import ClassSelection
from gaussian_yolo_node.detector.decode import CRITERIA, Criterion
from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.runtime.base import BuiltThresholds

Setting = TypeVar("Setting")


class PostProcessing:
    """Thresholds, vote and criterion of a detector; a value that is out of range, or not built in, is a SettingError.

    Args:
        card: of the model; has the defaults.
        built: what an engine has built in; None on a processor.
    """

    def __init__(self, card: ModelCard, built: BuiltThresholds | None) -> None:
        self.card = card
        self._built = built
        self._score_threshold = card.score_threshold
        self._class_selection = ClassSelection()
        self._iou_threshold = card.iou_threshold
        self._variance_vote = card.variance_vote
        self._criterion: Criterion = CRITERIA[0]

    @property
    def score_threshold(self) -> float:
        """Lowest detection criterion, 0 <= t < 1. May change between frames; on a GPU not below the engine's threshold.

        On a GPU, all boxes above the engine's threshold take part in the variance vote.
        """
        return self._score_threshold

    @score_threshold.setter
    def score_threshold(self, value: float) -> None:
        self._score_threshold = self._not_below_built("score_threshold", _threshold("score_threshold", value))

    @property
    def class_selection(self) -> ClassSelection:
        """The classes that are detected, and their own thresholds; may change as `score_threshold`."""
        return self._class_selection

    @class_selection.setter
    def class_selection(self, value: ClassSelection) -> None:
        for name, threshold in value.thresholds.items():
            self._not_below_built(f"class_thresholds of {name}", threshold)
        self._class_selection = value

    @property
    def lowest_score(self) -> float:
        """The threshold of the class with the lowest one."""
        return self._class_selection.lowest(self._score_threshold, self.card.classes)

    @property
    def iou_threshold(self) -> float:
        """IoU above which a box is suppressed, 0 <= t < 1. May change between frames; fixed on a GPU."""
        return self._iou_threshold

    @iou_threshold.setter
    def iou_threshold(self, value: float) -> None:
        self._iou_threshold = self._as_built("iou_threshold", _threshold("iou_threshold", value))

    @property
    def variance_vote(self) -> bool:
        """Whether suppressed boxes vote on the kept box. May change between frames; fixed on a GPU."""
        return self._variance_vote

    @variance_vote.setter
    def variance_vote(self, value: bool) -> None:
        self._variance_vote = self._as_built("variance_vote", bool(value))

    @property
    def criterion(self) -> Criterion:
        """Definition of the score, used by threshold and suppression. May change between frames; fixed on a GPU."""
        return self._criterion

    @criterion.setter
    def criterion(self, value: Criterion) -> None:
        if value not in CRITERIA:
            raise SettingError(f"criterion is {value!r}; it must be {' or '.join(CRITERIA)}")
        self._criterion = self._as_built("criterion", value)

    def _not_below_built(self, name: str, threshold: float) -> float:
        built = self._built
        if built is not None and threshold < built.score_threshold:
            raise SettingError(
                f"{name} is {threshold}, and nothing below {built.score_threshold} comes out of this engine: give "
                f"a higher one, or {built.remedy}"
            )
        return threshold

    def _as_built(self, name: str, value: Setting) -> Setting:
        built = self._built
        if built is not None and value != getattr(built, name):
            raise SettingError(
                f"{name} is {value}, but this engine has {getattr(built, name)} built in: {built.remedy}"
            )
        return value


def _threshold(name: str, value: float) -> float:
    if not 0 <= value < 1:
        raise SettingError(f"{name} is {value}; it must be at least 0 and below 1")
    return float(value)
