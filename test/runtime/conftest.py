"""Fixtures for a fake GPU and for packages that are not installed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_cuda import Gpu
from pretend_gpu import pretended_gpu


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Gpu]:
    """A fake GPU. All its memory must be freed at the end of the test."""
    with pretended_gpu(monkeypatch, tmp_path) as gpu:
        yield gpu


@pytest.fixture
def uninstall(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the import of a package fail, as if it were not installed."""

    def hide(package: str) -> None:
        for module in [module for module in sys.modules if module.split(".")[0] == package]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setattr(sys, "meta_path", [_Absent(package), *sys.meta_path])

    return hide


class _Absent:
    """An import finder that reports one package as not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.split(".")[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
