"""`GaussianYoloDetect` as far as a build needs it: names, fields, types and shapes, and nothing that runs.

TensorRT for RTX builds engines for other GPUs without having one, where the compiled library may not load. An engine
holds the plugin's name and its serialised fields only, so what is built with this one runs with the library.
"""

from __future__ import annotations

from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np

from gaussian_yolo_node.engine.plugin_node import HEADS, OUTPUTS, PLUGIN_NAME, DetectAttributes
from gaussian_yolo_node.runtime.plugin_library import PLUGIN_VERSION

_FLOATS = {"anchors", "score_threshold", "iou_threshold"}
_LISTS = {"anchors", "strides"}


class ContractPluginError(ValueError):
    """The parser handed over other fields than the node has; it ends in TensorRT's log."""


def read_fields(collection: Any) -> DetectAttributes:
    """Attributes from TensorRT's fields.

    Args:
        collection: PluginFieldCollection; other fields than the plugin's are passed over.

    Raises:
        ContractPluginError: a field is missing.
    """
    found = {field.name: np.atleast_1d(np.asarray(field.data)) for field in collection}
    values: dict[str, Any] = {}
    for field in fields(DetectAttributes):
        if field.name not in found:
            raise ContractPluginError(f"{PLUGIN_NAME} lacks the field {field.name}")
        items = [float(item) if field.name in _FLOATS else int(item) for item in found[field.name].ravel()]
        values[field.name] = tuple(items) if field.name in _LISTS else items[0]
    return DetectAttributes(**values)


def write_fields(attributes: DetectAttributes, trt: Any) -> Any:
    """TensorRT's fields of attributes, which an engine keeps and the compiled plugin is made of when it is loaded."""
    kinds = trt.PluginFieldType
    made = []
    for field in fields(DetectAttributes):
        is_float = field.name in _FLOATS
        data = np.atleast_1d(np.array(getattr(attributes, field.name), np.float32 if is_float else np.int32))
        made.append(trt.PluginField(field.name, data, kinds.FLOAT32 if is_float else kinds.INT32))
    return trt.PluginFieldCollection(made)


def output_shapes(attributes: DetectAttributes) -> list[tuple[int, ...]]:
    """Shapes of the outputs behind the batch, in the order of `OUTPUTS`."""
    rows = attributes.max_detections
    return [(), (rows, 4), (rows,), (rows,), (rows, 4)]


@cache
def register_contract_plugin(trt: Any) -> Any:
    """Make the plugin known to TensorRT's parser, once a process.

    Args:
        trt: TensorRT's module.

    Returns:
        The creator, whose `created` lists the attributes of the plugins it made.
    """
    int32, float32 = trt.DataType.INT32, trt.DataType.FLOAT
    output_types = [int32, float32, float32, int32, float32]

    class ContractPlugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):  # type: ignore[misc]
        def __init__(self, attributes: DetectAttributes) -> None:
            for base in ContractPlugin.__bases__:
                base.__init__(self)
            self.attributes = attributes
            self.plugin_name = PLUGIN_NAME
            self.plugin_version = PLUGIN_VERSION
            self.plugin_namespace = ""
            self.num_outputs = len(OUTPUTS)

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            return ContractPlugin(self.attributes)

        def get_output_data_types(self, input_types: Any) -> Any:
            return output_types

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, expressions: Any) -> Any:
            shapes = []
            for shape in output_shapes(self.attributes):
                dims = trt.DimsExprs(1 + len(shape))
                dims[0] = inputs[0][0]
                for axis, size in enumerate(shape, 1):
                    dims[axis] = expressions.constant(size)
                shapes.append(dims)
            return shapes

        def supports_format_combination(self, position: int, tensors: Any, inputs: int) -> bool:
            tensor = tensors[position].desc
            if tensor.format != trt.TensorFormat.LINEAR:
                return False
            if position < inputs:
                heads = (trt.DataType.FLOAT, trt.DataType.HALF)
                return inputs == HEADS and tensor.type in heads and tensor.type == tensors[0].desc.type
            return bool(tensor.type == output_types[position - inputs])

        def configure_plugin(self, inputs: Any, outputs: Any) -> None:
            for head, tensor in enumerate(inputs):
                wanted = self.attributes.head_shape(head)
                if tuple(tensor.desc.dims)[1:] != wanted:
                    raise ContractPluginError(
                        f"{PLUGIN_NAME} takes head {head} as [batch, {', '.join(map(str, wanted))}] and got "
                        f"{list(tensor.desc.dims)}"
                    )

        def get_fields_to_serialize(self) -> Any:
            return write_fields(self.attributes, trt)

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def on_shape_change(self, inputs: Any, outputs: Any) -> None:
            pass

        def set_tactic(self, tactic: int) -> None:
            pass

        def enqueue(self, *arguments: Any) -> None:
            raise NotImplementedError(f"{PLUGIN_NAME} runs from libgaussian_yolo_plugin.so only")

    class Creator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = PLUGIN_NAME
            self.plugin_version = PLUGIN_VERSION
            self.plugin_namespace = ""
            self.created: list[DetectAttributes] = []
            kinds = trt.PluginFieldType
            self.field_names = trt.PluginFieldCollection(
                [
                    trt.PluginField(field.name, np.array([]), kinds.FLOAT32 if field.name in _FLOATS else kinds.INT32)
                    for field in fields(DetectAttributes)
                ]
            )

        def create_plugin(self, name: str, collection: Any, phase: Any) -> Any:
            attributes = read_fields(collection)
            self.created.append(attributes)
            return ContractPlugin(attributes)

    creator = Creator()
    trt.get_plugin_registry().register_creator(creator, "")
    return creator
