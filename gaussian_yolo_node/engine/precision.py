"""A model in the types that it is to compute in, as strongly typed networks take them.

fp16 is nvidia-modelopt's AutoCast. int8 is a model that `gaussian-yolo quantize` wrote, put into the form that TensorRT
takes: it knows symmetric int8 only, where the processor's runtimes compute in uint8 with zero points.
"""

from __future__ import annotations

import logging
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import ModelError, SettingError
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError, last_words

Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(Precision)

_INT8_MAX = 127
_NOT_NEGATIVE = {"Relu", "Sigmoid"}


def to_half(path: Path, output: Path, canvases: NDArray[np.uint8]) -> None:
    """Write a model in fp16, its heads and layers with values too large for that in fp32.

    Args:
        path: the ONNX file.
        output: the ONNX file to write; more is written beside it.
        canvases: what the sizes of values are seen on, uint8 [B, H, W, 3] BGR of the model's batch.

    Raises:
        RuntimeUnavailableError: nvidia-modelopt is not installed.
        ModelError: it cannot convert the model.
    """
    try:
        autocast = import_module("modelopt.onnx.autocast")
        trouble: type[Exception] = import_module("polygraphy.exception").PolygraphyException
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"precision fp16 needs nvidia-modelopt, which cannot be imported ({last_words(error)}); install it with "
            "`python3 -m pip install 'nvidia-modelopt[onnx]'`, or take --precision fp32"
        ) from error
    import onnx

    model = onnx.load(str(path))
    observed = output.with_suffix(".npz")
    observations: dict[str, Any] = {model.graph.input[0].name: canvases}
    np.savez(observed, **observations)
    for name in list(logging.root.manager.loggerDict):  # each has a level and a handler of its own, to stdout
        if name.startswith("modelopt"):
            logging.getLogger(name).setLevel(logging.ERROR)
    try:
        half = autocast.convert_to_mixed_precision(
            str(path), low_precision_type="fp16", keep_io_types=True, calibration_data=str(observed)
        )
        onnx.save(half, str(output))
    except (RuntimeError, ValueError, AssertionError, KeyError, trouble) as error:
        raise ModelError(
            f"{path} cannot be turned into fp16 by nvidia-modelopt ({last_words(error)}); take --precision fp32"
        ) from error


def to_symmetric(model: Any, path: Path) -> None:
    """Put a quantised model into TensorRT's form, in place: int8 with zero points of 0, biases in float.

    The ranges stay. One that begins at 0 has half as many steps afterwards, and where the quantisation to uint8 stood
    for a ReLU, that is put back.

    Args:
        model: ONNX ModelProto with QuantizeLinear and DequantizeLinear.
        path: of the model, for messages.

    Raises:
        ModelError: weights are not int8 with zero points of 0; or nothing is quantised.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {name: node for node in graph.node for name in node.output}

    def value(name: str) -> NDArray[Any]:
        return np.asarray(numpy_helper.to_array(constants[name]))

    nodes: list[Any] = []
    added: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            nodes.append(node)
            continue
        source, scale, zero = node.input[0], value(node.input[1]), value(node.input[2])
        if source in constants:
            if zero.dtype == np.int32:
                bias = (value(source).astype(np.float64) * scale).astype(np.float32)
                added[node.output[0]] = numpy_helper.from_array(bias, node.output[0])
                continue
            if zero.dtype != np.int8 or zero.any():
                raise ModelError(
                    f"{path} has weights {source} that are not int8 around 0, which TensorRT does not take; quantise "
                    "it with `gaussian-yolo quantize`"
                )
        elif zero.dtype == np.uint8:
            low, high = -float(zero) * float(scale), (255 - float(zero)) * float(scale)
            name = f"{node.input[1]}/symmetric"
            added[name] = numpy_helper.from_array(np.array(max(-low, high) / _INT8_MAX, np.float32), name)
            added[f"{name}/zero"] = numpy_helper.from_array(np.array(0, np.int8), f"{name}/zero")
            node.input[1], node.input[2] = name, f"{name}/zero"
            producer = made.get(source)
            if node.op_type == "QuantizeLinear" and zero == 0 and not _never_negative(producer):
                nodes.append(helper.make_node("Relu", [source], [f"{node.output[0]}/relu"]))
                node.input[0] = f"{node.output[0]}/relu"
        nodes.append(node)
    if not added:
        raise ModelError(f"{path} is not quantised; quantise it with `gaussian-yolo quantize`, or give --calibration")
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used - added.keys()]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *added.values()])


def _never_negative(node: Any) -> bool:
    return node is not None and node.op_type in _NOT_NEGATIVE


def check_precision(precision: str | None) -> None:
    """Raise SettingError unless it is one that engines are built in."""
    if precision is not None and precision not in PRECISIONS:
        raise SettingError(f"precision is {precision!r}; choose one of {', '.join(PRECISIONS)}")
