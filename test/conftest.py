"""Fixtures that many tests share."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from factories import make_model

REPOSITORY = Path(__file__).resolve().parents[1]

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that interrupt a program of ours
# would wait in vain. A signal that is handled here is back to its default there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Outputs of other implementations."""
    return _shared("golden", "shared golden data not present")


@pytest.fixture(scope="session")
def driving_dir() -> Path:
    """Real driving images."""
    return _shared("data", "shared driving data not present")


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """Networks that others have trained."""
    return _shared("weights", "shared weights not present")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real ONNX model that gives `factories.PLANTED` on every frame."""
    return make_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def _shared(name: str, reason: str) -> Path:
    folder = REPOSITORY.parent / "shared" / name
    if not folder.is_dir():
        pytest.skip(reason)
    return folder
