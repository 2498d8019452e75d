"""Velocities over ground of tracked objects, and times to contact, each with its uncertainty."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gaussian_yolo_node.position.camera import PositionError
from gaussian_yolo_node.position.locate import Positions

Floats = NDArray[np.float64]

INTERVAL_SIGMAS = 2.0  # of the interval of the time to contact: 95 %
_LEAST_VARIANCE = 1e-6  # m^2; a place that claims to be perfect


@dataclass(frozen=True, eq=False)
class GroundMotion:
    """Motion of N objects in the base frame, that is, as seen from the vehicle; NaN where unknown.

    Attributes:
        xy: float64 [N, 2], filtered places, m.
        velocity: float64 [N, 2], m/s.
        covariance: float64 [N, 4, 4] of x, y and the two velocities, in m and s.
        time_to_contact: float64 [N], s until the nearest edge of the object is at the origin if both keep their
            velocity; infinite if it does not come nearer.
        contact_interval: float64 [N, 2], earliest and latest time to contact, s. It holds the true one in 95 % of the
            cases (Fieller, "Some Problems in Interval Estimation", JRSS B 1954); the latest is infinite if the object
            may not be closing at all, both are if it certainly is not.
    """

    xy: Floats
    velocity: Floats
    covariance: Floats
    time_to_contact: Floats
    contact_interval: Floats


class GroundTracks:
    """One Kalman filter of constant velocity per track id, on places on the ground.

    Errors of the class's size and of the pose stay with an object from frame to frame. They are no noise that a filter
    may average away: the filter's measurement noise is the rest of the covariance, and they are added to its result. A
    wrong size scales place and velocity alike, so times to contact are free of it.

    Args:
        speed_sigma: standard deviation of the speed of an object that appears, m/s on each axis.
        unrest: standard deviation of the change of velocity within 1 s, m/s on each axis; of both vehicles together.
        longest_gap_s: a track that is not seen for longer starts anew.
        front: distance from the origin of the base frame to the vehicle's foremost point, m.

    Raises:
        PositionError: a number is out of range.
    """

    def __init__(
        self, *, speed_sigma: float = 15.0, unrest: float = 2.0, longest_gap_s: float = 2.0, front: float = 0.0
    ) -> None:
        for name, value in (("speed_sigma", speed_sigma), ("unrest", unrest), ("longest_gap_s", longest_gap_s)):
            if not 0 < value < math.inf:
                raise PositionError(f"{name} is {value}; it must be above 0")
        self._speed_variance, self._unrest, self._longest_gap_s = speed_sigma**2, unrest**2, longest_gap_s
        self._front = front
        self._stamp = -math.inf
        self._clear()

    def update(self, stamp_s: float, ids: ArrayLike, positions: Positions) -> GroundMotion:
        """Take the places of one frame.

        Args:
            stamp_s: capture time of the frame, s. If it is before the last one, the clock was set back, or a recording
                began again: all tracks start anew.
            ids: int [N], the track of each position; no two may be equal.
            positions: [N]; an id without a place moves on with its velocity.

        Returns:
            Motion [N] in the order of `ids`.

        Raises:
            PositionError: the stamp is not finite, or ids and positions do not belong together.
        """
        track_ids = np.asarray(ids, np.int64).reshape(-1)
        self._check(stamp_s, track_ids, positions)
        if stamp_s < self._stamp:
            self._clear()
        elif len(self._ids):
            self._forget(stamp_s)
            self._predict(stamp_s - self._stamp)
        self._stamp = stamp_s
        rows, known = self._rows_of(track_ids), positions.known
        new = known & (rows < 0)
        rows[new] = len(self._ids) + np.arange(new.sum())
        self._start(track_ids[new])
        seen = np.flatnonzero(known)
        self._correct(rows[seen], positions, seen)
        self._seen_s[rows[seen]] = stamp_s
        self._lasting[:, :, rows[seen]] = positions.lasting[seen].transpose(1, 2, 0)
        self._reach[rows[seen]] = positions.reach[seen]
        return self._motion(rows)

    def _check(self, stamp_s: float, ids: NDArray[np.int64], positions: Positions) -> None:
        if not math.isfinite(stamp_s):
            raise PositionError(f"the frame's stamp is {stamp_s}: it must be a finite number of seconds")
        if len(ids) != len(positions.xy):
            raise PositionError(
                f"there are {len(ids)} track ids and {len(positions.xy)} positions: give one id for each"
            )
        if len(set(ids.tolist())) != len(ids):
            raise PositionError(f"two positions of one frame have the same track id: {ids.tolist()}")

    # Tracks are the last axis of all arrays: means [4, N] of x, y and the velocities, covariances [4, 4, N].

    def _clear(self) -> None:
        self._ids = np.empty(0, np.int64)
        self._mean, self._covariance = np.empty((4, 0)), np.empty((4, 4, 0))
        self._seen_s, self._lasting, self._reach = np.empty(0), np.empty((2, 2, 0)), np.empty(0)

    def _forget(self, stamp_s: float) -> None:
        kept = stamp_s - self._seen_s <= self._longest_gap_s
        if not kept.all():
            self._ids, self._mean, self._covariance = self._ids[kept], self._mean[:, kept], self._covariance[..., kept]
            self._seen_s, self._lasting, self._reach = self._seen_s[kept], self._lasting[..., kept], self._reach[kept]

    def _predict(self, elapsed_s: float) -> None:
        self._mean[:2] += elapsed_s * self._mean[2:]
        covariance = self._covariance
        covariance[:2] += elapsed_s * covariance[2:]
        covariance[:, :2] += elapsed_s * covariance[:, 2:]
        # Velocity is a random walk: white acceleration, in continuous time, so that the rate of frames does not matter.
        of_place, shared, of_velocity = elapsed_s**3 / 3, elapsed_s**2 / 2, elapsed_s
        for row, column, noise in ((0, 0, of_place), (0, 2, shared), (2, 0, shared), (2, 2, of_velocity)):
            for axis in range(2):
                covariance[row + axis, column + axis] += self._unrest * noise

    def _start(self, ids: NDArray[np.int64]) -> None:
        """New tracks, about which nothing is known but how fast such objects are."""
        if not len(ids):
            return
        n = len(ids)
        # Far wider than any place; the first measurement then decides. In squares of m, small enough for float64.
        wide = np.diag([1e6, 1e6, self._speed_variance, self._speed_variance])
        self._ids = np.concatenate([self._ids, ids])
        self._mean = np.concatenate([self._mean, np.zeros((4, n))], axis=1)
        self._covariance = np.concatenate([self._covariance, np.repeat(wide[..., np.newaxis], n, axis=2)], axis=2)
        self._seen_s = np.concatenate([self._seen_s, np.full(n, self._stamp)])
        self._lasting = np.concatenate([self._lasting, np.zeros((2, 2, n))], axis=2)
        self._reach = np.concatenate([self._reach, np.zeros(n)])

    def _rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.intp]:
        """[N], the row of each id; -1 for an id without a track."""
        rows = {track: row for row, track in enumerate(self._ids.tolist())}
        return np.array([rows.get(track, -1) for track in ids.tolist()], np.intp)

    def _correct(self, rows: NDArray[np.intp], positions: Positions, seen: NDArray[np.intp]) -> None:
        if not len(rows):
            return
        mean, covariance = self._mean[:, rows], self._covariance[:, :, rows]
        noise = (positions.covariance[seen] - positions.lasting[seen]).transpose(1, 2, 0)
        (a, b), (_, d) = covariance[:2, :2] + noise + _LEAST_VARIANCE * np.eye(2)[:, :, np.newaxis]
        x, y = covariance[:, 0], covariance[:, 1]
        gain_x, gain_y = np.stack([d * x - b * y, a * y - b * x]) / (a * d - b * b)  # by the inverse of a 2x2 matrix
        off_x, off_y = positions.xy[seen].T - mean[:2]
        self._mean[:, rows] = mean + gain_x * off_x + gain_y * off_y
        reduced = covariance - gain_x[:, np.newaxis] * x - gain_y[:, np.newaxis] * y
        self._covariance[:, :, rows] = (reduced + reduced.transpose(1, 0, 2)) / 2  # symmetric, whatever is rounded

    def _motion(self, rows: NDArray[np.intp]) -> GroundMotion:
        n = len(rows)
        result = GroundMotion(
            np.full((n, 2), np.nan),
            np.full((n, 2), np.nan),
            np.full((n, 4, 4), np.nan),
            np.full(n, np.nan),
            np.full((n, 2), np.nan),
        )
        tracked = rows >= 0
        rows = rows[tracked]
        if not len(rows):
            return result
        mean, covariance, lasting = self._mean[:, rows], self._covariance[:, :, rows], self._lasting[:, :, rows]
        place, velocity = mean[:2], mean[2:]
        distance = np.maximum(np.hypot(*place), math.sqrt(_LEAST_VARIANCE))
        sight = place / distance
        result.xy[tracked], result.velocity[tracked] = place.T, velocity.T
        # A lasting error along the line of sight is one of scale: it is in the velocity by the same share.
        shares = velocity[:, np.newaxis] * (sight / distance)  # [2, 2, N], from errors of place to those of velocity
        across = (shares[:, :, np.newaxis] * lasting).sum(1)
        whole = np.empty_like(covariance)
        whole[:2, :2] = lasting
        whole[2:, :2] = across
        whole[:2, 2:] = across.transpose(1, 0, 2)
        whole[2:, 2:] = (across[:, np.newaxis] * shares).sum(2)
        result.covariance[tracked] = (covariance + whole).transpose(2, 0, 1)
        gap = distance - self._reach[rows] - self._front
        closing = -(sight * velocity).sum(0)
        both = sight[:, np.newaxis] * sight
        gap_variance = (both * covariance[:2, :2]).sum((0, 1))
        closing_variance = (both * covariance[2:, 2:]).sum((0, 1))
        shared = -(both * covariance[:2, 2:]).sum((0, 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            time = np.where(gap <= 0, 0.0, np.where(closing > 0, gap / closing, np.inf))
        result.time_to_contact[tracked] = time
        result.contact_interval[tracked] = ratio_interval(gap, closing, gap_variance, closing_variance, shared)
        return result


def ratio_interval(
    gap: Floats, closing: Floats, gap_variance: Floats, closing_variance: Floats, shared: Floats
) -> Floats:
    """Fieller's interval of gap over closing speed, [N, 2], of times from 0 on.

    It holds every time t at which gap - t * closing is within `INTERVAL_SIGMAS` standard deviations of 0; (0, 0)
    without a gap.

    Args:
        gap, closing: [N], m and m/s.
        gap_variance, closing_variance, shared: [N], their variances and covariance.
    """
    k = INTERVAL_SIGMAS**2
    a = closing**2 - k * closing_variance
    b = gap * closing - k * shared
    c = gap**2 - k * gap_variance
    root = b + np.sqrt(np.maximum(b**2 - a * c, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        earliest = np.where((c > 0) & (gap > 0), np.where(root > 0, c / root, np.inf), 0.0)
        latest = np.where((a > 0) & (root > 0), root / a, np.inf)
    return np.stack([earliest, np.where(gap > 0, np.maximum(earliest, latest), 0.0)], 1)
