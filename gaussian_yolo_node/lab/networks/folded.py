"""Start a training from a model file, whose batch norms are folded into its convolutions.

This program's model files and the published YOLOX-nano store convolutions in execution order; weights are matched by
this order. Each batch norm is then unfolded: its running mean and variance become those of its input on training
frames, and its scale and shift are chosen so that the function does not change.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.decode import BOX_ENTRIES
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.blocks import ACTIVATIONS, measure_batch_norms
from gaussian_yolo_node.lab.networks.csp_darknet import Activation
from gaussian_yolo_node.lab.networks.gaussian_yolo import STRIDES, GaussianYolo
from gaussian_yolo_node.lab.networks.neck import DecoupledHead
from gaussian_yolo_node.labels.yolo import COCO_NAMES

# COCO classes whose weights initialise classes with another name.
COCO_STARTS = {
    "pedestrian": "person",
    "rider": "person",
    "cyclist": "bicycle",
    "bike": "bicycle",
    "motor": "motorcycle",
}
_MEND = "set model.backbone, neck and width to those of the file"
YOLOX_STEM = (12, 3, 3)  # channels and kernel of the convolution behind YOLOX's space-to-depth
YOLOX_ACTIVATION = "silu"
YOLOX_LEVEL = 12  # convolutions of a level's tower and heads: stem, 4 + classes, 4 + box and objectness
SIGMA_START = -1.5  # initial logit of sigmas for a start without sigmas: 0.18 of a cell


Layer = tuple[nn.Conv2d, "nn.BatchNorm2d | None"]  # a convolution and the batch norm after it


class FoldedWeightsError(GaussianYoloError):
    """A model file does not fit the network to initialise."""


@dataclass(frozen=True)
class Folded:
    """A convolution with folded batch norm: weight `[O,I,k,k]` and bias `[O]`, float32."""

    weight: Tensor
    bias: Tensor


def start_from(
    model: GaussianYolo,
    path: Path,
    classes: Sequence[str],
    anchors: Sequence[Sequence[Sequence[float]]],
    frames: Sequence[Tensor],
) -> int:
    """Load the weights of a model file into a fresh detector; heads for other classes or anchors stay fresh.

    Args:
        model: its batch norms take their statistics from `frames`.
        path: ONNX file, a float32 model of this program or the published YOLOX-nano. YOLOX's heads predict one box per
            cell without sigmas; every anchor starts with that box, and every class with the COCO class of its name.
        classes: the detector's C class names.
        anchors: `[S][A][2]` w, h in canvas px, in the order of the heads.
        frames: batches of RGB images `[B,3,H,W]`, 0..255.

    Returns:
        the number of filled convolutions.

    Raises:
        FoldedWeightsError: the file cannot be read, is quantised, or belongs to another network.
    """
    folded = read_folded(path)
    in_heads = {module for head in model.heads for module in head.modules()}
    layers = _layers_in_order(model.eval())
    if folded[0].weight.shape[1:] != YOLOX_STEM:
        filled = _fill(layers, folded, in_heads, path)
        unfold(model, frames)
        return filled
    body, heads = _from_yolox(folded, path)
    filled = _fill([layer for layer in layers if layer[0] not in in_heads], body, in_heads, path)
    for head, stride, own, start in zip(model.heads, STRIDES, anchors, heads, strict=True):
        _fill_head(head, start, classes, np.asarray(own), stride)
    _unfold_with(model, YOLOX_ACTIVATION, frames)
    return filled + sum(map(len, heads))


def read_folded(path: Path) -> list[Folded]:
    """The convolutions of an ONNX file in execution order.

    Raises:
        FoldedWeightsError: the file is missing or not ONNX, or its convolutions are not plain float32 with a bias.
    """
    import onnx
    from onnx import numpy_helper

    try:
        graph: Any = onnx.load(str(path)).graph
    except Exception as error:  # protobuf's and onnx's exceptions share no base class
        raise FoldedWeightsError(f"{path} cannot be read as an ONNX model: check model.init") from error
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type == "Identity" and node.input[0] in arrays:  # a file stores equal arrays only once
            arrays[node.output[0]] = arrays[node.input[0]]
        if node.op_type != "Conv":
            continue
        if len(node.input) != 3 or not set(node.input[1:]) <= arrays.keys():
            raise FoldedWeightsError(f"{path}: its weights are quantised or not folded; start from the float model")
        weight, bias = (torch.from_numpy(numpy_helper.to_array(arrays[name]).copy()) for name in node.input[1:])
        found.append(Folded(weight.float(), bias.float()))
    if not found:
        raise FoldedWeightsError(f"{path} has no convolutions: check model.init")
    return found


@torch.no_grad()
def unfold(model: nn.Module, frames: Iterable[Tensor]) -> None:
    """Set the statistics of batch norms to those of their inputs on `frames`, and scales and shifts that undo them.

    In training mode they then normalise like trained batch norms; in evaluation mode the function does not change.
    """
    sums: dict[nn.BatchNorm2d, Tensor] = {}

    def measure(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        x = inputs[0].double()
        count = x.new_full((x.shape[1],), x.numel() / x.shape[1])
        each = torch.stack([count, x.sum((0, 2, 3)), x.square().sum((0, 2, 3))])
        sums[norm] = sums[norm] + each if norm in sums else each

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    try:
        for batch in frames:
            model(batch.float())
    finally:
        for hook in hooks:
            hook.remove()
    for norm, (count, total, squares) in sums.items():
        assert norm.running_mean is not None and norm.running_var is not None
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        shift = norm.bias.double() - factor * norm.running_mean.double()
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_(factor * (variance + norm.eps).sqrt())
        norm.bias.copy_(shift + factor * mean)


def _unfold_with(model: nn.Module, activation: str, frames: Sequence[Tensor]) -> None:
    """Unfold the batch norms of weights trained with another activation than the model's.

    Scales and shifts are measured with `activation`, running statistics with the model's own. Replacing SiLU by
    hard-swish then costs 5 points of AP before training, instead of 41.
    """
    own = {module: module.function for module in model.modules() if isinstance(module, Activation)}
    for module in own:
        module.function = ACTIVATIONS[activation]
    unfold(model, frames)
    for module, function in own.items():
        module.function = function
    if any(function is not ACTIVATIONS[activation] for function in own.values()):
        measure_batch_norms(model, frames)


def _layers_in_order(model: nn.Module) -> list[Layer]:
    """Convolutions in execution order, each with the batch norm after it."""
    layers: list[Layer] = []

    def note(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, nn.Conv2d):
            layers.append((module, None))
        elif isinstance(module, nn.BatchNorm2d):
            layers[-1] = (layers[-1][0], module)

    hooks = [module.register_forward_pre_hook(note) for module in model.modules()]
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64, device=next(model.parameters()).device))
    for hook in hooks:
        hook.remove()
    return layers


@torch.no_grad()
def _fill(layers: Sequence[Layer], given: Sequence[Folded], in_heads: set[nn.Module], path: Path) -> int:
    """Copy the weights and return the number of filled convolutions. Only heads may have other shapes."""
    if len(layers) != len(given):
        raise FoldedWeightsError(
            f"{path} has {len(given)} convolutions where the recipe's network has {len(layers)}: {_MEND}"
        )
    filled = 0
    for number, ((conv, norm), folded) in enumerate(zip(layers, given, strict=True)):
        if conv.weight.shape != folded.weight.shape:
            if conv in in_heads:
                continue
            raise FoldedWeightsError(
                f"{path}: convolution {number} is {list(folded.weight.shape)} where the recipe's network has "
                f"{list(conv.weight.shape)}: {_MEND}"
            )
        # Files take BGR, the network takes RGB.
        conv.weight.copy_(folded.weight.flip(1) if number == 0 else folded.weight)
        if norm is None:
            assert conv.bias is not None
            conv.bias.copy_(folded.bias)
        else:
            _identity(norm, folded.bias)
        filled += 1
    return filled


def _identity(norm: nn.BatchNorm2d, bias: Tensor) -> None:
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.copy_(bias)


def _from_yolox(folded: Sequence[Folded], path: Path) -> tuple[list[Folded], list[list[Folded]]]:
    """The convolutions up to the towers in this program's order; and classes, box and objectness of each level,
    coarsest first."""
    first = folded[0]
    # Channels are ordered by column, row and colour of the 2x2 px; equivalent to a kernel twice as large on the image.
    kernel = first.weight.view(-1, 2, 2, 3, 3, 3).permute(0, 3, 4, 2, 5, 1).reshape(-1, 3, 6, 6)
    towers = len(folded) - len(STRIDES) * YOLOX_LEVEL
    levels = [folded[start : start + YOLOX_LEVEL] for start in range(max(0, towers), len(folded), YOLOX_LEVEL)]
    ends = [[level[5], level[10], level[11]] for level in reversed(levels) if len(level) == YOLOX_LEVEL]
    if towers < 1 or any([len(end.weight) for end in of_level] != [len(COCO_NAMES), 4, 1] for of_level in ends):
        raise FoldedWeightsError(f"{path} begins like YOLOX, but has not the heads of YOLOX-nano for COCO")
    body = [Folded(kernel, first.bias), *folded[1:towers]]
    for level in reversed(levels):
        body += [*level[:5], *level[6:10]]
    return body, ends


@torch.no_grad()
def _fill_head(
    head: nn.Module, start: Sequence[Folded], classes: Sequence[str], anchors: np.ndarray, stride: int
) -> None:
    """Every anchor gives YOLOX's box: centre = (x + cell) * stride (no logistic function), size = exp(w) * stride."""
    if not isinstance(head, DecoupledHead):
        raise FoldedWeightsError("YOLOX's heads start decoupled ones only: set model.neck to csp")
    of_classes, of_box, of_objectness = start
    assert head.classes.bias is not None and head.boxes.bias is not None
    weights, biases = head.classes.weight.view(len(anchors), len(classes), -1), head.classes.bias.view(len(anchors), -1)
    for index, name in enumerate(classes):
        coco = COCO_STARTS.get(name, name)
        if coco in COCO_NAMES:
            row = COCO_NAMES.index(coco)
            weights[:, index] = of_classes.weight[row, :, 0, 0]
            biases[:, index] = of_classes.bias[row]
    weights, biases = head.boxes.weight.view(len(anchors), BOX_ENTRIES, -1), head.boxes.bias.view(len(anchors), -1)
    for entry, axis in ((0, 0), (2, 1)):
        # logistic(4 (x - 1/2)) has the same value and slope as x at 1/2.
        weights[:, entry] = 4 * of_box.weight[axis, :, 0, 0]
        biases[:, entry] = 4 * (of_box.bias[axis] - 0.5)
    for entry, axis in ((4, 2), (6, 3)):
        weights[:, entry] = of_box.weight[axis, :, 0, 0]
        biases[:, entry] = of_box.bias[axis] + torch.tensor(np.log(stride / anchors[:, axis - 2]), dtype=torch.float32)
    biases[:, 1:8:2] = SIGMA_START
    weights[:, BOX_ENTRIES - 1] = of_objectness.weight[0, :, 0, 0]
    biases[:, BOX_ENTRIES - 1] = of_objectness.bias[0]
