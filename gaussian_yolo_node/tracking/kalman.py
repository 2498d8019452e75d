"""Kalman filter over centre x, centre y, width and height of many boxes at once, each with its rate.

The state is that of SORT (Bewley et al., "Simple Online and Realtime Tracking", ICIP 2016, section 3.2) with width and
height instead of area and aspect, as in ByteTrack (Zhang et al., ECCV 2022), and a rate for all four. The variance of a
measurement is what the detector gives for that very box.

A detector's errors are alike in consecutive frames: it draws the same car too wide twice. A filter that took them for
independent would be far too sure of the mean of many frames. Therefore a measurement is `value + sigma * error`, where
the error has variance 1 and two parts, one that persists, and one that is new in each frame:

    error = sqrt(share) * persisting + sqrt(1 - share) * new

The persisting part is a third state. It decays as `exp(-t / time)` and is renewed such that its variance stays 1 (a
first-order Gauss-Markov process; Bar-Shalom, Li and Kirubarajan, "Estimation with Applications to Tracking and
Navigation", 2001, section 8.2, coloured measurement noise by a larger state). With share 0 this is the usual filter.

No noise is common to two coordinates, and no coordinate's rate changes another. Therefore the filter with twelve states
is exactly four filters with three states, and needs no matrix inversion.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorModel:
    """How the errors of a detector depend on each other from frame to frame.

    Attributes:
        share: [4] or [N, 4], share of the variance that persists, 0 <= share < 1, of centre x, centre y, width, height.
        time_s: [4] or [N, 4], time in which the correlation of the persisting part falls to 1/e, s; above 0.
    """

    share: Floats
    time_s: Floats


@dataclass(frozen=True, eq=False)
class BoxStates:
    """Estimates of N boxes; the coordinates are centre x, centre y, width, height.

    Attributes:
        array: float64 [9, N, 4]. Means of value x (px), rate v (px/s) and persisting error e (in sigmas of the
            detector), then the covariances xx, xv, xe, vv, ve, ee in products of these units.
    """

    array: Floats

    @classmethod
    def empty(cls) -> BoxStates:
        """No boxes."""
        return cls(np.empty((9, 0, 4)))

    @classmethod
    def start(
        cls, measured: Floats, sigmas: Floats, rates: Floats, rate_sigmas: Floats, errors: ErrorModel
    ) -> BoxStates:
        """Boxes of which nothing is known but one measurement, and about how fast they may move.

        Args:
            measured, sigmas: [N, 4], px.
            rates, rate_sigmas: [N, 4], px/s.
        """
        zero, one = np.zeros_like(measured), np.ones_like(measured)
        persisting = -sigmas * np.sqrt(errors.share)
        return cls(np.stack([measured, rates, zero, sigmas**2, zero, persisting, rate_sigmas**2, zero, one]))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> BoxStates:
        """The boxes that a mask or an index array selects."""
        return BoxStates(self.array[:, rows])

    @property
    def values(self) -> Floats:
        """[N, 4], px."""
        return self._row(0)

    @property
    def rates(self) -> Floats:
        """[N, 4], px/s."""
        return self._row(1)

    @property
    def variances(self) -> Floats:
        """[N, 4], of the values, px^2."""
        return self._row(3)

    @property
    def covariances(self) -> Floats:
        """[N, 4], of value and rate, px^2/s."""
        return self._row(4)

    @property
    def rate_variances(self) -> Floats:
        """[N, 4], px^2/s^2."""
        return self._row(6)

    def _row(self, place: int) -> Floats:
        row: Floats = self.array[place]
        return row

    def join(self, other: BoxStates) -> BoxStates:
        """These boxes, then the others."""
        return BoxStates(np.concatenate([self.array, other.array], axis=1))

    def predict(self, elapsed_s: float | Floats, density: Floats, errors: ErrorModel) -> BoxStates:
        """The states some time later, at constant rates disturbed by white noise.

        Args:
            elapsed_s: seconds, >= 0; or [N, 1], for each box.
            density: [N, 4], spectral density of the acceleration, px^2/s^3 (Bar-Shalom et al., section 6.2.2). In
                contrast to a noise per frame, two steps give the same as one step of their length.
        """
        t, keep = elapsed_s, np.exp(-elapsed_s / errors.time_s)
        x, v, e, xx, xv, xe, vv, ve, ee = self.array
        return BoxStates(
            np.stack(
                [
                    x + t * v,
                    v,
                    keep * e,
                    xx + 2 * t * xv + t**2 * vv + density * (t**3 / 3),
                    xv + t * vv + density * (t**2 / 2),
                    keep * (xe + t * ve),
                    vv + density * t,
                    keep * ve,
                    1 + keep**2 * (ee - 1),
                ]
            )
        )

    def update(self, measured: Floats, sigmas: Floats, errors: ErrorModel) -> tuple[BoxStates, Floats]:
        """The states after a measurement of each box, and the normalised innovations.

        Args:
            measured, sigmas: [N, 4], px; sigmas above 0.

        Returns:
            The states, and [N, 4] differences of measurement and prediction, divided by the standard deviation that
            the filter expects of them. Of an honest filter they have mean 0 and variance 1.
        """
        x, v, e, xx, xv, xe, vv, ve, ee = self.array
        lasting = sigmas * np.sqrt(errors.share)
        gain_x, gain_v, gain_e = xx + lasting * xe, xv + lasting * ve, xe + lasting * ee  # times total
        total = gain_x + lasting * gain_e + sigmas**2 * (1 - errors.share)
        innovation = measured - x - lasting * e
        step = innovation / total
        states = np.stack(
            [
                x + gain_x * step,
                v + gain_v * step,
                e + gain_e * step,
                xx - gain_x * gain_x / total,
                xv - gain_x * gain_v / total,
                xe - gain_x * gain_e / total,
                vv - gain_v * gain_v / total,
                ve - gain_v * gain_e / total,
                ee - gain_e * gain_e / total,
            ]
        )
        return BoxStates(states), innovation / np.sqrt(total)

    def squared_distances(self, measured: Floats, sigmas: Floats, errors: ErrorModel) -> Floats:
        """Squared Mahalanobis distances [N, M] of M measurements from the boxes, each pair with its own covariance.

        Args:
            measured, sigmas: [M, 4], px; sigmas above 0.
        """
        x, _, e, xx, _, xe, _, _, ee = self.array.transpose(0, 2, 1)
        z, lasting, new = measured.T, (sigmas * np.sqrt(errors.share)).T, (sigmas**2 * (1 - errors.share)).T
        one, ones = np.ones_like(x), np.ones_like(z)
        # z - x - lasting e, and xx + 2 lasting xe + lasting^2 ee + new, as matrix products per coordinate.
        difference = np.stack([x, one, e], axis=2) @ np.stack([-ones, z, -lasting], axis=1)
        total = np.stack([xx, one, 2 * xe, ee], axis=2) @ np.stack([ones, new, lasting, lasting**2], axis=1)
        difference *= difference
        difference /= total
        distances: Floats = difference.sum(axis=0)
        return distances

    def move(self, scale: Floats, shift: Floats) -> BoxStates:
        """The states in px of another image, in which a point (x, y) is at `scale * (x, y) + shift`.

        Args:
            scale, shift: [2], along x and y; shift in px.
        """
        factor, one = np.tile(scale, 2), np.ones(4)
        square = factor**2
        factors = np.stack([factor, factor, one, square, square, factor, square, factor, one])
        array = self.array * factors[:, np.newaxis]
        array[0, :, :2] += shift
        return BoxStates(array)
