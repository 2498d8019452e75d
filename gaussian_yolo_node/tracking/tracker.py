"""Tracking by detection with the detector's own uncertainty.

Two rounds of association, strong detections first, are those of ByteTrack (Zhang et al., "ByteTrack: Multi-Object
Tracking by Associating Every Detection Box", ECCV 2022, algorithm 1); the overlap as cost and the optimal assignment
those of SORT (Bewley et al., ICIP 2016, section 3.3). After a gap, OC-SORT (Cao et al., "Observation-Centric SORT",
CVPR 2023, section 4) corrects the rate by a second pass over the gap, because in a filter with a noise per frame the
rate is too sure by then. Here the covariance grows with the time of the gap, and the first detection after it corrects
the rate alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.detector.detections import Detections, centres_to_corners
from gaussian_yolo_node.detector.nms import iou_matrix
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.tracking.association import Indices, assign
from gaussian_yolo_node.tracking.ego_motion import CameraMotion
from gaussian_yolo_node.tracking.kalman import BoxStates, Floats
from gaussian_yolo_node.tracking.noise import TrackNoise
from gaussian_yolo_node.tracking.tracks import Tracks

# The squared Mahalanobis distance of 99 in 100 pairs (chi-square, 4 degrees of freedom).
GATE = 13.28
_LEAST_OVERLAP = 0.1  # IoU of a pair outside the gate
# The overlap decides; the distance decides between boxes that overlap alike or, after a gap, not at all.
_DISTANCE_WEIGHT = 0.3
_LEAST_SIGMA = 0.1  # px; keeps gains finite if a detector claims to be exact
_LEAST_SIDE = 1.0  # px, of a predicted box
_LATE_S = 1.0
_USUAL_S = 0.1  # between frames; longer gaps make evidence stronger
_MOST_MISSES = 100  # frames; ends tracks where the stamps stand still
_RECORD = np.dtype(
    [
        ("id", np.int64),
        ("class_id", np.int32),
        ("score", np.float64),
        ("evidence", np.float64),  # weighted sum of the scores
        ("misses", np.int64),  # frames since the latest detection
        ("first_s", np.float64),
        ("seen_s", np.float64),
    ]
)


class StampError(GaussianYoloError):
    """The stamp of a frame is not a finite number."""


@dataclass(frozen=True)
class TrackerSettings:
    """What a user may want to change.

    Attributes:
        strong: least score of a detection that starts a track, and of those of the first round.
        weak: least score of a detection that continues a confirmed track, in the second round.
        confirm: sum of the scores of its detections, in consecutive frames, from which a track is reported. Below 10 Hz
            scores count more, because errors are less alike (see `_evidence_of`).
        coast_s: time without a detection after which a track ends, s.
        forget_s: gap between two frames after which no track goes on, s.
        gate: largest squared Mahalanobis distance of a pair that hardly overlaps, and of one that needs no restart. inf
            leaves the decision to the overlap.
    """

    strong: float = 0.3
    weak: float = 0.1
    confirm: float = 1.0
    coast_s: float = 1.0
    forget_s: float = 5.0
    gate: float = GATE


class Tracker:
    """Follows objects through the frames of one camera. Deterministic; not thread-safe.

    Example:
        tracker = Tracker(detector.card.classes)
        for stamp_s, image in frames:
            tracks = tracker.update(detector(image), stamp_s, image.shape[:2])
    """

    def __init__(
        self,
        classes: Sequence[str],
        settings: TrackerSettings = TrackerSettings(),
        noise: TrackNoise | None = None,
    ) -> None:
        """
        Args:
            classes: class names of the detector, by class id.
            noise: of motion and measurement; None takes the one for the classes.
        """
        self.settings = settings
        self._noise = noise or TrackNoise.of(classes)
        self._states = BoxStates.empty()
        self._records = np.empty(0, _RECORD)
        self._next_id = 1
        self._stamp: float | None = None
        self._now_s = 0.0  # the time that has passed, whatever the stamps did
        self._frame_size: tuple[int, int] | None = None

    def update(
        self,
        detections: Detections,
        stamp_s: float,
        frame_size: tuple[int, int] | None = None,
        motion: CameraMotion | None = None,
    ) -> Tracks:
        """The confirmed tracks after one more frame.

        Args:
            detections: of the frame, in its px. A sigma that is not finite counts as the side of its box.
            stamp_s: capture time of the frame, s. The differences of stamps decide how far tracks move. A stamp up to a
                second before the latest one is that of a late frame, for which no time passes; an earlier one is that
                of a clock that was set back, and time goes on from there.
            frame_size: (height, width) in px, if known. Tracks are scaled if it changes, and coasting ones end outside.
            motion: of the camera since the frame before, if known; see `EgoMotion`.

        Raises:
            StampError: the stamp is not a finite number.
        """
        elapsed_s = self._elapsed(stamp_s)
        self._predict(elapsed_s)
        self._scale_to(frame_size)
        if motion is not None:
            self._states = self._states.move(np.array(motion.scale), np.array(motion.shift))
        measured, sigmas = _measurements(detections)
        rows = self._associate(detections, measured, sigmas)
        innovations = self._correct(detections, measured, sigmas, rows, self._evidence_of(elapsed_s))
        taken, alive = rows[rows >= 0], self._alive()
        if not alive.all():
            self._states, self._records = self._states[alive], self._records[alive]
            rows, innovations = rows[alive], innovations[alive]
        tracks = self._report(rows, innovations)
        new = detections.scores >= self.settings.strong
        new[taken] = False
        self._start(detections, measured, sigmas, np.flatnonzero(new))
        return tracks

    def _elapsed(self, stamp_s: float) -> float:
        if not math.isfinite(stamp_s):
            raise StampError(f"the stamp of a frame is {stamp_s} s; it must be a finite number, its capture time")
        step = 0.0 if self._stamp is None else stamp_s - self._stamp
        if self._stamp is None or step > 0 or step < -_LATE_S:
            self._stamp = stamp_s
        return max(step, 0.0)

    def _evidence_of(self, elapsed_s: float) -> float:
        """How much a score counts so long after the frame before, 1 up to 0.1 s.

        A false alarm persists as other errors do, so a frame is evidence by the share of the errors that are new in it,
        `1 - exp(-t / time)`.
        """
        time_s = float(np.mean(self._noise.errors.time_s))
        return max(math.expm1(-elapsed_s / time_s) / math.expm1(-_USUAL_S / time_s), 1.0)

    def _predict(self, elapsed_s: float) -> None:
        self._now_s += elapsed_s
        if elapsed_s > self.settings.forget_s:
            self._states, self._records = BoxStates.empty(), np.empty(0, _RECORD)
        density = self._noise.densities(self._records["class_id"], self._states.values[:, 3])
        self._states = self._states.predict(elapsed_s, density, self._noise.errors)

    def _scale_to(self, frame_size: tuple[int, int] | None) -> None:
        if frame_size is None or frame_size == self._frame_size:
            return
        if self._frame_size is not None:
            scale = np.array(frame_size[::-1]) / np.array(self._frame_size[::-1])
            self._states = self._states.move(scale, np.zeros(2))
        self._frame_size = frame_size

    def _associate(self, detections: Detections, measured: Floats, sigmas: Floats) -> Indices:
        """[N], the detection of each track, -1 for none."""
        rows = np.full(len(self._records), -1, np.intp)
        if not len(rows) or not len(detections):
            return rows
        costs = self._costs(detections, measured, sigmas)
        strong = detections.scores >= self.settings.strong
        weak = ~strong & (detections.scores >= self.settings.weak)
        confirmed = self._confirmed()
        free = np.ones(len(detections), bool)
        for tracks, candidates in ((confirmed, strong), (confirmed, weak), (~confirmed, strong)):
            left, usable = np.flatnonzero(tracks & (rows < 0)), np.flatnonzero(candidates & free)
            if not len(left) or not len(usable):
                continue
            first, second = assign(costs.take(left, 0).take(usable, 1), 1.0 + 2 * _DISTANCE_WEIGHT)
            rows[left[first]] = usable[second]
            free[usable[second]] = False
        return rows

    def _costs(self, detections: Detections, measured: Floats, sigmas: Floats) -> Floats:
        """[N, M] of tracks and detections: 0 .. 1 + weight; inf for two classes, or neither near nor overlapping."""
        distances = self._states.squared_distances(measured, sigmas, self._noise.errors)
        overlaps = iou_matrix(self._corners().astype(np.float32), detections.boxes)
        gate = self.settings.gate
        possible = overlaps >= _LEAST_OVERLAP
        if math.isfinite(gate):
            possible |= distances <= gate
        possible &= self._records["class_id"][:, np.newaxis] == detections.class_ids
        # In place, because memory traffic dominates the time.
        distances *= _DISTANCE_WEIGHT / gate
        costs = np.minimum(distances, _DISTANCE_WEIGHT, out=distances)
        costs += 1.0
        costs -= overlaps
        costs[~possible] = np.inf
        return costs

    def _correct(
        self, detections: Detections, measured: Floats, sigmas: Floats, rows: Indices, weight: float
    ) -> Floats:
        """Take in the detections; their normalised innovations [N, 4], NaN for tracks without one.

        A detection that overlaps its track but lies outside the gate contradicts the motion, as at a turn or behind
        something: the box starts anew from it, with the rate that it had. `weight` is that of the scores as evidence.
        """
        innovations = np.full((len(rows), 4), np.nan)
        seen = np.flatnonzero(rows >= 0)
        matches = rows[seen]
        errors, predicted = self._noise.errors, self._states[seen]
        states, innovations[seen] = predicted.update(measured[matches], sigmas[matches], errors)
        apart = np.flatnonzero((innovations[seen] ** 2).sum(axis=1) > self.settings.gate)
        if len(apart):
            again = matches[apart]
            rate_sigmas = self._noise.start_rates(measured[again, 3])
            restarted = BoxStates.start(measured[again], sigmas[again], predicted.rates[apart], rate_sigmas, errors)
            states.array[:, apart] = restarted.array
        self._states.array[:, seen] = states.array
        records = self._records
        records["misses"] += 1
        records["misses"][seen] = 0
        records["score"][seen] = detections.scores[matches]
        records["evidence"][seen] += weight * detections.scores[matches]
        records["seen_s"][seen] = self._now_s
        return innovations

    def _confirmed(self) -> NDArray[np.bool_]:
        confirmed: NDArray[np.bool_] = self._records["evidence"] >= self.settings.confirm
        return confirmed

    def _alive(self) -> NDArray[np.bool_]:
        records = self._records
        ended = ~self._confirmed() | (self._now_s - records["seen_s"] >= self.settings.coast_s)
        ended |= records["misses"] >= _MOST_MISSES
        if self._frame_size is not None:
            centres = self._states.values[:, :2]
            ended |= ((centres < 0) | (centres > self._frame_size[::-1])).any(axis=1)
        alive: NDArray[np.bool_] = (records["misses"] == 0) | ~ended
        return alive

    def _corners(self) -> Floats:
        """[N, 4], x1 y1 x2 y2 in px."""
        boxes = self._states.values.copy()
        np.maximum(boxes[:, 2:], _LEAST_SIDE, out=boxes[:, 2:])
        return centres_to_corners(boxes)

    def _report(self, rows: Indices, innovations: Floats) -> Tracks:
        shown = self._confirmed()
        records, states = self._records[shown], self._states[shown]
        return Tracks(
            records["id"],
            self._corners()[shown],
            records["class_id"],
            records["score"],
            np.sqrt(states.variances),
            states.rates,
            np.sqrt(states.rate_variances),
            states.covariances,
            self._now_s - records["first_s"],
            self._now_s - records["seen_s"],
            records["misses"] > 0,
            rows[shown],
            innovations[shown],
        )

    def _start(self, detections: Detections, measured: Floats, sigmas: Floats, new: Indices) -> None:
        if not len(new):
            return
        records = np.zeros(len(new), _RECORD)
        records["id"] = self._next_id + np.arange(len(new))
        records["class_id"] = detections.class_ids[new]
        records["score"] = records["evidence"] = detections.scores[new]
        records["first_s"] = records["seen_s"] = self._now_s
        still, rate_sigmas = np.zeros((len(new), 4)), self._noise.start_rates(measured[new, 3])
        states = BoxStates.start(measured[new], sigmas[new], still, rate_sigmas, self._noise.errors)
        self._next_id += len(new)
        self._states, self._records = self._states.join(states), np.concatenate([self._records, records])


def _measurements(detections: Detections) -> tuple[Floats, Floats]:
    """Centres and sizes, and usable sigmas, both [N, 4] in px."""
    measured = detections.centres_sizes.astype(np.float64)
    sigmas = detections.sigmas.astype(np.float64)
    # `Detections` refuses such sigmas, but its arrays can be written to.
    sigmas = np.where(np.isfinite(sigmas), sigmas, np.tile(measured[:, 2:], 2))
    return measured, np.maximum(sigmas, _LEAST_SIGMA)
