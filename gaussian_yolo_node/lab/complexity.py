"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import CARD_KEY, read_card
from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.lab.export.free_size import fix_size

if TYPE_CHECKING:
    import onnx

_ROUNDING = ("QuantizeLinear", "DequantizeLinear")


@dataclass(frozen=True)
class Complexity:
    """What one image costs.

    Attributes:
        parameters: learned values; running statistics are not counted.
        macs: multiply-accumulates of convolutions and linear layers, as the papers count; Darknet and the Gaussian
            YOLOv3 paper call twice this number FLOPs.
    """

    parameters: int
    macs: int


def complexity(model: nn.Module, input_size: tuple[int, int], channels: int = 3) -> Complexity:
    """Count a model for one image.

    Args:
        model: takes an image `[1, channels, H, W]`. It may live on the meta device, where even the largest network
            takes no memory; it is left as it is.
        input_size: height and width, px.
        channels: of the image.
    """
    # A copy of tensors on the meta device first, so that a large model is not copied in full.
    with torch.device("meta"):
        memo: dict[int, object] = {id(p): nn.Parameter(torch.empty(p.shape)) for p in model.parameters()}
        memo |= {id(b): torch.empty(b.shape) for b in model.buffers()}
    shadow = copy.deepcopy(model, memo).eval()
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            per_output = module.in_channels // module.groups * math.prod(module.kernel_size)
        else:
            per_output = cast(nn.Linear, module).in_features
        macs += output.numel() * per_output

    for module in shadow.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, channels, *input_size, device="meta"))
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), macs)


def onnx_complexity(path: Path, input_size: tuple[int, int] | None = None) -> Complexity:
    """Count a model file: what its graph holds and computes for one image.

    Args:
        input_size: height and width in px, for a file that leaves them free; the card's if not given.

    Batch norms are folded into convolutions there, and a merged MDConv counts with its zeros. Of a quantised model
    weights and biases count as they did before, and the scales do not.

    Raises:
        ModelError: the file is no ONNX model, or a size in it is left open.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = _load(path, input_size)
        rounded = [node for node in model.graph.node if node.op_type in _ROUNDING]
        integers = {node.output[0]: node.input[0] for node in rounded}
        scales = {name for node in rounded for name in node.input[1:]}
        weights = {
            item.name: math.prod(item.dims)
            for item in model.graph.initializer
            if (item.data_type == onnx.TensorProto.FLOAT and item.name not in scales) or item.name in integers.values()
        }
        filters = {item.name: item.dims[0] for item in model.graph.initializer if item.dims}
        shapes = _fixed_shapes(model)
    except (OSError, DecodeError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path} cannot be read as an ONNX model; copy or export it again") from error
    macs = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            # Of one image: an output of a filter takes as many products as the filter has weights.
            outputs = math.prod(shapes.get(node.output[0], (0, 0))[1:])
            if not outputs:
                raise ModelError(f"{path} leaves the size of {node.output[0]} open; say for which canvas to count")
            weight = integers.get(node.input[1], node.input[1])
            macs += outputs * (weights[weight] // filters[weight])
    return Complexity(sum(weights.values()), macs)


def feature_values(path: Path, input_size: tuple[int, int] | None = None) -> int:
    """Values of feature maps that the convolutions of a model file read and write for one image.

    Times the bytes of a value this is the least traffic of a device whose caches hold no feature map.

    Raises:
        ModelError: as `onnx_complexity`.
    """
    onnx_complexity(path, input_size)  # says so if the file is damaged or a size is open
    model = _load(path, input_size)
    shapes = _fixed_shapes(model)
    maps = [name for node in model.graph.node if node.op_type == "Conv" for name in (node.input[0], node.output[0])]
    return sum(math.prod(shapes[name][1:]) for name in maps)


def _load(path: Path, input_size: tuple[int, int] | None) -> onnx.ModelProto:
    """The model, its size fixed to the one given or to the card's."""
    import onnx

    model = onnx.load(str(path))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if input_size is None and CARD_KEY in metadata:
        input_size = read_card(metadata, path).input_size
    if input_size is not None:
        fix_size(model, input_size)
    return model


def _fixed_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of each value, 0 where a size is open. Constants in the model are computed on the way.

    Amounts of padding may be written as arithmetic on shapes, which shape inference does not see through: it learns
    the next layer's shape only when they are computed.
    """
    from onnx import shape_inference

    while True:
        graph = shape_inference.infer_shapes(model).graph
        shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.input, *graph.output)
        }
        if not _fold_constants(model, shapes):
            return shapes


def _fold_constants(model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Replace nodes that depend on nothing, or on a known shape, by what they give; False if there are none."""
    from onnx import helper, numpy_helper, reference

    constants = {item.name: item for item in model.graph.initializer}
    known = set(constants)
    nodes, values = [], {}
    for node in model.graph.node:
        if node.op_type == "Shape" and 0 not in shapes.get(node.input[0], (0,)):
            values[node.output[0]] = np.array(shapes[node.input[0]], np.int64)
        elif node.op_type not in _ROUNDING and known.issuperset(filter(None, node.input)):
            nodes.append(node)
        else:
            continue
        known.update(node.output)
    if not nodes and not values:
        return False
    used = [constants[name] for name in {name for node in nodes for name in node.input} if name in constants]
    used += [numpy_helper.from_array(value, name) for name, value in values.items()]
    names = [name for node in nodes for name in node.output]
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    part = helper.make_graph(nodes, "constants", [], outputs, used)
    evaluator = reference.ReferenceEvaluator(helper.make_model(part, opset_imports=model.opset_import))
    values |= dict(zip(names, evaluator.run(None, {}), strict=True))
    for node in [node for node in model.graph.node if node.output[0] in values]:
        model.graph.node.remove(node)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in values.items())
    return True
