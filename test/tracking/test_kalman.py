"""The filter against one with full matrices, and on simulated boxes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from gaussian_yolo_node.tracking.kalman import BoxStates, ErrorModel, Floats

ERRORS = ErrorModel(np.array([0.9, 0.5, 0.0, 0.97]), np.array([0.5, 2.0, 1.0, 0.1]))
STEPS_S = (0.1, 0.1, 0.0, 0.04, 0.7, 0.1, 3.0, 0.1)


class Reference:
    """One box: value, rate and persisting error of four coordinates, with 12 x 12 matrices as the textbooks have them.

    States are in the order x1 v1 e1 x2 v2 e2 ...
    """

    def __init__(self, measured: Floats, sigmas: Floats, rate_sigmas: Floats) -> None:
        # The start is a measurement of a box of which nothing is known: a limit that is written out.
        self.mean = np.zeros(12)
        self.mean[0::3] = measured
        self.covariance = np.zeros((12, 12))
        for place, (sigma, rate, share) in enumerate(zip(sigmas, rate_sigmas, ERRORS.share, strict=True)):
            lasting = sigma * np.sqrt(share)
            block = np.array([[sigma**2, 0, -lasting], [0, rate**2, 0], [-lasting, 0, 1]])
            self.covariance[3 * place : 3 * place + 3, 3 * place : 3 * place + 3] = block

    def predict(self, elapsed: float, density: Floats) -> None:
        transition, noise = np.zeros((12, 12)), np.zeros((12, 12))
        for place, (spectral, time) in enumerate(zip(density, ERRORS.time_s, strict=True)):
            rows = slice(3 * place, 3 * place + 3)
            dynamics = np.array([[0, 1, 0], [0, 0, 0], [0, 0, -1 / time]])
            driving = np.diag([0, spectral, 2 / time])
            # Van Loan, "Computing integrals involving the matrix exponential", 1978.
            block = expm(np.block([[-dynamics, driving], [np.zeros((3, 3)), dynamics.T]]) * elapsed)
            transition[rows, rows] = block[3:, 3:].T
            noise[rows, rows] = block[3:, 3:].T @ block[:3, 3:]
        self.mean = transition @ self.mean
        self.covariance = transition @ self.covariance @ transition.T + noise

    def expected(self, sigmas: Floats) -> tuple[Floats, Floats, Floats]:
        """The measurement's matrix, its mean and its covariance."""
        matrix = np.zeros((4, 12))
        for place in range(4):
            matrix[place, 3 * place] = 1
            matrix[place, 3 * place + 2] = sigmas[place] * np.sqrt(ERRORS.share[place])
        noise = np.diag(sigmas**2 * (1 - ERRORS.share))
        return matrix, matrix @ self.mean, matrix @ self.covariance @ matrix.T + noise

    def update(self, measured: Floats, sigmas: Floats) -> None:
        matrix, mean, covariance = self.expected(sigmas)
        gain = self.covariance @ matrix.T @ np.linalg.inv(covariance)
        self.mean = self.mean + gain @ (measured - mean)
        self.covariance = self.covariance - gain @ matrix @ self.covariance

    def distance(self, measured: Floats, sigmas: Floats) -> float:
        _, mean, covariance = self.expected(sigmas)
        return float((measured - mean) @ np.linalg.inv(covariance) @ (measured - mean))


def random_boxes(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    return rng.uniform([0, 0, 5, 5], [1242, 375, 300, 200], (count, 4)), rng.uniform(0.5, 12, (count, 4))


def as_array(references: list[Reference]) -> NDArray[np.float64]:
    """Their states as `BoxStates.array`."""
    columns = []
    for each in references:
        blocks = [each.covariance[3 * p : 3 * p + 3, 3 * p : 3 * p + 3] for p in range(4)]
        covariances = [[block[i, j] for block in blocks] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))]
        columns.append(np.array([each.mean[0::3], each.mean[1::3], each.mean[2::3], *covariances]))
    return np.stack(columns, axis=1)


def test_the_filter_agrees_with_full_matrices() -> None:
    rng = np.random.default_rng(0)
    (measured, sigmas), rate_sigmas = random_boxes(rng, 7), rng.uniform(5, 90, (7, 4))
    density = rng.uniform(1, 9000, (7, 4))
    states = BoxStates.start(measured, sigmas, np.zeros((7, 4)), rate_sigmas, ERRORS)
    references = [Reference(*each) for each in zip(measured, sigmas, rate_sigmas, strict=True)]
    for step in STEPS_S:
        states = states.predict(step, density, ERRORS)
        for each, spectral in zip(references, density, strict=True):
            each.predict(step, spectral)
        np.testing.assert_allclose(states.array, as_array(references), rtol=1e-9, atol=1e-9)

        others, of_others = random_boxes(rng, 5)
        distances = [[each.distance(*pair) for pair in zip(others, of_others, strict=True)] for each in references]
        np.testing.assert_allclose(states.squared_distances(others, of_others, ERRORS), distances, rtol=1e-9)

        measured = states.values + rng.normal(0, 5, (7, 4))
        sigmas = rng.uniform(0.5, 12, (7, 4))
        distances = [each.distance(*pair) for each, *pair in zip(references, measured, sigmas, strict=True)]
        states, innovations = states.update(measured, sigmas, ERRORS)
        np.testing.assert_allclose((innovations**2).sum(axis=1), distances, rtol=1e-9)
        for each, *pair in zip(references, measured, sigmas, strict=True):
            each.update(*pair)
        np.testing.assert_allclose(states.array, as_array(references), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_the_filter_is_honest_on_simulated_boxes(share: float) -> None:
    """Innovations and errors have variance 1 within 5 %, at changing rates and with sigmas of their own."""
    rng = np.random.default_rng(1)
    boxes = 2000
    errors = ErrorModel(np.full(4, share), np.array([0.3, 0.6, 1.0, 2.0]))
    density, rate_sigmas = np.full((boxes, 4), 400.0), np.full((boxes, 4), 60.0)
    value, rate = rng.uniform(100, 500, (boxes, 4)), rng.normal(0, 60, (boxes, 4))
    persisting = rng.standard_normal((boxes, 4))

    def measure() -> tuple[Floats, Floats]:
        sigmas = rng.uniform(1, 8, (boxes, 4))
        error = np.sqrt(share) * persisting + np.sqrt(1 - share) * rng.standard_normal((boxes, 4))
        return value + sigmas * error, sigmas

    measured, sigmas = measure()
    states = BoxStates.start(measured, sigmas, np.zeros((boxes, 4)), rate_sigmas, errors)
    squares = []
    for step in (0.1, 0.1, 0.2, 0.05, 0.1, 0.5, 0.1, 0.1, 0.03, 0.1):
        # The exact step of a constant rate that white noise disturbs, from two independent normal numbers.
        first, second = rng.standard_normal((2, boxes, 4))
        kick = np.sqrt(density * step) * first
        value = value + rate * step + kick * step / 2 + np.sqrt(density * step**3 / 12) * second
        rate = rate + kick
        keep = np.exp(-step / errors.time_s)
        persisting = keep * persisting + np.sqrt(1 - keep**2) * rng.standard_normal((boxes, 4))
        states = states.predict(step, density, errors)
        states, innovations = states.update(*measure(), errors)
        squares.append(innovations**2)
    np.testing.assert_allclose(np.mean(squares, axis=(0, 1)), 1, atol=0.05)
    for truth, mean, variance in (
        (value, states.values, states.variances),
        (rate, states.rates, states.rate_variances),
    ):
        np.testing.assert_allclose(((truth - mean) ** 2 / variance).mean(axis=0), 1, atol=0.1)


def test_two_steps_are_one() -> None:
    measured, sigmas = random_boxes(np.random.default_rng(2), 3)
    states = BoxStates.start(measured, sigmas, sigmas, sigmas * 9, ERRORS)
    density = np.full((3, 4), 700.0)
    once = states.predict(0.5, density, ERRORS)
    twice = states.predict(0.2, density, ERRORS).predict(0.3, density, ERRORS)
    np.testing.assert_allclose(twice.array, once.array, rtol=1e-12)


def test_variances_grow_without_and_shrink_with_a_measurement() -> None:
    measured, sigmas = random_boxes(np.random.default_rng(3), 3)
    states = BoxStates.start(measured, sigmas, np.zeros((3, 4)), sigmas * 9, ERRORS)
    coasting = [states.predict(t, np.full((3, 4), 50.0), ERRORS) for t in (0.1, 0.5, 2.0)]
    for nearer, further in zip([states, *coasting], coasting, strict=False):
        assert (further.variances > nearer.variances).all() and (further.rate_variances > nearer.rate_variances).all()
    seen, _ = coasting[-1].update(measured, sigmas, ERRORS)
    assert (seen.variances < coasting[-1].variances).all()


def test_an_error_that_persists_is_not_averaged_away() -> None:
    """Many equal measurements of a box at rest leave the variance that the detector gives, if errors persist."""
    sigmas = np.full((1, 4), 4.0)
    measured = np.array([[50.0, 60, 20, 30]])
    left = {}
    for share in (0.0, 0.98):
        errors = ErrorModel(np.full(4, share), np.full(4, 1e9))
        states = BoxStates.start(measured, sigmas, np.zeros((1, 4)), np.full((1, 4), 1e-6), errors)
        for _ in range(100):
            states, _ = states.predict(0.1, np.zeros((1, 4)), errors).update(measured, sigmas, errors)
        left[share] = np.sqrt(states.variances).max()
    assert left[0.0] < 0.5 and left[0.98] > 3.9


def test_moving_scales_every_covariance() -> None:
    measured, sigmas = random_boxes(np.random.default_rng(4), 2)
    states = BoxStates.start(measured, sigmas, sigmas, sigmas * 9, ERRORS).predict(0.1, np.ones((2, 4)), ERRORS)
    scale = np.array([2.0, 0.5])
    moved = states.move(scale, np.array([3.0, -1.0]))
    both = np.tile(scale, 2)
    np.testing.assert_allclose(moved.values, states.values * both + [3, -1, 0, 0])
    np.testing.assert_allclose(moved.rates, states.rates * both)
    np.testing.assert_allclose(moved.variances, states.variances * both**2)
    # A detector on the scaled picture has scaled sigmas, and all goes on as before.
    seen, _ = states.update(measured, sigmas, ERRORS)
    seen_there, _ = moved.update(measured * both + [3, -1, 0, 0], sigmas * both, ERRORS)
    np.testing.assert_allclose(seen_there.array, seen.move(scale, np.array([3.0, -1.0])).array, rtol=1e-12, atol=1e-12)


def test_no_boxes() -> None:
    none = np.empty((0, 4))
    states = BoxStates.empty().predict(0.1, none, ERRORS)
    states, innovations = states.update(none, none, ERRORS)
    assert len(states) == 0 and innovations.shape == (0, 4)
    assert states.squared_distances(np.ones((3, 4)), np.ones((3, 4)), ERRORS).shape == (0, 3)
