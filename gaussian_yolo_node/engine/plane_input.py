"""The first nodes of an exported graph, cut: the letterbox kernel already writes what they make.

A model takes `image` uint8 [B, H, W, 3] and begins with a transposition and casts. TensorRT does not transpose uint8,
and the kernel writes planes of float or half as fast as bytes, so the engine takes those.
"""

from __future__ import annotations

from typing import Any


def take_planes(graph: Any) -> bool:
    """Make the input `[B, 3, H, W]` grey levels in the type that the network computes in, where the graph allows it.

    Args:
        graph: ONNX GraphProto with one input uint8 `[B, H, W, 3]`; changed in place.

    Returns:
        Whether it was; if not, the input stays as it is.
    """
    from onnx import TensorProto

    image = graph.input[0]
    first = _only_consumer(graph, image.name)
    if first is None or first.op_type != "Transpose" or list(first.attribute[0].ints) != [0, 3, 1, 2]:
        return False
    cut, kind = [first], None
    while (node := _only_consumer(graph, cut[-1].output[0])) is not None and node.op_type == "Cast":
        if node.attribute[0].i not in (TensorProto.FLOAT, TensorProto.FLOAT16):
            break
        cut.append(node)
        kind = node.attribute[0].i
    if kind is None:
        return False
    last = cut[-1].output[0]
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == last:
                node.input[index] = image.name
    for node in cut:
        graph.node.remove(node)
    tensor = image.type.tensor_type
    tensor.elem_type = kind
    batch, height, width, channels = [type(dim).FromString(dim.SerializeToString()) for dim in tensor.shape.dim]
    for dim, new in zip(tensor.shape.dim, (batch, channels, height, width), strict=True):
        dim.CopyFrom(new)
    return True


def _only_consumer(graph: Any, name: str) -> Any:
    """The node that reads a tensor, None if there are others or the tensor is an output."""
    readers = [node for node in graph.node if name in node.input]
    is_output = any(value.name == name for value in graph.output)
    return readers[0] if len(readers) == 1 and not is_output else None
