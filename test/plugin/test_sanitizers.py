"""The kernels under sanitizers: no wrong access, no undefined arithmetic, no race, and no wait that is not needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_image
from plugin_calls import KINDS, random_call, random_shape
from plugin_kernels import PLUGIN, Call, CpuKernels, FrameCall, Replayed, build, replay
from postprocessing_cases import ANCHOR_SIZES, CASES, STRIDES, Options, heads_of

from gaussian_yolo_node.detector.letterbox import Letterbox

SYNCS = sum(path.read_text().count("GY_SYNC(") for path in PLUGIN.glob("*.cuh"))
ORDERS = 12  # tried until a race shows
REPETITIONS = 20  # of runs under ThreadSanitizer, each in an order of its own


def _small_call(kind: str, most_candidates: int, seed: int) -> Call:
    """One image of 96 px, all of whose kernels have several blocks of 16 or 64 threads to run."""
    options = Options(0.05, 0.2, most_candidates, 16, variance_vote=True)
    shape = replace(random_shape(seed), kind=kind, size=(96, 96), classes=2, batch=1, half=False, options=options)
    return random_call(shape, seed)


@pytest.fixture(scope="module")
def crowded() -> list[Call]:
    """More pairs than candidates may be, fewer of them, and a tie."""
    return [_small_call("all", 80, 1), _small_call("few", 100, 2), _small_call("ties", 66, 3)]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With AddressSanitizer and UndefinedBehaviorSanitizer."""
    flags = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    return build(tmp_path_factory.mktemp("checked") / "replay", *flags, program=True)


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With ThreadSanitizer, and blocks small enough for a thread of the system to each thread."""
    flags = ("-O1", "-g", "-fsanitize=thread", "-DGAUSSIAN_YOLO_BLOCK_THREADS=16")
    return build(tmp_path_factory.mktemp("raced") / "replay", *flags, program=True)


def _assert_clean(replayed: Replayed) -> None:
    assert replayed.status == 0, f"status {replayed.status}\n{replayed.errors[:4000]}"


def test_no_wrong_access_and_no_undefined_behaviour(checked: Path, cpu_kernels: CpuKernels) -> None:
    calls = [Call(heads_of(case.cells), ANCHOR_SIZES, STRIDES, case.options) for case in CASES]
    calls += [random_call(random_shape(number), number) for number in range(100, 100 + len(KINDS))]

    replayed = replay(checked, calls, seed=7)

    _assert_clean(replayed)
    assert replayed.outputs == b"".join(cpu_kernels.detect(call).bytes() for call in calls)


@pytest.mark.parametrize("resize", ["bilinear", "align_corners"])
def test_no_wrong_access_to_a_frame(resize: Any, checked: Path, cpu_kernels: CpuKernels) -> None:
    calls = [
        FrameCall(make_image(*size), Letterbox.fit(size, (64, 96), resize), dtype)
        for size in [(93, 211), (1, 1), (1, 300), (300, 1), (2, 3), (64, 96), (720, 1280)]
        for dtype in (np.uint8, np.float16, np.float32)
    ]

    replayed = replay(checked, calls, seed=7)

    _assert_clean(replayed)
    assert replayed.outputs == b"".join(cpu_kernels.preprocess(call).tobytes() for call in calls)


def test_no_race(raced: Path, crowded: list[Call], cpu_kernels: CpuKernels) -> None:
    replayed = replay(raced, crowded, mode="threads", repetitions=REPETITIONS)

    _assert_clean(replayed)
    assert replayed.outputs == b"".join(cpu_kernels.detect(call).bytes() for call in crowded)


@pytest.mark.parametrize("number", [1, *(pytest.param(each, marks=pytest.mark.slow) for each in range(2, SYNCS + 1))])
def test_a_wait_that_is_left_out_is_a_race(number: int, raced: Path, crowded: list[Call]) -> None:
    # Without a wait, threads may also come to wait for each other forever before the race shows; then another order is
    # tried. A hang alone is no finding.
    runs = (
        replay(raced, crowded, mode="threads", seed=seed, repetitions=REPETITIONS, dropped_sync=number, limit=5)
        for seed in range(1, ORDERS + 1)
    )
    assert any(run.status == 66 for run in runs)


@pytest.mark.parametrize("number", range(1, SYNCS + 1))
def test_a_wait_that_is_left_out_shows_in_some_order(number: int, checked: Path, crowded: list[Call]) -> None:
    replayed = replay(checked, crowded, repetitions=6, dropped_sync=number)

    assert replayed.status != 0
