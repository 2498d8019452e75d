"""Convert a float network to half precision: TensorRT uses the types in the graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gaussian_yolo_node.lab.export.tensorrt.contract import EngineError

if TYPE_CHECKING:
    import onnx

_FLOAT_INPUTS = {"Resize": (1, 2)}  # inputs that ONNX requires in float: region and scales


def to_half(model: onnx.ModelProto, path: Path) -> None:
    """Convert a network to half precision in place, from its first convolution to its heads.

    Image scaling and the heads stay in float: pixel values up to 255 squared are too coarse in half, and rounding in
    the heads would directly affect boxes and sigmas.

    Args:
        model: its outputs are outputs of convolutions.
        path: the model's file, for messages.

    Raises:
        EngineError: there is no convolution, or a weight is too large for half.
    """
    from onnx import TensorProto, helper

    graph = model.graph
    _constants_as_initializers(graph)
    inside = _inside(graph, path)
    floats = _float_tensors(model)
    constants = {item.name: item for item in graph.initializer}
    made = {name for node in inside for name in node.output}
    renamed: dict[str, str] = {}  # outside float tensor -> its half version
    nodes: list[onnx.NodeProto] = []
    members = {id(node) for node in inside}
    casts: dict[str, str] = {}  # half tensor -> its float version
    for node in graph.node:
        if id(node) not in members:
            for index, name in enumerate(node.input):
                if name in made and name in floats:
                    if name not in casts:
                        casts[name] = f"{name}_float"
                        nodes.append(helper.make_node("Cast", [name], [casts[name]], casts[name], to=TensorProto.FLOAT))
                    node.input[index] = casts[name]
            nodes.append(node)
            continue
        for index, name in enumerate(node.input):
            if name not in floats or name in made or index in _FLOAT_INPUTS.get(node.op_type, ()):
                continue
            if name not in renamed:
                renamed[name] = f"{name}_half"
                if name in constants:
                    graph.initializer.append(_half_of(constants[name], renamed[name], path))
                else:
                    half = helper.make_node("Cast", [name], [renamed[name]], renamed[name], to=TensorProto.FLOAT16)
                    nodes.append(half)
            node.input[index] = renamed[name]
        if node.op_type == "Cast":
            for attribute in node.attribute:
                if attribute.name == "to" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16
        nodes.append(node)
    # The types of intermediate tensors have changed.
    del graph.value_info[:]
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    for item in [item for item in graph.initializer if item.name not in read]:
        graph.initializer.remove(item)


def outside(graph: onnx.GraphProto, path: Path) -> list[onnx.NodeProto]:
    """The nodes that stay in float: image scaling and the heads.

    Raises:
        EngineError: there is no convolution.
    """
    members = {id(node) for node in _inside(graph, path)}
    return [node for node in graph.node if id(node) not in members]


def _constants_as_initializers(graph: onnx.GraphProto) -> None:
    from onnx import numpy_helper

    for node in [node for node in graph.node if node.op_type == "Constant"]:
        values = {attribute.name: attribute for attribute in node.attribute}
        if "value" not in values:
            continue  # scalars and 1-D arrays: sizes, not part of the arithmetic
        array = numpy_helper.to_array(values["value"].t)
        graph.initializer.append(numpy_helper.from_array(array, node.output[0]))
        graph.node.remove(node)


def _inside(graph: onnx.GraphProto, path: Path) -> list[onnx.NodeProto]:
    """The nodes between image scaling and the heads, in order."""
    outputs = {item.name for item in graph.output}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    if not convolutions:
        raise EngineError(f"{path} has no convolutions, so there is nothing to compute in half; build it with fp32")
    from_first: set[str] = set(convolutions[0].output)
    inside = [convolutions[0]]
    for node in graph.node:
        if node is convolutions[0] or outputs.intersection(node.output):
            continue
        if from_first.intersection(node.input):
            from_first.update(node.output)
            inside.append(node)
    return inside


def _float_tensors(model: onnx.ModelProto) -> set[str]:
    """Names of all tensors of type float."""
    from onnx import TensorProto, shape_inference

    graph = shape_inference.infer_shapes(model, data_prop=True).graph
    known = [*graph.input, *graph.output, *graph.value_info]
    return {item.name for item in known if item.type.tensor_type.elem_type == TensorProto.FLOAT} | {
        item.name for item in graph.initializer if item.data_type == TensorProto.FLOAT
    }


def _half_of(item: onnx.TensorProto, name: str, path: Path) -> onnx.TensorProto:
    from onnx import numpy_helper

    values = numpy_helper.to_array(item)
    largest = float(np.max(np.abs(values), initial=0))
    limit = float(np.finfo(np.float16).max)
    # The limits of a Clip may be the float limits, meaning no limit.
    if values.ndim and largest > limit:
        raise EngineError(
            f"{path} has weights up to {largest:.3g} in {item.name}, too large for half; build it with fp32"
        )
    return numpy_helper.from_array(np.clip(values, -limit, limit).astype(np.float16), name)
