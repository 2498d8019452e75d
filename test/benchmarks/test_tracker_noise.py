"""The search for the tracker's noises, on simulated detections."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np
import pytest

from gaussian_yolo_node.tracking.kalman import BoxStates, ErrorModel

STEPS, CHAINS = 12, 30


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = importlib.import_module("tracker_noise")
    for name, value in {"CANDIDATES": 24, "ELITE": 5, "ITERATIONS": 6, "ROUNDS": 2}.items():
        monkeypatch.setattr(module, name, value)
    return module


def simulate(benchmark: ModuleType) -> object:
    """Boxes 40 px high that keep their rates, and errors that are new in each frame."""
    rng = np.random.default_rng(0)
    start, rates = np.array([400.0, 200, 60, 40]), rng.normal(0, 20, (CHAINS, 4))
    rates[:, 2:] = 0
    times = np.arange(STEPS)[:, np.newaxis, np.newaxis] * 0.1
    truths = start + rates * times
    sigmas = np.full((STEPS, CHAINS, 4), 2.0)
    counts = np.repeat([CHAINS, CHAINS - 10], STEPS // 2)
    elapsed = np.full((STEPS, CHAINS, 1), 0.1)
    persons = np.arange(CHAINS) % 2 == 0
    return benchmark.Chains(truths + rng.normal(0, 2, truths.shape), sigmas, elapsed, counts, persons, truths)


def test_a_candidate_is_judged_by_the_filter(benchmark: ModuleType) -> None:
    chains = simulate(benchmark)
    candidate = np.repeat(benchmark.CENTRE[:, np.newaxis], 4, axis=1)
    alone = benchmark.judge(chains, candidate[:, np.newaxis], None)
    many = np.stack([candidate + 0.3, candidate, candidate - 0.3], axis=1)
    together, _, _ = benchmark.judge(chains, many, alone[1])
    np.testing.assert_allclose(together[1], alone[0][0])
    assert (together[0] != together[1]).all()

    values = benchmark.decode(candidate[:, np.newaxis])[:, 0]
    errors = ErrorModel(values[5], values[6])
    heights = np.maximum(chains.measured[0, :, 3:], 1)
    rate_sigmas = np.hypot(values[3] * heights, values[4])
    states = BoxStates.start(chains.measured[0], chains.sigmas[0], np.zeros((CHAINS, 4)), rate_sigmas, errors)
    relative = np.where(chains.persons[:, np.newaxis], values[1], values[0])
    states = states.predict(0.1, (relative * heights) ** 2 + values[2] ** 2, errors)
    _, innovations = states.update(chains.measured[1], chains.sigmas[1], errors)
    np.testing.assert_allclose(alone[2][:CHAINS], innovations**2)


def test_the_search_finds_what_was_simulated(benchmark: ModuleType) -> None:
    chains = simulate(benchmark)
    found = benchmark.search([chains])
    start = np.where(
        benchmark.FIXED.any(axis=1)[:, np.newaxis] & (np.arange(4) > 1), -9, benchmark.CENTRE[:, np.newaxis]
    )
    _, judged, _ = benchmark.judge(chains, start[:, np.newaxis], None)
    before, after = (benchmark.judge(chains, each[:, np.newaxis], judged)[0].sum() for each in (start, found))
    assert after > before + 50
    vehicle, person, _, _, _, share, _ = benchmark.decode(found[:, np.newaxis])[:, 0]
    assert (vehicle < 0.6).all() and (person < 0.6).all() and share.mean() < 0.75
    np.testing.assert_array_equal(found[2, 2:], benchmark.NONE)
