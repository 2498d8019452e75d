"""A trained detector as one ONNX file: uint8 BGR canvas in, raw heads out, its card in the metadata."""

from __future__ import annotations

import copy
import os
import tempfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.lab.networks.gaussian_yolo import Normalise
from gaussian_yolo_node.lab.networks.mdconv import MDConv, merge_mdconvs

OPSET = 17
# Up to which kernel an MDConv is faster as one zero-padded convolution, as benchmarks/mdconv_merge.py measured it on
# MixNet-S, M and L with one thread: OpenVINO is fastest at 7 (0.94 to 0.96 of the time of unmerged ones) and gives some
# of it back from 9 up; ONNX Runtime gains with every kernel there is (0.85 to 0.89).
MERGE_UP_TO = {"openvino": 7, "onnxruntime": 11}


class ExportError(GaussianYoloError):
    """A model cannot be exported as asked."""


@dataclass(frozen=True)
class ExportOptions:
    """What the file is for.

    Attributes:
        batch: images of one inference; None leaves it open.
        runtime: a key of `MERGE_UP_TO`; any runtime runs the file, this one runs it fastest.
        merge_up_to: largest kernel of an MDConv that is merged, px; 0 merges none, None takes the runtime's.

    Raises:
        ExportError: a value is out of range.
    """

    batch: int | None = 1
    runtime: str = "openvino"
    merge_up_to: int | None = None

    def __post_init__(self) -> None:
        if self.batch is not None and self.batch < 1:
            raise ExportError(f"batch is {self.batch}; give a number of images from 1, or dynamic")
        if self.runtime not in MERGE_UP_TO:
            raise ExportError(f"there is no export for runtime {self.runtime!r}; there are {', '.join(MERGE_UP_TO)}")

    @property
    def largest_merged(self) -> int:
        return MERGE_UP_TO[self.runtime] if self.merge_up_to is None else self.merge_up_to


def export_model(model: nn.Module, card: ModelCard, output: Path, options: ExportOptions | None = None) -> ModelCard:
    """Write a detector for canvases of any size; a failure leaves what was at `output`.

    The graph takes `image`, uint8 `[B,H,W,3]` BGR, and gives the raw heads `head_32, head_16, head_8`. H and W are
    free multiples of the coarsest stride; a runtime fixes them when it loads the file, by default to the card's.

    Args:
        model: takes an RGB image `[B,3,H,W]` with values 0..255, which its first convolution (as modules are
            registered) reads, and gives a raw head for each of the card's strides, in that order.
        card: goes into the file.
        output: the ONNX file to write.
        options: batch 1 for OpenVINO if not given.

    Returns:
        The card in the file: where the model has MDConvs, `deployment` tells which were merged and for which runtime.

    Raises:
        ExportError: the onnx package is missing, the input size is no multiple of the coarsest stride, or the file
            cannot be written.
    """
    try:
        import onnx
    except ImportError as error:
        raise ExportError("export needs the onnx package: pip install 'gaussian_yolo[train]'") from error
    options = options or ExportOptions()
    check_size(card.input_size, max(card.strides))
    if not output.absolute().parent.is_dir():
        raise ExportError(f"{output} cannot be written: its folder does not exist; make it first")
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
    try:
        # Beside the target, so that replacing it is one step whatever happens.
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output.absolute().parent) as folder:
            part = Path(folder) / "model.onnx"
            with warnings.catch_warnings():
                # The tracer warns that padding becomes constant, which it is for all multiples of the stride.
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
            os.replace(part, output)
    except OSError as error:
        raise ExportError(f"{output} cannot be written: {error.strerror or error}") from error
    return card


def check_size(size: tuple[int, int], coarsest: int) -> None:
    """Raise ExportError unless height and width, px, are multiples of the coarsest stride."""
    if any(side <= 0 or side % coarsest for side in size):
        raise ExportError(f"input size {size[0]}x{size[1]} is not a multiple of {coarsest} in both directions")


class DeployedModel(nn.Module):
    """A detector on raw canvases; the stem's filters are reversed once instead of every frame's channels."""

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
