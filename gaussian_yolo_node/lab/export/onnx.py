"""Export a detector as one ONNX file: uint8 BGR canvas in, raw heads out, the card in the metadata."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import GaussianYoloError, install_line
from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.lab.networks.gaussian_yolo import Normalise
from gaussian_yolo_node.lab.networks.mdconv import MDConv, merge_mdconvs
from gaussian_yolo_node.settings import Count, Must, check, option

OPSET = 17
# Largest kernel up to which an MDConv is faster as one zero-padded convolution. Measured by benchmarks/mdconv_merge.py
# on MixNet-S, M and L with one thread: OpenVINO is fastest at 7 (0.94 to 0.96 of the unmerged time) and loses part of
# the gain from 9 up; ONNX Runtime gains with every kernel size (0.85 to 0.89).
MERGE_UP_TO = {"openvino": 7, "onnxruntime": 11}
Target = Annotated[str, f"one of {', '.join(MERGE_UP_TO)}", Must("", lambda name: name in MERGE_UP_TO)]


class ExportError(GaussianYoloError):
    """A model cannot be exported with the given options."""


@dataclass(frozen=True)
class ExportOptions:
    """Options of an export.

    Attributes:
        batch: images per inference; None for a dynamic batch.
        runtime: a key of `MERGE_UP_TO`, the runtime to optimise for; every runtime can run the file.
        merge_up_to: largest kernel of an MDConv that is merged, px; 0 merges none, None uses the runtime's value.

    Raises:
        ExportError: a value is out of range.
    """

    batch: Count | None = 1
    runtime: Target = "openvino"
    merge_up_to: int | None = None

    def __post_init__(self) -> None:
        check(self, ExportError, option)

    @property
    def largest_merged(self) -> int:
        return MERGE_UP_TO[self.runtime] if self.merge_up_to is None else self.merge_up_to


def export_model(model: nn.Module, card: ModelCard, output: Path, options: ExportOptions | None = None) -> ModelCard:
    """Write a detector for canvases of any size; on failure `output` is unchanged.

    The graph takes `image`, uint8 `[B,H,W,3]` BGR, and returns the raw heads `head_32, head_16, head_8`. H and W are
    dynamic multiples of the coarsest stride; a runtime fixes them on loading, by default to the card's size.

    Args:
        model: takes an RGB image `[B,3,H,W]` with values 0..255, which its first convolution (in registration order)
            reads, and returns one raw head per stride of the card, in that order.
        card: written to the file.
        output: the ONNX file to write.
        options: default: batch 1 for OpenVINO.

    Returns:
        the card in the file; for a model with MDConvs, `deployment` says which were merged and for which runtime.

    Raises:
        ExportError: the onnx package is missing, the input size is not a multiple of the coarsest stride, or the file
            cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError(f"export needs the onnx package: {install_line('train')}") from error
    options = options or ExportOptions()
    check_size(card.input_size, max(card.strides))
    deployed = DeployedModel(model).eval()
    mdconvs = {name: module for name, module in model.named_modules() if isinstance(module, MDConv)}
    if mdconvs:
        merged = [name for name, module in mdconvs.items() if max(module.kernels) <= options.largest_merged]
        merge_mdconvs(deployed, options.largest_merged)
        card = replace(card, deployment={"runtime": options.runtime, "merged_mdconv": merged})
    example = torch.zeros(options.batch or 1, *card.input_size, 3, dtype=torch.uint8)
    names = [f"head_{stride}" for stride in card.strides]
    free = {"image": {1: "height", 2: "width"}}
    free |= {name: {2: f"rows_{name}", 3: f"columns_{name}"} for name in names}
    if options.batch is None:
        free = {name: {0: "batch", **axes} for name, axes in free.items()}
    with whole_file(output, ExportError) as part:
        with warnings.catch_warnings():
            # The tracer warns that padding becomes constant; it is constant for all multiples of the stride.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                deployed,
                (example,),
                str(part),
                input_names=["image"],
                output_names=names,
                dynamic_axes=free,
                opset_version=OPSET,
                dynamo=False,
            )
        proto = onnx.load(str(part))
        proto.metadata_props.add(key=CARD_KEY, value=card.to_json())
        onnx.checker.check_model(proto)
        onnx.save(proto, str(part))
    return card


def check_size(size: tuple[int, int], coarsest: int) -> None:
    """Raise ExportError unless height and width, px, are multiples of the coarsest stride."""
    if any(side <= 0 or side % coarsest for side in size):
        raise ExportError(f"input size {size[0]}x{size[1]} is not a multiple of {coarsest} in both directions")


class DeployedModel(nn.Module):
    """A detector on BGR canvases; the stem's filters are reversed once instead of every frame's channels."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        stem = next(module for module in self.model.modules() if isinstance(module, nn.Conv2d))
        if stem.in_channels != 3:
            raise ExportError(f"the model's first convolution reads {stem.in_channels} channels where RGB has 3")
        stem.weight.data = stem.weight.data.flip(1)
        for module in self.model.modules():
            if isinstance(module, Normalise):
                module.reverse_channels()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Raw heads of a canvas uint8 `[B,H,W,3]` BGR."""
        return tuple(cast(list[Tensor], self.model(image.permute(0, 3, 1, 2).float())))
