"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from gaussian_yolo_node.errors import ModelError


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


def onnx_complexity(path: Path) -> Complexity:
    """Count a model file of a fixed input size: what its graph holds and computes for one image.

    Batch norms are folded into convolutions there, and a merged MDConv counts with its zeros.

    Raises:
        ModelError: the file is no ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    except (OSError, DecodeError, onnx.shape_inference.InferenceError) as error:
        raise ModelError(f"{path} cannot be read as an ONNX model; copy or export it again") from error
    weights = {
        item.name: math.prod(item.dims) for item in graph.initializer if item.data_type == onnx.TensorProto.FLOAT
    }
    filters = {item.name: item.dims[0] for item in graph.initializer if item.dims}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    macs = sum(
        # Batch 1: one output of a filter takes as many products as the filter has weights.
        math.prod(shapes[node.output[0]][1:]) * (weights[node.input[1]] // filters[node.input[1]])
        for node in graph.node
        if node.op_type == "Conv"
    )
    return Complexity(sum(weights.values()), macs)
