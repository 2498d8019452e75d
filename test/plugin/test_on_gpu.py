"""What only a GPU can show of the kernels; the other tests of this folder run on it, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from plugin_calls import random_call, random_shape
from plugin_kernels import CpuKernels, FrameCall, GpuKernels, gpu_missing

from gaussian_yolo_node.detector.letterbox import Letterbox

pytestmark = pytest.mark.gpu
TEST = Path(__file__).resolve().parents[1]
# Everything overlapping, ties, a batch, half precision, and the vote.
CALLS = (3, 5, 6, 12, 13, 15)

_PROGRAM = """
import sys
from plugin_calls import random_call, random_shape
from plugin_kernels import GpuKernels
kernels = GpuKernels(sys.argv[1])
for number in map(int, sys.argv[2:]):
    call = random_call(random_shape(number), number)
    assert kernels.detect(call).bytes() == kernels.detect(call, seed=1).bytes()
"""


def test_there_is_a_gpu() -> None:
    """Where there is none, this is the one place that says so."""
    if gpu_missing():
        pytest.skip(f"{gpu_missing()}: the tests of the kernels run on the CPU only")


@pytest.mark.parametrize("decade", range(10))
def test_the_gpu_computes_what_the_cpu_does(decade: int, gpu_kernels: GpuKernels, cpu_kernels: CpuKernels) -> None:
    """The same boxes in the same order; exp and sqrt of the two differ in last digits."""
    for number in range(10 * decade, 10 * decade + 10):
        call = random_call(random_shape(number), number)
        on_gpu, on_cpu = gpu_kernels.detect(call, seed=number), cpu_kernels.detect(call)
        np.testing.assert_array_equal(on_gpu.counts, on_cpu.counts)
        np.testing.assert_allclose(on_gpu.scores, on_cpu.scores, rtol=0, atol=1e-6)


def test_a_graph_gives_the_same_bits_a_hundred_times(gpu_kernels: GpuKernels) -> None:
    call = random_call(random_shape(4), 4)  # all of 608x608
    assert len({gpu_kernels.detect(call, seed=number).bytes() for number in range(100)}) == 1


@pytest.mark.parametrize("size", [(375, 1242), (1080, 1920), (93, 211)])
def test_a_canvas_is_the_cpus_to_the_bit(
    size: tuple[int, int], gpu_kernels: GpuKernels, cpu_kernels: CpuKernels
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    for resize in ("bilinear", "align_corners"):
        call = FrameCall(frame, Letterbox.fit(size, (320, 1024), resize), np.float16, scale=1 / 255)
        np.testing.assert_array_equal(gpu_kernels.preprocess(call), cpu_kernels.preprocess(call))


@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "initcheck", "synccheck"])
def test_compute_sanitizer_finds_nothing(tool: str, gpu_kernels: GpuKernels) -> None:
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer is not installed; it comes with the CUDA toolkit")
    command = [sanitizer, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", _PROGRAM]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TEST), str(TEST.parent)])}
    done = subprocess.run(
        [*command, str(gpu_kernels.path), *map(str, CALLS)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "ERROR SUMMARY: 0 errors" in done.stdout or "0 hazards" in done.stdout
