"""Append the plugin `GaussianYoloDetect` to the heads of a model's graph, the input of a TensorRT build."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.lab.export.tensorrt.contract import (
    INTEGER_OUTPUTS,
    PLUGIN_NAME,
    PLUGIN_NAMESPACE,
    DetectAttributes,
    EngineError,
    output_shapes,
)
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION

if TYPE_CHECKING:
    import onnx

DOMAIN = "gaussian_yolo"  # of the node's operator; TensorRT's parser matches by name only
NODE_NAME = "detect"
_EXPORT = "export it with `gaussian-yolo export`"


def append_plugin(model: onnx.ModelProto, attributes: DetectAttributes, path: Path) -> int | None:
    """Append the plugin node to the heads, in place; its outputs replace the heads as outputs of the graph.

    Args:
        model: a file of `gaussian-yolo export`, in any precision.
        attributes: of the node.
        path: the model's file, for messages.

    Returns:
        images per inference; None for a dynamic batch.

    Raises:
        EngineError: the input or the heads do not match the plugin's attributes.
    """
    from onnx import helper

    graph = model.graph
    batch = _check_input(graph, attributes, path)
    names = _check_heads(model, attributes, path)
    _cast_first(graph, path)
    graph.node.append(
        helper.make_node(
            PLUGIN_NAME,
            names,
            list(output_shapes(1, 1)),
            name=NODE_NAME,
            domain=DOMAIN,
            plugin_version=PLUGIN_VERSION,
            plugin_namespace=PLUGIN_NAMESPACE,
            **attributes.as_mapping(),
        )
    )
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    del graph.output[:]
    for name, (_, *rest) in output_shapes(1, attributes.max_detections).items():
        kind = onnx_type("int32" if name in INTEGER_OUTPUTS else "float32")
        graph.output.append(helper.make_tensor_value_info(name, kind, ["batch" if batch is None else batch, *rest]))
    return batch


def onnx_type(name: str) -> int:
    """ONNX's type number for a numpy type name."""
    import numpy as np
    from onnx import helper

    return int(helper.np_dtype_to_tensor_dtype(np.dtype(name)))


def _check_input(graph: onnx.GraphProto, attributes: DetectAttributes, path: Path) -> int | None:
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    wanted = (attributes.input_height, attributes.input_width, 3)
    shape = _shape(inputs[0]) if len(inputs) == 1 else []
    kind = inputs[0].type.tensor_type.elem_type if len(inputs) == 1 else 0
    if kind != onnx_type("uint8") or tuple(shape[1:]) != wanted:
        shown = ", ".join(f"{item.name} {_show(_shape(item))}" for item in inputs) or "nothing"
        raise EngineError(
            f"{path} takes {shown} where its card says one input uint8 {_show([None, *wanted])}; {_EXPORT}"
        )
    return shape[0]


def _check_heads(model: onnx.ModelProto, attributes: DetectAttributes, path: Path) -> list[str]:
    """Names of the heads in the order of the strides."""
    from onnx import shape_inference

    # Exporters leave out sizes that can be inferred.
    outputs = {item.name: item for item in shape_inference.infer_shapes(model, data_prop=True).graph.output}
    names = [f"head_{stride}" for stride in attributes.strides]
    for name, shape, stride in zip(names, attributes.head_shapes, attributes.strides, strict=True):
        if name not in outputs:
            raise EngineError(
                f"{path} has the outputs {', '.join(outputs) or 'none'} where its card says strides of "
                f"{', '.join(map(str, attributes.strides))} px, so {name} is missing; {_EXPORT}"
            )
        found = _shape(outputs[name])
        channels, rows, columns = shape
        if len(found) != 4 or found[1] not in (channels, None):
            anchors = channels // (BOX_ENTRIES + attributes.num_classes)
            raise EngineError(
                f"{name} of {path} is {_show(found)} where {anchors} anchors and {attributes.num_classes} classes make "
                f"{anchors} x ({BOX_ENTRIES} + {attributes.num_classes}) = {channels} channels; {_EXPORT} so that card "
                "and network agree"
            )
        if found[2] not in (rows, None) or found[3] not in (columns, None):
            raise EngineError(
                f"{name} of {path} is {_show(found)} where a canvas of {attributes.input_height}x"
                f"{attributes.input_width} px and stride {stride} make {rows} rows and {columns} columns; {_EXPORT} so "
                "that card and network agree"
            )
    return names


def _cast_first(graph: onnx.GraphProto, path: Path) -> None:
    """Cast the image before transposing it: TensorRT accepts uint8 only as the input of a cast."""
    from onnx import NodeProto

    name = next(item.name for item in graph.input if item.name not in {entry.name for entry in graph.initializer})
    readers: dict[str, list[tuple[int, NodeProto]]] = {}
    for index, node in enumerate(graph.node):
        for read in node.input:
            readers.setdefault(read, []).append((index, node))
    for _, first in readers.get(name, []):
        if first.op_type == "Cast":
            continue
        following = readers.get(first.output[0], [])
        if first.op_type != "Transpose" or [node.op_type for _, node in following] != ["Cast"]:
            raise EngineError(
                f"{path} feeds its image to {first.op_type} {first.name!r}, which TensorRT cannot do with uint8; "
                f"{_EXPORT}"
            )
        index, cast = following[0]
        between, end = first.output[0], cast.output[0]
        transposed = NodeProto()
        transposed.CopyFrom(first)
        first.CopyFrom(cast)
        cast.CopyFrom(transposed)
        first.input[0], first.output[0] = name, between
        cast.input[0], cast.output[0] = between, end


def _shape(item: onnx.ValueInfoProto) -> list[int | None]:
    return [size.dim_value if size.HasField("dim_value") else None for size in item.type.tensor_type.shape.dim]


def _show(shape: list[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
