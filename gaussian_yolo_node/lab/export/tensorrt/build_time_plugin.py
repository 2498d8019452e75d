"""A stand-in for `libgaussian_yolo_plugin.so` when building engines: fields, shapes and types, but no kernels.

TensorRT for RTX builds ahead of time, on machines without a GPU or the CUDA compiler. The engine stores the plugin's
name and fields; at run time the real library is used.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.lab.export.tensorrt.contract import (
    HEADS,
    INTEGER_OUTPUTS,
    OUTPUTS,
    PLUGIN_NAME,
    PLUGIN_NAMESPACE,
    DetectAttributes,
    output_shapes,
)
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION

Fields = dict[str, NDArray[Any]]

# Float fields, as in the library; the others are integers.
FLOAT_FIELDS = ("anchors", "score_threshold", "iou_threshold")
LIST_FIELDS = ("anchors", "strides")
FIELDS = tuple(DetectAttributes.__dataclass_fields__)


def register(trt: Any) -> None:
    """Register the stand-in with TensorRT; the plugin must not be registered yet."""
    # The registry holds no reference; the cache keeps the creator alive for the life of the process.
    trt.get_plugin_registry().register_creator(_creator(trt), PLUGIN_NAMESPACE)


@cache
def _creator(trt: Any) -> Any:
    return _creator_class(trt)()


@cache
def _plugin_class(trt: Any) -> type[Any]:
    class BuildTimePlugin(trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):  # type: ignore[misc]
        """The TensorRT plugin interfaces; see TensorRT's documentation."""

        def __init__(self, fields: Fields) -> None:
            for base in (trt.IPluginV3, trt.IPluginV3OneCore, trt.IPluginV3OneBuild, trt.IPluginV3OneRuntime):
                base.__init__(self)
            self.fields = fields
            self.plugin_name = PLUGIN_NAME
            self.plugin_version = PLUGIN_VERSION
            self.plugin_namespace = PLUGIN_NAMESPACE
            self.num_outputs = len(OUTPUTS)

        def get_capability_interface(self, kind: Any) -> Any:
            return self

        def clone(self) -> Any:
            return BuildTimePlugin(self.fields)

        def attach_to_context(self, context: Any) -> Any:
            return self.clone()

        def get_fields_to_serialize(self) -> Any:
            return trt.PluginFieldCollection([_field(trt, name, self.fields[name]) for name in FIELDS])

        def get_output_data_types(self, types: Any) -> list[Any]:
            return [trt.int32 if name in INTEGER_OUTPUTS else trt.float32 for name in OUTPUTS]

        def get_output_shapes(self, inputs: Any, shape_inputs: Any, builder: Any) -> list[Any]:
            shapes = output_shapes(0, int(self.fields["max_detections"][0])).values()
            return [trt.DimsExprs([inputs[0][0], *map(builder.constant, rest)]) for _, *rest in shapes]

        def supports_format_combination(self, position: int, in_out: Any, num_inputs: int) -> bool:
            here = in_out[position].desc
            if here.format != trt.TensorFormat.LINEAR:
                return False
            if position >= HEADS:
                integer = OUTPUTS[position - HEADS] in INTEGER_OUTPUTS
                return bool(here.type == (trt.int32 if integer else trt.float32))
            return here.type in (trt.float32, trt.float16) and here.type == in_out[0].desc.type

        def get_workspace_size(self, inputs: Any, outputs: Any) -> int:
            # The engine reserves this much for the library, which is not queried again.
            values = {
                name: value.tolist() if name in LIST_FIELDS else value[0].item() for name, value in self.fields.items()
            }
            return DetectAttributes(**values).workspace_bound(int(inputs[0].max[0]))

        def configure_plugin(self, inputs: Any, outputs: Any) -> None:
            pass

        def on_shape_change(self, inputs: Any, outputs: Any) -> None:
            pass

        def set_tactic(self, tactic: int) -> None:
            pass

        def enqueue(self, *arguments: Any) -> None:
            raise RuntimeError(f"{PLUGIN_NAME} was built without its library, which alone can run it")

    return BuildTimePlugin


@cache
def _creator_class(trt: Any) -> type[Any]:
    class BuildTimeCreator(trt.IPluginCreatorV3One):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IPluginCreatorV3One.__init__(self)
            self.name = PLUGIN_NAME
            self.plugin_version = PLUGIN_VERSION
            self.plugin_namespace = PLUGIN_NAMESPACE
            self.field_names = trt.PluginFieldCollection(
                [_field(trt, name, np.array([], _number(name))) for name in FIELDS]
            )

        def create_plugin(self, name: str, fields: Any, phase: Any) -> Any:
            values = {field.name: np.array(field.data, _number(field.name)) for field in fields if field.name in FIELDS}
            missing = [name for name in FIELDS if name not in values]
            if missing:
                raise RuntimeError(f"{PLUGIN_NAME} lacks the attributes {', '.join(missing)}")
            return _plugin_class(trt)(values)

    return BuildTimeCreator


def _number(field: str) -> type[Any]:
    return np.float32 if field in FLOAT_FIELDS else np.int32


def _field(trt: Any, name: str, values: NDArray[Any]) -> Any:
    kind = trt.PluginFieldType.FLOAT32 if name in FLOAT_FIELDS else trt.PluginFieldType.INT32
    return trt.PluginField(name, values, kind)
