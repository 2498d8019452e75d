"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from factories import make_model

REPOSITORY = Path(__file__).resolve().parents[1]

# A shell starts background jobs with SIGINT ignored, and children inherit that: tests that interrupt a program of ours
# would wait in vain. A signal that is handled here is back to its default there.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Beside another worker, a second thread of torch or OpenVINO would spin on a core that the other one needs.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Folders and files whose tests keep real time, or talk to nodes that other tests must not meet.
SERIAL = ("ros/", "replay/", "launch/", "gpu/", "frames/test_camera", "commands/test_replay_command")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if str(item.path.relative_to(REPOSITORY / "test")).startswith(SERIAL):
            item.add_marker(pytest.mark.serial)


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
