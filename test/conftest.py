"""Fixtures that many tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import make_model

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of other implementations."""
    return _shared("golden", "shared golden data not present")


@pytest.fixture(scope="session")
def driving_dir() -> Path:
    """Real driving images."""
    return _shared("data", "shared driving data not present")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX model that gives `factories.PLANTED` on every frame."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def _shared(name: str, reason: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(reason)
    return folder
