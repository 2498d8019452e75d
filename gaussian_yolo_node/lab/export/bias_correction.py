"""Bias correction of a quantised network: the biases compensate for the mean shift of rounded weights.

The rounding error of a weight is the same at every position of every frame, so each channel is off by a constant. In a
network with depthwise layers this is most of the quantisation error (Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, section 4.2; here the means are measured on frames).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Means = Mapping[str, NDArray[np.float64]]


def mean_inputs(model: onnx.ModelProto, canvases: Iterable[NDArray[np.uint8]]) -> Means:
    """Mean inputs of the convolutions of a float model, over frames and positions.

    Args:
        model: has one input, the canvas.
        canvases: at least one, uint8 [H, W, 3] BGR.

    Returns:
        the mean per channel, [C], of each tensor that a convolution reads, by tensor name.
    """
    import onnx
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    graph = probe.graph
    read = sorted({node.input[0] for node in graph.node if node.op_type == "Conv"})
    pooled = [f"mean_of_input_{number}" for number in range(len(read))]
    for name, mean in zip(read, pooled, strict=True):
        graph.node.append(onnx.helper.make_node("GlobalAveragePool", [name], [mean]))
        graph.output.append(onnx.helper.make_tensor_value_info(mean, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(pooled, {graph.input[0].name: canvas[np.newaxis]}) for canvas in canvases]
    return {
        name: np.mean([mean.ravel() for mean in column], 0, np.float64)
        for name, column in zip(read, zip(*found, strict=True), strict=True)
    }


def correct_biases(quantised: onnx.ModelProto, exact: onnx.ModelProto, means: Means) -> int:
    """Correct the biases of a quantised model for the mean error of its rounded weights.

    Float layers and convolutions without a bias are not changed. Padding is treated as the mean.

    Args:
        quantised: weights and biases behind DequantizeLinear; changed in place.
        exact: the float model it was made from, with the same node names.
        means: inputs of the convolutions of `exact`, [C] each.

    Returns:
        the number of corrected convolutions.
    """
    from onnx import numpy_helper

    weights = {node.name: node.input[:2] for node in exact.graph.node if node.op_type == "Conv"}
    values = {item.name: item for item in exact.graph.initializer}
    stored = {item.name: item for item in quantised.graph.initializer}
    makers = {name: node for node in quantised.graph.node for name in node.output}
    corrected = 0
    for node in quantised.graph.node:
        if node.op_type != "Conv" or node.name not in weights or len(node.input) < 3:
            continue
        weight, bias = makers.get(node.input[1]), makers.get(node.input[2])
        if weight is None or bias is None:  # a float layer
            continue
        read, name = weights[node.name]
        error = numpy_helper.to_array(values[name]).astype(np.float64) - _dequantised(weight, stored)
        shift = mean_shift(error, means[read], next((item.i for item in node.attribute if item.name == "group"), 1))
        steps, scale = stored[bias.input[0]], numpy_helper.to_array(stored[bias.input[1]]).astype(np.float64)
        whole = np.rint(numpy_helper.to_array(steps) + shift / scale).astype(np.int32)
        steps.CopyFrom(numpy_helper.from_array(whole, steps.name))
        corrected += 1
    return corrected


def mean_shift(weights: NDArray[np.float64], means: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Mean output of a convolution per channel, [O].

    Args:
        weights: [O, C / groups, H, W].
        means: of the input channels, [C].
    """
    outputs, inputs = weights.shape[:2]
    summed = weights.sum((2, 3)).reshape(groups, outputs // groups, inputs)
    return np.einsum("goi,gi->go", summed, means.reshape(groups, inputs)).reshape(outputs)


def _dequantised(node: onnx.NodeProto, stored: Mapping[str, Any]) -> NDArray[np.float64]:
    """Weights [O, I, H, W] behind a DequantizeLinear with one scale in all or one per output channel."""
    from onnx import numpy_helper

    steps, *scaling = (numpy_helper.to_array(stored[name]).astype(np.float64) for name in node.input)
    scale, zero = (item.reshape(-1, 1, 1, 1) for item in (*scaling, np.zeros(1))[:2])
    return np.asarray((steps - zero) * scale)
