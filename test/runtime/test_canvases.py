from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_models import make_network
from fake_tensorrt import FP32

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime import InferenceError, Runtime, canvases, open_runtime
from gaussian_yolo_node.runtime.canvases import LoadedCanvases

SMALL, LARGE = (64, 96), (96, 160)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    yield open_runtime(make_network(tmp_path / "a.onnx", input_size=("height", "width")), "onnxruntime", FP32)


def test_each_canvas_is_loaded_once(runtime: Runtime) -> None:
    loaded = LoadedCanvases(runtime)
    large = loaded.at(LARGE)
    assert loaded.at(SMALL) is runtime
    assert large.input_size == LARGE
    assert loaded.at(LARGE) is large
    loaded.close()


def test_all_but_one_are_released_and_loaded_again(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = LoadedCanvases(runtime)
    large = loaded.at(LARGE)
    closed: list[str] = []
    monkeypatch.setattr(runtime, "close", lambda: closed.append("small"))
    monkeypatch.setattr(large, "close", lambda: closed.append("large"))
    loaded.keep_only(large)
    assert closed == ["small"]
    assert loaded.at(LARGE) is large
    again = loaded.at(SMALL)
    assert again is not runtime and again.input_size == SMALL
    loaded.close()
    assert closed == ["small", "large"]


def test_a_canvas_that_cannot_be_run_is_released_and_the_others_stay(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = LoadedCanvases(runtime)
    closed: list[tuple[int, int]] = []

    def fail(opened: Runtime) -> float:
        monkeypatch.setattr(opened, "close", lambda: closed.append(opened.input_size))
        raise InferenceError("no memory")

    with monkeypatch.context() as patched:
        patched.setattr(canvases, "run_grey", fail)
        with pytest.raises(InferenceError, match="no memory"):
            loaded.at(LARGE)
    assert closed == [LARGE]
    with pytest.raises(ModelError, match="multiples of 32"):
        loaded.at((33, 96))
    assert loaded.at(SMALL) is runtime
    assert loaded.at(LARGE).input_size == LARGE
    loaded.close()


def test_a_closed_one_loads_nothing(runtime: Runtime) -> None:
    loaded = LoadedCanvases(runtime)
    loaded.close()
    loaded.close()
    with pytest.raises(InferenceError, match="closed"):
        loaded.at(LARGE)
