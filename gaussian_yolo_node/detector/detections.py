"""The type for detections that the whole package uses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Floating = TypeVar("Floating", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class Detections:
    """N detections with localization uncertainty, in the pixels of one image.

    A box that passes the threshold for several classes appears once per class. A model's numbers are float32. Those
    read from a file or a bag are float64, so that they keep the digits written there: float64 boxes make boxes, scores
    and sigmas float64.

    Attributes:
        boxes: [N, 4], corners x1 y1 x2 y2 in px, x1 <= x2 and y1 <= y2.
        scores: [N], the detection criterion, 0..1.
        class_ids: int32 [N], index into a list of class names, such as the model's.
        sigmas: [N, 4], standard deviations of centre x, centre y, width and height in px.

    Raises:
        ValueError: lengths or shapes differ, or values lie outside the ranges above.
    """

    boxes: NDArray[Any]
    scores: NDArray[Any]
    class_ids: NDArray[np.int32]
    sigmas: NDArray[Any]

    def __post_init__(self) -> None:
        real = np.float64 if getattr(self.boxes, "dtype", None) == np.float64 else np.float32
        for field in ("boxes", "scores", "sigmas"):
            object.__setattr__(self, field, np.asarray(getattr(self, field), real))
        object.__setattr__(self, "class_ids", np.asarray(self.class_ids, np.int32))
        count = self.scores.shape[0] if self.scores.ndim == 1 else -1
        for field, shape in (
            ("scores", (count,)),
            ("class_ids", (count,)),
            ("boxes", (count, 4)),
            ("sigmas", (count, 4)),
        ):
            if getattr(self, field).shape != shape:
                raise ValueError(
                    f"{field} has shape {getattr(self, field).shape}; boxes and sigmas must be [N, 4], "
                    "scores and class_ids [N] with the same N"
                )
        # The comparisons are negated so that NaN fails them.
        if not (self.boxes[:, :2] <= self.boxes[:, 2:]).all() or not np.isfinite(self.boxes).all():
            raise ValueError("boxes must be finite, with x1 <= x2 and y1 <= y2")
        if not (self.sigmas >= 0).all() or not np.isfinite(self.sigmas).all():
            raise ValueError("sigmas must be finite and not negative")
        if not ((self.scores >= 0) & (self.scores <= 1)).all():
            raise ValueError("scores must lie in 0..1")
        if (self.class_ids < 0).any():
            raise ValueError("class_ids must not be negative")

    @classmethod
    def empty(cls) -> Detections:
        """No detections."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty(0, np.float32),
            np.empty(0, np.int32),
            np.empty((0, 4), np.float32),
        )

    @classmethod
    def concatenate(cls, parts: Iterable[Detections]) -> Detections:
        """The rows of all parts in turn, float64."""
        all_parts = [cls.empty(), *parts]
        boxes, scores, class_ids, sigmas = (
            np.concatenate([getattr(part, field) for part in all_parts])
            for field in ("boxes", "scores", "class_ids", "sigmas")
        )
        return cls(boxes.astype(np.float64), scores, class_ids, sigmas)

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Detections:
        """The rows that a mask, an index array or a slice selects."""
        return Detections(self.boxes[rows], self.scores[rows], self.class_ids[rows], self.sigmas[rows])

    @property
    def centres_sizes(self) -> NDArray[Any]:
        """[N, 4]: centre x, centre y, width, height in px, the coordinates of `sigmas`."""
        return corners_to_centres(self.boxes)


def corners_to_centres(boxes: NDArray[Floating]) -> NDArray[Floating]:
    """[N, 4] x1 y1 x2 y2 -> [N, 4] centre x, centre y, width, height, of the same type."""
    low, high = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def centres_to_corners(boxes: NDArray[Floating]) -> NDArray[Floating]:
    """[N, 4] centre x, centre y, width, height -> [N, 4] x1 y1 x2 y2, of the same type."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)
