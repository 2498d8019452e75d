"""Tests for a machine with an NVIDIA GPU: `pytest -m gpu`. Elsewhere they are skipped, and say what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories import make_model
from gpu_build import build

from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu, open_gpu
from gaussian_yolo_node.runtime.tensorrt.engines import import_tensorrt
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PluginLibrary, find_plugin

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(scope="session")
def gpu() -> Gpu:
    """The GPU; skips where there is none, or TensorRT is not installed."""
    try:
        import_tensorrt("tensorrt")
        return open_gpu()
    except GaussianYoloError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def plugin(gpu: Gpu) -> PluginLibrary:
    """The plugin's library, built on this machine."""
    try:
        return PluginLibrary(find_plugin())
    except GaussianYoloError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def tiny(plugin: PluginLibrary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives the planted boxes on every frame, with its engine."""
    return build(make_model(tmp_path_factory.mktemp("gpu") / "tiny.onnx"), "--precision", "fp32")


@pytest.fixture(scope="session")
def shipped(plugin: PluginLibrary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped float model, with an engine in fp32."""
    source = resolve_model("csp_nano_driving")
    model = tmp_path_factory.mktemp("gpu") / source.name
    model.write_bytes(source.read_bytes())
    return build(model, "--precision", "fp32")


@pytest.fixture
def nothing_leaks(gpu: Gpu) -> Iterator[None]:
    """All memory of the GPU that a test takes is given back; some MiB are allowed for other programs."""
    with gpu:
        before, _ = gpu.memory()
    yield
    with gpu:
        after, _ = gpu.memory()
    assert before - after < 32 * 2**20
