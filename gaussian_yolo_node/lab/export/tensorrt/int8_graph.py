"""Convert a quantised model for TensorRT: symmetric int8 instead of asymmetric uint8, which CPUs prefer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

_LEVELS = 127  # positive levels of int8; the extra negative level is not used


def to_symmetric(model: onnx.ModelProto, float_depthwise: bool) -> None:
    """Rewrite a model of `quantize_model` in place, keeping the calibrated ranges.

    Activations become int8 with half as many levels. ONNX Runtime's tool removes a ReLU in front of a range that
    starts at zero, because rounding to uint8 clips negative values; such a ReLU is restored. Biases become float,
    because TensorRT cannot dequantise int32.

    Args:
        model: with QuantizeLinear and DequantizeLinear of uint8 activations, int8 weights and int32 biases.
        float_depthwise: run depthwise convolutions in float, with float weights.
    """
    from onnx import NodeProto, helper, numpy_helper

    graph = model.graph
    constants = {item.name: item for item in graph.initializer}
    values: dict[str, NDArray[np.generic]] = {}

    def value(name: str) -> NDArray[np.generic]:
        if name not in values:
            values[name] = numpy_helper.to_array(constants[name])
        return values[name]

    zeros: dict[str, str] = {}
    scales: dict[tuple[str, str], str] = {}
    makers = {name: node for node in graph.node for name in node.output}
    filters = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            if value(node.input[0]).dtype == np.int32:
                bias = value(node.input[0]).astype(np.float32) * value(node.input[1]).astype(np.float32)
                graph.initializer.append(numpy_helper.from_array(bias.astype(np.float32), node.output[0]))
                continue
            if float_depthwise and node.output[0] in filters and value(node.input[0]).shape[1] == 1:
                scale = value(node.input[1]).astype(np.float32).reshape(-1, 1, 1, 1)  # one per filter
                weights = value(node.input[0]).astype(np.float32) * scale
                graph.initializer.append(numpy_helper.from_array(weights.astype(np.float32), node.output[0]))
                continue
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = node.input[1], node.input[2]
            level = int(value(zero).ravel()[0])
            if value(zero).dtype == np.uint8:
                if (scale, zero) not in scales:
                    farthest = max(level, 255 - level)
                    symmetric = value(scale).astype(np.float32) * np.float32(farthest / _LEVELS)
                    scales[scale, zero] = f"{scale}.{zero}.int8"
                    graph.initializer.append(numpy_helper.from_array(symmetric, scales[scale, zero]))
                if zero not in zeros:
                    zeros[zero] = f"{zero}.int8"
                    middle = np.zeros(value(zero).shape, np.int8)
                    graph.initializer.append(numpy_helper.from_array(middle, zeros[zero]))
                if node.op_type == "QuantizeLinear" and level == 0 and not _is_relu(makers.get(node.input[0])):
                    cut = f"{node.input[0]}_from_zero"
                    nodes.append(helper.make_node("Relu", [node.input[0]], [cut], cut))
                    node.input[0] = cut
                node.input[1], node.input[2] = scales[scale, zero], zeros[zero]
        nodes.append(node)
    del graph.value_info[:]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)


def _is_relu(node: onnx.NodeProto | None) -> bool:
    return node is not None and node.op_type == "Relu"
