"""The plugin's kernels, compiled once for each place where they run: the CPU, and a GPU where there is one."""

from __future__ import annotations

import pytest
from plugin_kernels import CpuKernels, GpuKernels, Kernels, build, build_for_gpu, gpu_missing

# Where there is none, test/gpu says so, once for all.
PLACES = ["cpu"] if gpu_missing() else ["cpu", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture(scope="session")
def cpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    """On the CPU, optimised."""
    return CpuKernels(build(tmp_path_factory.mktemp("kernels") / "kernels.so", "-O2"))


@pytest.fixture(scope="session")
def gpu_kernels(tmp_path_factory: pytest.TempPathFactory) -> GpuKernels:
    """On the GPU; skips where there is none."""
    if gpu_missing():
        pytest.skip(gpu_missing())
    return GpuKernels(build_for_gpu(tmp_path_factory.mktemp("gpu_kernels") / "kernels.so"))


@pytest.fixture(scope="session", params=PLACES)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """Wherever they can be run here."""
    found: Kernels = request.getfixturevalue(f"{request.param}_kernels")
    return found
