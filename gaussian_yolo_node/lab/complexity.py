"""Count the parameters and multiply-accumulates of a network without running it."""

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
    """The cost of one image.

    Attributes:
        parameters: learned values; running statistics are not counted.
        macs: multiply-accumulates of convolutions and linear layers, as in the papers; Darknet and the Gaussian
            YOLOv3 paper report twice this number as FLOPs.
    """

    parameters: int
    macs: int


def complexity(model: nn.Module, input_size: tuple[int, int], channels: int = 3) -> Complexity:
    """Count a model for one image.

    Args:
        model: takes an image `[1, channels, H, W]`; not changed. It may be on the meta device, where even the largest
            network needs no memory.
        input_size: height and width, px.
        channels: of the image.
    """
    # Copy to the meta device first, so that a large model is not copied in full.
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

    for module in list(shadow.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):  # counts nothing, and is slow on the meta device
                setattr(module, name, nn.Identity())
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        shadow(torch.empty(1, channels, *input_size, device="meta"))
    return Complexity(sum(parameter.numel() for parameter in model.parameters()), macs)


def onnx_complexity(path: Path, input_size: tuple[int, int] | None = None) -> Complexity:
    """Count a model file for one image.

    Batch norms are folded into convolutions in the file, and a merged MDConv counts with its zeros. In a quantised
    model the weights and biases count as in the float model; the scales do not count.

    Args:
        input_size: height and width in px, for a file with dynamic sizes; default: the card's.

    Raises:
        ModelError: the file is not an ONNX model, or a size in it is dynamic.
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
            # Per image; each output value takes as many products as its filter has weights.
            outputs = math.prod(shapes.get(node.output[0], (0, 0))[1:])
            if not outputs:
                raise ModelError(f"{path} leaves the size of {node.output[0]} open; say for which canvas to count")
            weight = integers.get(node.input[1], node.input[1])
            macs += outputs * (weights[weight] // filters[weight])
    return Complexity(sum(weights.values()), macs)


def feature_values(path: Path, input_size: tuple[int, int] | None = None) -> int:
    """Feature-map values that the convolutions of a model file read and write for one image.

    Times the bytes per value, this is the minimum memory traffic of a device whose caches hold no feature map.

    Raises:
        ModelError: as `onnx_complexity`.
    """
    onnx_complexity(path, input_size)  # raises ModelError for a damaged file or a dynamic size
    model = _load(path, input_size)
    shapes = _fixed_shapes(model)
    maps = [name for node in model.graph.node if node.op_type == "Conv" for name in (node.input[0], node.output[0])]
    return sum(math.prod(shapes[name][1:]) for name in maps)


def _load(path: Path, input_size: tuple[int, int] | None) -> onnx.ModelProto:
    """The model with its input size fixed to `input_size` or the card's."""
    import onnx

    model = onnx.load(str(path))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if input_size is None and CARD_KEY in metadata:
        input_size = read_card(metadata, path).input_size
    if input_size is not None:
        fix_size(model, input_size)
    return model


def _fixed_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of each value, with 0 for dynamic sizes. Folds the constants of the model.

    Paddings may be computed from shapes, which shape inference cannot follow; folding them makes the next layer's
    shape known.
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
    """Replace nodes with constant inputs or known shapes by their results; False if there are none."""
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
