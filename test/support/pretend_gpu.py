"""Installs a fake GPU, with pycuda, TensorRT and the plugin, in place of the real ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_cuda import Gpu, make_pycuda
from fake_libcuda import FakeLibcuda
from fake_tensorrt import FakePlugin, make_tensorrt

from gaussian_yolo_node.runtime.tensorrt import cuda, loaded_engine, plugin_library
from gaussian_yolo_node.runtime.tensorrt.cuda_driver import CudaDriver


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Gpu]:
    """The fake GPU; at the end, asserts that nothing is left on it.

    Args:
        monkeypatch: installs and removes the fakes.
        folder: for the file of the plugin library.
    """
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    library = folder / "libgaussian_yolo_plugin.so"
    library.touch()
    gpu = Gpu()
    _install(monkeypatch, gpu, library)
    _forget()
    yield gpu
    _forget()
    gpu.assert_clean()
    assert not loaded_engine._SHARED


def _install(monkeypatch: pytest.MonkeyPatch, gpu: Gpu, plugin: Path) -> None:
    """Install the fake packages in place of the real ones."""
    package: Any = ModuleType("pycuda")
    package.driver = make_pycuda(gpu)
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(gpu))
    monkeypatch.setattr(cuda, "load_driver", lambda: CudaDriver(FakeLibcuda(gpu)))
    monkeypatch.setattr(plugin_library, "_load", lambda path: FakePlugin(gpu))
    monkeypatch.setenv(plugin_library.VARIABLE, str(plugin))


def _forget() -> None:
    """Clear the runtime's caches of the process."""
    cuda.open_gpu.cache_clear()
    loaded_engine.register_plugins.cache_clear()
    loaded_engine.log_class.cache_clear()
