"""The graph in half and in int8: accuracy of the heads, and layers that stay in float."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from engine_models import make_network, run_heads
from factories import make_card, make_image, make_model
from onnx import TensorProto, helper, numpy_helper, shape_inference

from gaussian_yolo_node.detector.model import CARD_KEY
from gaussian_yolo_node.lab.export.quantize import quantize_model
from gaussian_yolo_node.lab.export.tensorrt.contract import EngineError
from gaussian_yolo_node.lab.export.tensorrt.half import to_half
from gaussian_yolo_node.lab.export.tensorrt.int8_graph import to_symmetric
from gaussian_yolo_node.lab.export.tensorrt.precision import default_precision, with_precision
from gaussian_yolo_node.runtime.base import PRECISION_KEY, RuntimeUnavailableError

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frames")
    for index in range(6):
        cv2.imwrite(str(folder / f"{index}.png"), make_image(64, 96, seed=index))
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_network(tmp_path_factory.mktemp("float") / "tiny.onnx")


@pytest.fixture(scope="module")
def quantised(network: Path, frames: Path) -> Path:
    path = network.with_name("tiny_int8.onnx")
    quantize_model(network, [str(frames)], path, limit=6)
    return path


def types_by_name(model: onnx.ModelProto) -> dict[str, int]:
    graph = shape_inference.infer_shapes(model).graph
    return {item.name: item.type.tensor_type.elem_type for item in (*graph.value_info, *graph.output, *graph.input)}


# Half


@pytest.mark.parametrize("batch", [1, "batch"])
def test_half_starts_at_the_first_convolution_and_ends_before_the_heads(tmp_path: Path, batch: int | str) -> None:
    model = onnx.load(str(make_network(tmp_path / "tiny.onnx", batch=batch)))
    to_half(model, tmp_path)
    onnx.checker.check_model(model, full_check=True)
    types = types_by_name(model)
    assert {name: types[name] for name in ("grey", "scaled", "head_32", "head_8")} == dict.fromkeys(
        ("grey", "scaled", "head_32", "head_8"), TensorProto.FLOAT
    )
    assert {types[name] for name in ("stem", "clipped", "deep", "features")} == {TensorProto.FLOAT16}


def test_half_changes_heads_by_its_rounding_only(network: Path) -> None:
    model = onnx.load(str(network))
    to_half(model, network)
    for exact, rounded in zip(run_heads(onnx.load(str(network))), run_heads(model), strict=True):
        difference = np.abs(exact - rounded)
        assert rounded.dtype == np.float32
        assert 0 < difference.max() < 0.02


def test_weights_beyond_half_are_told(tmp_path: Path) -> None:
    path = make_network(tmp_path / "tiny.onnx", weight_scale=1e7)
    with pytest.raises(EngineError, match=r"weights up to .* in stem.weight, too large for half; build it with fp32"):
        to_half(onnx.load(str(path)), path)


def test_a_network_without_convolutions_is_told(tmp_path: Path) -> None:
    path = make_model(tmp_path / "tiny.onnx")
    with pytest.raises(EngineError, match="no convolutions"):
        to_half(onnx.load(str(path)), path)


# int8


def test_int8_is_symmetric_and_near_what_it_was_made_from(quantised: Path) -> None:
    model = onnx.load(str(quantised))
    before = run_heads(model)
    to_symmetric(model, float_depthwise=False)
    onnx.checker.check_model(model, full_check=True)
    constants = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    for node in pairs:
        assert constants[node.input[2]].dtype == np.int8 and not constants[node.input[2]].any()
    spread = max(float(np.ptp(head)) for head in before)
    for was, now in zip(before, run_heads(model), strict=True):
        assert np.abs(was - now).max() < 0.05 * spread


def test_int8_cuts_off_what_uint8_cut_off() -> None:
    """ONNX Runtime removes a ReLU if rounding to uint8 from zero on has the same effect."""
    scale, zero = numpy_helper.from_array(np.float32(0.1), "scale"), numpy_helper.from_array(np.uint8(0), "zero")
    other = numpy_helper.from_array(np.uint8(100), "middle")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
        helper.make_node("QuantizeLinear", ["x", "scale", "middle"], ["p"]),
        helper.make_node("DequantizeLinear", ["p", "scale", "middle"], ["z"]),
    ]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [5]) for name in "xyz"]
    graph = helper.make_graph(nodes, "cut", tensors[:1], tensors[1:], [scale, zero, other])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    to_symmetric(model, float_depthwise=False)
    onnx.checker.check_model(model, full_check=True)
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    given = np.array([-30, -3, 0, 10, 30], np.float32)
    from_zero, around = session.run(None, {"x": given})
    np.testing.assert_allclose(from_zero, [0, 0, 0, 10, 25.5], atol=0.11)
    np.testing.assert_allclose(around, [-15.5, -3, 0, 10, 15.5], atol=0.13)  # one level


@pytest.mark.parametrize("float_depthwise", [False, True])
def test_depthwise_convolutions_stay_in_float_where_asked(quantised: Path, float_depthwise: bool) -> None:
    model = onnx.load(str(quantised))
    before = run_heads(model)
    to_symmetric(model, float_depthwise)
    onnx.checker.check_model(model, full_check=True)
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    depthwise = next(node for node in model.graph.node if node.op_type == "Conv" and "depthwise" in node.input[1])
    assert (makers.get(depthwise.input[1]) is None) == float_depthwise
    spread = max(float(np.ptp(head)) for head in before)
    assert all(np.abs(was - now).max() < 0.05 * spread for was, now in zip(before, run_heads(model), strict=True))


# Choice of precision


def prepared(path: Path, precision: Any, calibration: tuple[str, ...] = ()) -> onnx.ModelProto:
    return with_precision(onnx.load(str(path)), path, make_card(), precision, calibration, 8, None)


def test_the_default_goes_by_the_model(network: Path, quantised: Path) -> None:
    assert default_precision(onnx.load(str(network))) == "fp16"
    assert default_precision(onnx.load(str(quantised))) == "int8"


def test_fp32_leaves_the_graph_as_it_is(network: Path) -> None:
    assert prepared(network, "fp32") == onnx.load(str(network))


def test_a_float_model_is_quantised_with_frames(network: Path, frames: Path) -> None:
    model = prepared(network, "int8", (str(frames),))
    assert {entry.key: entry.value for entry in model.metadata_props}[PRECISION_KEY] == "int8"
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_fp16_with_frames_asks_nvidia_modelopt(network: Path, frames: Path) -> None:
    pytest.importorskip("modelopt.onnx.autocast", reason="nvidia-modelopt[onnx] is not installed")
    model = prepared(network, "fp16", (str(frames),))
    types = types_by_name(model)
    assert types["head_8"] == TensorProto.FLOAT
    assert TensorProto.FLOAT16 in types.values()
    assert CARD_KEY in {entry.key for entry in model.metadata_props}
    for exact, rounded in zip(run_heads(onnx.load(str(network))), run_heads(model), strict=True):
        assert np.abs(exact - rounded).max() < 0.02


def test_without_nvidia_modelopt_it_is_told(network: Path, frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith("modelopt"):
            raise ModuleNotFoundError("No module named 'modelopt'", name="modelopt")
        return real(name, package)

    monkeypatch.setattr("gaussian_yolo_node.lab.export.tensorrt.precision.import_module", missing)
    with pytest.raises(RuntimeUnavailableError, match=r"needs nvidia-modelopt.*pip install 'nvidia-modelopt\[onnx\]'"):
        prepared(network, "fp16", (str(frames),))


@pytest.mark.parametrize(
    ("model", "precision", "calibrate", "says"),
    [
        ("network", "int8", False, "int8 needs frames .* --calibration"),
        ("network", "fp32", True, "fp32 observes no ranges; leave it out"),
        ("quantised", "fp32", False, "is quantised, so it is built with int8; give the float model for fp32"),
        ("quantised", "fp16", False, "is quantised, so it is built with int8; give the float model for fp16"),
        ("quantised", "int8", True, "is quantised already, so --calibration changes nothing"),
    ],
)
def test_a_precision_that_does_not_suit_the_model_is_told(
    request: pytest.FixtureRequest, frames: Path, model: str, precision: str, calibrate: bool, says: str
) -> None:
    with pytest.raises(EngineError, match=says):
        prepared(request.getfixturevalue(model), precision, (str(frames),) if calibrate else ())
