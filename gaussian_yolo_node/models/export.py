"""A trained detector as one ONNX file: uint8 BGR canvas in, raw heads out, its card in the metadata."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import GaussianYoloError

OPSET = 17


class ExportError(GaussianYoloError):
    """A model cannot be exported as asked."""


def export_model(model: nn.Module, card: ModelCard, output: Path) -> None:
    """Write a detector for batch 1 at the card's input size.

    The graph takes `image`, uint8 `[1,H,W,3]` BGR, and gives the raw heads `head_32, head_16, head_8`.

    Args:
        model: takes an RGB image `[B,3,H,W]` with values 0..255, which its first convolution (as modules are
            registered) reads, and gives a raw head for each of the card's strides, in that order.
        card: goes into the file.
        output: the ONNX file to write.

    Raises:
        ExportError: the onnx package is missing, or the input size is no multiple of the coarsest stride.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("export needs the onnx package: pip install 'gaussian_yolo[train]'") from error
    height, width = card.input_size
    coarsest = max(card.strides)
    if height <= 0 or width <= 0 or height % coarsest or width % coarsest:
        raise ExportError(f"input size {height}x{width} is not a multiple of {coarsest} in both directions")
    deployed = DeployedModel(model).eval()
    example = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The tracer warns that padding becomes constant: a fixed input size is what is wanted.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            deployed,
            (example,),
            str(output),
            input_names=["image"],
            output_names=[f"head_{stride}" for stride in card.strides],
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load(str(output))
    proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
    onnx.checker.check_model(proto)
    onnx.save(proto, str(output))


class DeployedModel(nn.Module):
    """A detector on raw canvases; the stem's filters are reversed once instead of every frame's channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        stem = next(module for module in self.model.modules() if isinstance(module, nn.Conv2d))
        if stem.in_channels != 3:
            raise ExportError(f"the model's first convolution reads {stem.in_channels} channels where RGB has 3")
        stem.weight.data = stem.weight.data.flip(1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Raw heads of a canvas uint8 `[B,H,W,3]` BGR."""
        return tuple(self.model(image.permute(0, 3, 1, 2).float()))
