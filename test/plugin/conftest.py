"""The plugin's kernels, compiled once."""

from __future__ import annotations

import pytest
from plugin_kernels import CpuKernels, build


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CpuKernels:
    """On the CPU, optimised."""
    return CpuKernels(build(tmp_path_factory.mktemp("kernels") / "kernels.so", "-O2"))
