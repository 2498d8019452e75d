"""Which classes are searched, and those with a threshold of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import SettingError

_NEVER = 1.0  # no score exceeds it


@dataclass(frozen=True)
class ClassSelection:
    """The classes that are detected.

    Attributes:
        searched: names; empty for all.
        thresholds: lowest score of single classes, 0 <= t < 1, instead of the detector's.
    """

    searched: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, classes: str, thresholds: str, names: Sequence[str]) -> ClassSelection:
        """From "car,cyclist" and "pedestrian:0.2,cyclist:0.25"; empty texts select all classes alike.

        Args:
            classes: names with commas between them.
            thresholds: names, each with a colon and its lowest score.
            names: of all classes of the model.

        Raises:
            SettingError: a name is not one of the model's, is there twice, or a text has another form.
        """
        pairs = [entry.rpartition(":")[::2] for entry in _entries(thresholds)]
        searched = _entries(classes)
        _check_names("classes", searched, names)
        _check_names("class_thresholds", [name.strip() for name, _ in pairs], names)
        return cls(tuple(searched), {name.strip(): _threshold(name.strip(), value) for name, value in pairs})

    def lowest(self, score_threshold: float, names: Sequence[str]) -> float:
        """The least score that a detection of a model with the classes `names` may have."""
        return min(self._by_name(score_threshold, names))

    def by_class(self, score_threshold: float, names: Sequence[str]) -> float | NDArray[np.float32]:
        """The threshold of all classes, or float32 [C], one for each of `names`; 1 for a class that is not searched."""
        if not self.searched and not self.thresholds:
            return score_threshold
        return np.array(self._by_name(score_threshold, names), np.float32)

    def _by_name(self, score_threshold: float, names: Sequence[str]) -> list[float]:
        return [
            self.thresholds.get(name, score_threshold) if name in (self.searched or names) else _NEVER for name in names
        ]


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",")] if text.strip() else []


def _check_names(setting: str, given: Sequence[str], names: Sequence[str]) -> None:
    for name in given:
        if name not in names:
            raise SettingError(f"{setting} has '{name}', but the model's classes are {', '.join(names)}")
        if given.count(name) > 1:
            raise SettingError(f"{setting} has '{name}' twice")


def _threshold(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise SettingError(
            f"class_thresholds has '{name}:{text}'; give scores of at least 0 and below 1, such as {name}:0.2"
        )
    return value
