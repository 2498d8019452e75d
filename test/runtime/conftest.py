"""A pretend GPU, and packages that are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fake_cuda import Gpu, make_pycuda
from fake_libcuda import FakeLibcuda
from fake_tensorrt import FakePlugin, make_tensorrt

from gaussian_yolo_node.runtime import cuda, loaded_engine, plugin_library
from gaussian_yolo_node.runtime.cuda_driver import CudaDriver


def install(monkeypatch: pytest.MonkeyPatch, gpu: Gpu, plugin: Path) -> None:
    """Put the pretend packages where the real ones would be."""
    package: Any = ModuleType("pycuda")
    package.driver = make_pycuda(gpu)
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", package.driver)
    monkeypatch.setitem(sys.modules, "tensorrt", make_tensorrt(gpu))
    monkeypatch.setattr(cuda, "load_driver", lambda: CudaDriver(FakeLibcuda(gpu)))
    monkeypatch.setattr(plugin_library, "_load", lambda path: FakePlugin(gpu))
    monkeypatch.setenv(plugin_library.VARIABLE, str(plugin))


def forget() -> None:
    """What the runtime keeps for the length of a process."""
    cuda.open_gpu.cache_clear()
    loaded_engine._register.cache_clear()
    loaded_engine._log_class.cache_clear()


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gpu]:
    """The pretend GPU. At the end nothing may be left on it."""
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    library = tmp_path / "libgaussian_yolo_plugin.so"
    library.touch()
    gpu = Gpu()
    install(monkeypatch, gpu, library)
    forget()
    yield gpu
    forget()
    gpu.assert_clean()
    assert not loaded_engine._SHARED


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make a package impossible to import, as where it is not installed."""

    def hide(package: str) -> None:
        for module in [module for module in sys.modules if module.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [_Absent(package), *sys.meta_path])

    return hide


class _Absent:
    """A finder that says of one package that it is not there."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
