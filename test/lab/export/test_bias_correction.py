"""Measure and correct the mean shift of rounded weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="torch is not installed (extra 'train')")
onnx = pytest.importorskip("onnx", reason="onnx is not installed (extra 'train')")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra 'cpu')")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from gaussian_yolo_node.lab.export.bias_correction import correct_biases, mean_inputs, mean_shift  # noqa: E402

SIZE = (12, 20)


def make_model(
    weights: NDArray[np.float32], *, scale: NDArray[np.float32] | None = None, bias: bool = True
) -> onnx.ModelProto:
    """A model of a canvas transposed to planes and a 1x1 convolution `conv`; with a scale, its weights are int8."""
    out, groups = weights.shape[0], 3 // weights.shape[1]
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    stored = {"w": weights, "b": np.zeros(out, np.float32)}
    if scale is not None:
        steps = np.rint(weights / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        stored = {"wq": steps, "ws": scale, "bq": np.zeros(out, np.int32), "bs": scale * np.float32(0.01)}
        nodes += [
            helper.make_node("DequantizeLinear", ["wq", "ws"], ["w"], axis=0),
            helper.make_node("DequantizeLinear", ["bq", "bs"], ["b"], axis=0),
        ]
    inputs = ["planes", "w", "b"] if bias else ["planes", "w"]
    nodes.append(helper.make_node("Conv", inputs, ["head"], name="conv", group=groups))
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *SIZE, 3])],
        [helper.make_tensor_value_info("head", TensorProto.FLOAT, [1, out, *SIZE])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_canvases(count: int) -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(7)
    return [random.integers(0, 255, (*SIZE, 3), dtype=np.uint8) for _ in range(count)]


def mean_head(model: onnx.ModelProto, canvases: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    heads = [session.run(None, {"image": canvas[np.newaxis]})[0] for canvas in canvases]
    return np.mean(heads, (0, 1, 3, 4), np.float64)


@pytest.mark.parametrize(("outputs", "inputs", "groups"), [(5, 4, 1), (4, 4, 4), (6, 4, 2), (8, 4, 4), (1, 1, 1)])
def test_the_shift_is_that_of_a_frame_of_means(outputs: int, inputs: int, groups: int) -> None:
    random = np.random.default_rng(1)
    weights, means = random.normal(size=(outputs, inputs // groups, 3, 5)), random.normal(size=inputs)
    frame = torch.from_numpy(means).view(1, -1, 1, 1).expand(1, inputs, 3, 5)
    expected = torch.nn.functional.conv2d(frame, torch.from_numpy(weights), groups=groups).ravel().numpy()
    assert mean_shift(weights, means, groups) == pytest.approx(expected)


@pytest.mark.parametrize("count", [1, 3])
def test_means_are_over_frames_and_positions(count: int) -> None:
    model, canvases = make_model(np.ones((2, 3, 1, 1), np.float32)), make_canvases(count)
    before = model.SerializeToString()
    (name, means), *others = mean_inputs(model, canvases).items()
    assert name == "planes" and others == []
    assert means == pytest.approx(np.mean(canvases, (0, 1, 2)), rel=1e-5)
    assert model.SerializeToString() == before


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_mean_of_what_comes_out_is_that_of_float(per_channel: bool, depthwise: bool) -> None:
    weights = np.random.default_rng(3).uniform(-1, 1, (3, 1 if depthwise else 3, 1, 1)).astype(np.float32)
    scale = np.array([0.3, 0.2, 0.25] if per_channel else [0.3], np.float32)
    exact, rounded, canvases = make_model(weights), make_model(weights, scale=np.resize(scale, 3)), make_canvases(4)
    expected = mean_head(exact, canvases)
    assert np.abs(mean_head(rounded, canvases) - expected).max() > 1
    assert correct_biases(rounded, exact, mean_inputs(exact, canvases)) == 1
    assert mean_head(rounded, canvases) == pytest.approx(expected, abs=0.003)  # half a step of the bias


def test_layers_in_float_and_without_bias_stay_as_they_are() -> None:
    weights = np.full((2, 3, 1, 1), 0.4, np.float32)
    exact, canvases = make_model(weights), make_canvases(1)
    means = mean_inputs(exact, canvases)
    for untouched in (make_model(weights), make_model(weights, scale=np.full(2, 0.3, np.float32), bias=False)):
        before = untouched.SerializeToString()
        assert correct_biases(untouched, exact, means) == 0
        assert untouched.SerializeToString() == before
