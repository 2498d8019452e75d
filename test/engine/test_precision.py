from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from gaussian_yolo_node.detector.model import resolve_model
from gaussian_yolo_node.engine.precision import to_symmetric
from gaussian_yolo_node.errors import ModelError

PATH = Path("car.onnx")


def make_quantised(scale: float, zero: int, *, weight_zero: int = 0, bias: bool = True) -> Any:
    """`values` float [1, 2, 4, 4], quantised to uint8, through a quantised 1x1 convolution."""
    constants = {
        "scale": np.array(scale, np.float32),
        "zero": np.array(zero, np.uint8),
        "weight": np.array([[100, -50], [3, 127]], np.int8).reshape(2, 2, 1, 1),
        "weight_scale": np.array([0.01, 0.02], np.float32),
        "weight_zero": np.array([0, weight_zero], np.int8),
        "bias": np.array([200, -300], np.int32),
        "bias_scale": np.array([0.01, 0.02], np.float32) * np.float32(scale),
        "bias_zero": np.array([0, 0], np.int32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["values", "scale", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "scale", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["filters"], axis=0),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["offsets"], axis=0),
        helper.make_node("Conv", ["rounded", "filters"] + ["offsets"] * bias, ["sums"]),
    ]
    shape = [1, 2, 4, 4]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("values", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("sums", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: Any, values: NDArray[np.float32]) -> NDArray[np.float32]:
    onnx.checker.check_model(model)
    result: NDArray[np.float32] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"values": values})[
        0
    ]
    return result


@pytest.mark.parametrize(
    ("scale", "zero"),
    [(0.02, 0), (0.02, 128), (0.02, 30), (0.02, 255), (1e-6, 0)],
    ids=["from 0", "both sides", "mostly above", "up to 0", "tiny"],
)
def test_ranges_stay(scale: float, zero: int) -> None:
    low, high = -zero * scale, (255 - zero) * scale
    values = np.linspace(low - (high - low), high + (high - low), 32, dtype=np.float32).reshape(1, 2, 4, 4)
    model = make_quantised(scale, zero)
    expected = run(model, np.clip(values, low, high))
    to_symmetric(model, PATH)
    # What lay outside of the range on the narrower side may come through now, except below 0 where a ReLU was.
    inside = values if zero == 0 else np.clip(values, low, high)
    step = max(high, -low) / 127
    assert np.abs(run(model, inside) - expected).max() <= (1.5 + 2.6) * step + 1e-9


def test_only_what_tensorrt_takes_is_left() -> None:
    model = make_quantised(0.02, 0)
    to_symmetric(model, PATH)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert {name: str(value.dtype) for name, value in constants.items() if name in model.graph.node[-1].input} == {
        "offsets": "float32"
    }
    zeros = [constants[node.input[2]] for node in model.graph.node if node.op_type.endswith("Linear")]
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    used = {name for node in model.graph.node for name in node.input}
    assert constants.keys() <= used


def test_a_relu_is_not_put_behind_another() -> None:
    model = make_quantised(0.02, 0)
    model.graph.node.insert(0, helper.make_node("Relu", ["values"], ["positive"]))
    model.graph.node[1].input[0] = "positive"
    to_symmetric(model, PATH)
    assert [node.op_type for node in model.graph.node].count("Relu") == 1


def test_a_convolution_without_bias_is_fine() -> None:
    model = make_quantised(0.02, 128, bias=False)
    to_symmetric(model, PATH)
    assert run(model, np.zeros((1, 2, 4, 4), np.float32)).any() == np.False_


def test_weights_around_another_zero_are_refused() -> None:
    with pytest.raises(ModelError, match=r"car\.onnx has weights weight that are not int8 around 0"):
        to_symmetric(make_quantised(0.02, 0, weight_zero=1), PATH)


def test_a_model_that_is_not_quantised_is_refused(tiny_model: Path) -> None:
    with pytest.raises(ModelError, match="is not quantised"):
        to_symmetric(onnx.load(str(tiny_model)), PATH)


def test_the_shipped_model_stays_what_it_was() -> None:
    path = resolve_model("efficientnet_lite0_kitti_int8")
    model = onnx.load(str(path))
    to_symmetric(model, path)
    onnx.checker.check_model(model)
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    assert TensorProto.UINT8 not in kinds and TensorProto.INT32 not in kinds
