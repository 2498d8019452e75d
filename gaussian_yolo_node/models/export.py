"""A trained detector as one ONNX file: uint8 BGR canvas in, raw heads out, its card in the metadata."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.models.efficientnet import EfficientNetLite
from gaussian_yolo_node.models.gaussian_yolo import STRIDES, GaussianYolo

OPSET = 17


class ExportError(GaussianYoloError):
    """A model cannot be exported as asked."""


def export_model(model: GaussianYolo, card: ModelCard, output: Path) -> None:
    """Write `model` for batch 1 at the card's input size.

    The graph takes `image`, uint8 `[1,H,W,3]` BGR, and gives the raw heads `head_32, head_16, head_8`.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("export needs the onnx package: pip install 'gaussian_yolo[train]'") from error
    height, width = card.input_size
    if height <= 0 or width <= 0 or height % max(STRIDES) or width % max(STRIDES):
        raise ExportError(f"input size {height}x{width} is not a multiple of {max(STRIDES)} in both directions")
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
            output_names=[f"head_{stride}" for stride in STRIDES],
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load(str(output))
    proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
    onnx.checker.check_model(proto)
    onnx.save(proto, str(output))


class DeployedModel(nn.Module):
    """`GaussianYolo` on raw canvases; the stem's filters are reversed once instead of every frame's channels."""

    def __init__(self, model: GaussianYolo) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        stem = cast(EfficientNetLite, self.model.backbone).conv_stem
        stem.weight.data = stem.weight.data.flip(1)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Raw heads of a canvas uint8 `[B,H,W,3]` BGR."""
        return tuple(self.model(image.permute(0, 3, 1, 2).float()))
