from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import make_card, make_heads, make_image, make_model

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.runtime import (
    CPU_RUNTIMES,
    InferenceError,
    Runtime,
    RuntimeOptions,
    RuntimeUnavailableError,
    open_runtime,
)

FP32 = RuntimeOptions(threads=1, precision="fp32")
CANVAS = make_image(64, 96)


@pytest.fixture(params=CPU_RUNTIMES)
def name(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(request.param, reason=f"{request.param} not installed")
    return str(request.param)


def test_gives_heads_in_the_order_of_strides_though_the_file_has_another(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)

    heads = runtime.infer(CANVAS)

    assert runtime.strides == (32, 16, 8)
    assert runtime.input_size == (64, 96)
    assert runtime.head_shapes == ((36, 2, 3), (36, 4, 6), (36, 8, 12))
    for head, planted in zip(heads, make_heads(make_card()), strict=True):
        assert head.dtype == np.float32
        np.testing.assert_allclose(head, planted, atol=1e-3)


def test_the_picture_goes_in(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)

    dark, light = (runtime.infer(np.full_like(CANVAS, level))[0].copy() for level in (0, 250))

    np.testing.assert_allclose(light - dark, 250e-6, atol=2e-6)


def test_a_canvas_that_is_refilled_is_read_anew(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)
    canvas = np.zeros_like(CANVAS)

    dark = runtime.infer(canvas)[0].copy()
    canvas[:] = 250

    assert (runtime.infer(canvas)[0] > dark).all()


def test_takes_a_read_only_canvas(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)
    pictures = [np.zeros_like(CANVAS), np.full_like(CANVAS, 250)]
    for picture in pictures:
        picture.flags.writeable = False

    dark, light, again = (runtime.infer(pictures[index])[0].copy() for index in (0, 1, 0))

    assert (light > dark).all()
    np.testing.assert_array_equal(again, dark)


def test_heads_hold_until_the_next_frame(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)

    heads = runtime.infer(CANVAS.copy())
    before = [head.copy() for head in heads]
    np.zeros_like(CANVAS)  # reuses the memory of the freed canvas

    for head, earlier in zip(heads, before, strict=True):
        np.testing.assert_array_equal(head, earlier)


def test_the_card_comes_through_the_runtime(tiny_model: Path, name: str) -> None:
    runtime = open_runtime(tiny_model, name, FP32)

    assert ModelCard.from_json(runtime.metadata[CARD_KEY], tiny_model) == make_card()


def test_a_model_without_metadata_has_none(tmp_path: Path, name: str) -> None:
    runtime = open_runtime(make_model(tmp_path / "plain.onnx", with_card=False), name, FP32)

    assert CARD_KEY not in runtime.metadata


@pytest.mark.parametrize("threads", [1, 2])
def test_takes_as_many_threads_as_it_is_told(tiny_model: Path, name: str, threads: int) -> None:
    runtime = open_runtime(tiny_model, name, RuntimeOptions(threads=threads, precision="fp32"))

    assert f"fp32, {threads} thread" in runtime.description


@pytest.mark.parametrize(
    "canvas",
    [
        make_image(64, 97),
        make_image(64, 96).astype(np.float32),
        make_image(64, 96)[np.newaxis],
        make_image(64, 192)[:, ::2],  # not contiguous
    ],
)
def test_refuses_a_canvas_that_does_not_fit(tiny_model: Path, name: str, canvas: Any) -> None:
    with pytest.raises(InferenceError, match=r"takes contiguous uint8 \[64, 96, 3\]"):
        open_runtime(tiny_model, name, FP32).infer(canvas)


def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        open_runtime(tmp_path / "none.onnx", name)


def _write_foreign(path: Path, input_type: int, input_shape: list[Any], output: str, shape: list[Any]) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], keepdims=0),
        helper.make_node("Add", ["mean", "constant"], [output]),
    ]
    fixed = [size if isinstance(size, int) else 1 for size in shape]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("image", input_type, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.zeros(fixed, np.float32), "constant")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


UINT8, FLOAT = 2, 1  # onnx.TensorProto data types


@pytest.mark.parametrize(
    ("input_type", "input_shape", "output", "shape", "says"),
    [
        (FLOAT, [1, 3, 64, 96], "head_32", [1, 36, 2, 3], r"\[1, 3, 64, 96\] where uint8"),
        (FLOAT, [1, 64, 96, 3], "head_32", [1, 36, 2, 3], "where uint8"),
        (UINT8, [2, 64, 96, 3], "head_32", [1, 36, 2, 3], r"takes uint8 \[2, 64"),
        (UINT8, [1, "h", "w", 3], "head_32", [1, 36, 2, 3], r"takes uint8 \[1, \?, \?, 3\]"),
        (UINT8, [1, 64, 96, 3], "boxes", [1, 36, 2, 3], "output 'boxes'"),
        (UINT8, [1, 64, 96, 3], "head_32", [36, 2, 3], "output 'head_32' of shape"),
    ],
)
def test_a_model_of_another_kind_is_told(
    tmp_path: Path, name: str, input_type: int, input_shape: list[Any], output: str, shape: list[int], says: str
) -> None:
    path = tmp_path / "foreign.onnx"
    _write_foreign(path, input_type, input_shape, output, shape)

    with pytest.raises(ModelError, match=says) as caught:
        open_runtime(path, name)
    assert str(path) in str(caught.value)


def test_both_runtimes_agree(tiny_model: Path) -> None:
    for needed in CPU_RUNTIMES:
        pytest.importorskip(needed, reason=f"{needed} not installed")
    first, second = (open_runtime(tiny_model, name, FP32).infer(CANVAS) for name in CPU_RUNTIMES)

    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"threads": -1}, {"precision": "int4"}])
def test_refuses_options_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(options))):
        RuntimeOptions(**options)


def test_refuses_an_unknown_runtime(tiny_model: Path) -> None:
    with pytest.raises(SettingError, match="auto, openvino, onnxruntime"):
        open_runtime(tiny_model, "abacus")


def test_onnx_runtime_does_not_pretend_to_compute_in_bf16(tiny_model: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime not installed")
    with pytest.raises(RuntimeUnavailableError, match="bf16"):
        open_runtime(tiny_model, "onnxruntime", RuntimeOptions(precision="bf16"))


def test_openvino_computes_in_bf16_where_the_processor_does(tiny_model: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="openvino not installed")
    capable = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def opened() -> Runtime:
        return open_runtime(tiny_model, "openvino", RuntimeOptions(precision="bf16"))

    assert ("bf16" if capable else "fp32") in open_runtime(tiny_model, "openvino").description
    if capable:
        heads = opened().infer(CANVAS)
        assert [head.dtype for head in heads] == [np.float32] * 3
    else:
        with pytest.raises(RuntimeUnavailableError, match="bf16"):
            opened()


SIGNAL_AFTER_CLOSING = """
import os, signal, sys, threading
from pathlib import Path
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime

def opened():
    return [open_runtime(Path(sys.argv[1]), sys.argv[2], RuntimeOptions(threads=1))]

first, second, third = opened(), opened(), opened()
first.pop().close()
second.pop().close()
thread = threading.Thread(target=lambda: third.pop().close())
thread.start()
thread.join()
signal.signal(signal.SIGINT, lambda number, frame: print("handled"))
os.kill(os.getpid(), signal.SIGINT)
"""


def test_signals_are_handled_after_models_were_closed_in_any_order_and_thread(tiny_model: Path, name: str) -> None:
    command = [sys.executable, "-c", SIGNAL_AFTER_CLOSING, str(tiny_model), name]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "handled\n"), ended.stderr


def test_a_runtime_that_is_not_installed_names_what_to_install(
    tiny_model: Path, name: str, uninstall: Callable[[str], None]
) -> None:
    uninstall(name)

    with pytest.raises(RuntimeUnavailableError, match=r"pip install '\.\[cpu\]'"):
        open_runtime(tiny_model, name)


def test_auto_takes_what_is_installed(tiny_model: Path, name: str, uninstall: Callable[[str], None]) -> None:
    for other in CPU_RUNTIMES:
        if other != name:
            uninstall(other)

    assert open_runtime(tiny_model, "auto").name == name


def test_auto_with_nothing_installed_lists_both(tiny_model: Path, uninstall: Callable[[str], None]) -> None:
    for package in CPU_RUNTIMES:
        uninstall(package)

    with pytest.raises(RuntimeUnavailableError, match="openvino and onnxruntime"):
        open_runtime(tiny_model, "auto")


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_loading_a_model_starts_no_process(tiny_model: Path, name: str) -> None:
    """OpenVINO's telemetry would fork a process that reports usage, and which outlives a node stopped at that time."""
    pytest.importorskip(name, reason=f"{name} not installed")
    script = (
        "import os, sys; from pathlib import Path; from gaussian_yolo_node.runtime import open_runtime\n"
        "os.register_at_fork(before=lambda: os.write(2, b'forked'))\n"
        f"open_runtime(Path({str(tiny_model)!r}), {name!r}).close()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
