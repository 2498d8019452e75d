"""Graph changes before and after int8 quantisation."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gaussian_yolo_node.errors import GaussianYoloError

if TYPE_CHECKING:
    import onnx

ACTIVATIONS = ("Clip", "LeakyRelu", "Relu")
_TRACES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger")


class QuantizeError(GaussianYoloError):
    """A model cannot be quantised with the given options."""


def prepare(path: Path, output: Path) -> onnx.ModelProto:
    """Write a model with constants folded, padding merged into convolutions, and a name for each node.

    An integer Pad would be a separate layer, for which OpenVINO has only a slow reference kernel.

    Args:
        path: a model that ONNX Runtime can load.
        output: the ONNX file to write.

    Returns:
        the written model.

    Raises:
        QuantizeError: the model is already quantised, or there is nothing to quantise.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    for node in model.graph.node:
        if node.op_type in _TRACES:
            raise QuantizeError(f"{path} is quantised already; give the float model that it was made from")
        if node.op_type == "Pad" and not node.input[-1]:
            del node.input[-1]  # an empty input, which keeps ONNX Runtime from seeing that the padding is zero
        node.name = node.name or node.output[0]
    kept = float_layers(model.graph)
    if not any(node.op_type == "Conv" and node.name not in kept for node in model.graph.node):
        raise QuantizeError(f"{path} has no convolutions but those that stay in float, its first one and its heads")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(output)
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    prepared = onnx.load(str(output))
    # Marks the model as preprocessed; without this mark the tool warns.
    onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    onnx.save(prepared, str(output))
    return prepared


def float_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes to leave in float: the first convolution, the heads, and the activations next to both."""
    tail = _tail(graph)
    first = [node for node in graph.node if node.op_type == "Conv"][:1]
    after = {name for node in first for name in node.output}
    before = {node.input[0] for node in tail if node.op_type == "Conv"}
    beside = [n for n in graph.node if n.op_type in ACTIVATIONS and (n.input[0] in after or n.output[0] in before)]
    return [node.name for node in (*first, *beside, *tail)]


def round_only_for_integers(graph: onnx.GraphProto, integer_ops: Collection[str], kept: Collection[str]) -> None:
    """Remove, in place, the int8 rounding before float-only consumers: heads and gates.

    Args:
        graph: with a QuantizeLinear and a DequantizeLinear after each quantised tensor.
        integer_ops: quantised operators.
        kept: names of nodes left in float although their operator is quantised.
    """
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for dequantizer in [node for node in graph.node if node.op_type == "DequantizeLinear"]:
        quantizer = makers.get(dequantizer.input[0])
        reading = readers.get(dequantizer.output[0], [])
        if quantizer is None or any(node.op_type in integer_ops and node.name not in kept for node in reading):
            continue
        for node in reading:
            for index, name in enumerate(node.input):
                if name == dequantizer.output[0]:
                    node.input[index] = quantizer.input[0]
        graph.node.remove(dequantizer)
        readers[dequantizer.input[0]].remove(dequantizer)
        if not readers[dequantizer.input[0]]:
            graph.node.remove(quantizer)
    read = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)


def _tail(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The last convolutions before the outputs, and what joins them: a decoupled head has slices of two."""
    makers = {name: node for node in graph.node for name in node.output}
    tail: set[str] = set()
    waiting = [output.name for output in graph.output]
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.output[0] in tail:
            continue
        tail.add(node.output[0])
        if node.op_type != "Conv":
            waiting += node.input if node.op_type == "Concat" else node.input[:1]  # a Slice's others are numbers
    return [node for node in graph.node if node.output and node.output[0] in tail]
