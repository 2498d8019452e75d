"""Fixtures that many tests share."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from factories import make_model

REPOSITORY = Path(__file__).resolve().parents[1]

# A shell starts background jobs with SIGINT ignored, nohup with SIGHUP, and children inherit that: tests that interrupt
# a program of ours would wait in vain. A signal that is handled here is back to its default there.
for signum in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(signum) is signal.SIG_IGN:
        signal.signal(signum, signal.default_int_handler)


# Beside another worker, a second thread of torch or OpenVINO would spin on a core that the other one needs.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Folders and files whose tests keep real time, take the GPU, or listen on a fixed port. Other nodes meet no node of
# another worker, because each process has a ROS domain of its own.
SERIAL = (
    "gpu/",
    "ros/test_demo",
    "ros/test_two_processes",
)
# The longest go first, so that no worker is left with one at the end.
FIRST = (
    "commands/test_signals",
    "lab/export/",
    "lab/training/",
    "plugin/",
    "replay/",
    "ros/",
    "lab/",
    "commands/",
    "benchmarks/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> str:
        return str(item.path.relative_to(REPOSITORY / "test"))

    for item in items:
        if place(item).startswith(SERIAL):
            item.add_marker(pytest.mark.serial)
    items.sort(key=lambda item: next((rank for rank, name in enumerate(FIRST) if place(item).startswith(name)), 99))


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
