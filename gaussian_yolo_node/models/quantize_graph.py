"""What int8 wants of a model's graph, before and after the tool that quantises it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gaussian_yolo_node.errors import GaussianYoloError

if TYPE_CHECKING:
    import onnx

ACTIVATIONS = ("Clip", "LeakyRelu", "Relu")
_TRACES = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger")


class QuantizeError(GaussianYoloError):
    """A model cannot be quantised as asked."""


def prepare(path: Path, scratch: Path) -> onnx.ModelProto:
    """A model with its constants folded, padding inside its convolutions, and a name for each node.

    A Pad between integers would be a layer of its own, for which OpenVINO has but a slow reference kernel.

    Args:
        path: a model that ONNX Runtime can load.
        scratch: a file to write and read back.

    Raises:
        QuantizeError: the model is quantised already, or there is nothing to quantise.
    """
    import onnx
    import onnxruntime

    model = onnx.load(str(path))
    for node in model.graph.node:
        if node.op_type in _TRACES:
            raise QuantizeError(f"{path} is quantised already; give the float model that it was made from")
        if node.op_type == "Pad" and not node.input[-1]:
            del node.input[-1]  # empty, yet it hides from ONNX Runtime that the padding is zero
        node.name = node.name or node.output[0]
    kept = float_layers(model.graph)
    if not any(node.op_type == "Conv" and node.name not in kept for node in model.graph.node):
        raise QuantizeError(f"{path} has no convolutions but those that stay in float, its first one and its heads")
    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    settings.optimized_model_filepath = str(scratch)
    settings.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    prepared = onnx.load(str(scratch))
    # The tool's own sign that a model is prepared; without it it warns.
    onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    return prepared


def float_layers(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes to leave in float: the first convolution, the heads, and the activations next to them."""
    heads = _heads(graph)
    first = [node for node in graph.node if node.op_type == "Conv"][:1]
    after, before = {name for node in first for name in node.output}, {head.input[0] for head in heads}
    beside = [n for n in graph.node if n.op_type in ACTIVATIONS and (n.input[0] in after or n.output[0] in before)]
    return [node.name for node in (*first, *beside, *heads)]


def free_heads(graph: onnx.GraphProto) -> None:
    """Let the heads read what the layer before them computed, not what int8 made of it; in place."""
    makers = {name: node for node in graph.node for name in node.output}
    for reader in _heads(graph):
        maker = makers[reader.input[0]]
        if maker.op_type in ACTIVATIONS:
            reader, maker = maker, makers[maker.input[0]]
        if maker.op_type == "DequantizeLinear":
            quantizer = makers[maker.input[0]]
            reader.input[0] = quantizer.input[0]
            for node in (maker, quantizer):
                if node.output[0] not in _read(graph):
                    graph.node.remove(node)
    read = _read(graph)
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)


def _heads(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The convolutions that give the outputs."""
    outputs = {output.name for output in graph.output}
    return [node for node in graph.node if node.op_type == "Conv" and outputs.intersection(node.output)]


def _read(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input}
