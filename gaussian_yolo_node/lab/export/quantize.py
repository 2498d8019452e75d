"""Post-training quantisation of a model file to int8 by ONNX Runtime's tool, calibrated on frames.

The output is an ONNX graph with QuantizeLinear and DequantizeLinear pairs, which OpenVINO and ONNX Runtime turn into
integer kernels. Weights are int8 per output channel, activations uint8 per tensor. Weights use 7 of their 8 bits, so
the integer results, and the sigmas calibrated on them, are the same on every processor. Bias correction compensates for
the mean shift of this coarser rounding.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.display import without_secrets
from gaussian_yolo_node.files import whole_file
from gaussian_yolo_node.frames import open_source
from gaussian_yolo_node.lab.export.bias_correction import correct_biases, mean_inputs
from gaussian_yolo_node.lab.export.quantize_graph import QuantizeError, float_layers, prepare, round_only_for_integers
from gaussian_yolo_node.runtime.base import PRECISION_KEY

# Image scaling and gates stay in float. Without Add, every residual would be converted to float.
QUANTISED_OPS = ["Add", "Clip", "Concat", "Conv", "LeakyRelu", "MaxPool", "Relu", "Resize"]


@dataclass(frozen=True)
class CalibrationFrames:
    """Frames on a model's canvas.

    Attributes:
        canvases: uint8 [H, W, 3] BGR each.
        sources: of the frames, with passwords masked.
        skipped: number of unreadable frames.
    """

    canvases: list[NDArray[np.uint8]]
    sources: list[str]
    skipped: int


def quantize_model(
    model: str | Path, sources: Sequence[str], output: Path, *, limit: int, console: Console | None = None
) -> tuple[ModelCard, CalibrationFrames]:
    """Write the int8 version of a model; on failure `output` is unchanged.

    The first convolution and the heads stay in float. Pixels use the full uint8 range, so their sums overflow the
    int16 accumulators of processors without VNNI; rounding in the heads would directly affect boxes and sigmas.

    Args:
        model: a path, or the name of a shipped model.
        sources: see `open_source`. Use frames like those in operation, not evaluation frames.
        output: the ONNX file to write.
        limit: maximum number of frames, from 1.
        console: for progress output; None for none.

    Returns:
        the card in the file, whose `deployment` says how it was quantised, and the calibration frames.

    Raises:
        QuantizeError: the model is already quantised or has nothing to quantise, no frame can be read, or the file
            cannot be written.
        ModelError: the model is missing or damaged, or has no matching card.
        SourceError: there is no such source.
        RuntimeUnavailableError: ONNX Runtime is not installed.
    """
    import onnx

    with Detector.open(model, "onnxruntime") as detector:  # raises ModelError for a bad file or card
        path, card = detector.model_path, detector.card
    from onnxruntime import __version__
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    with whole_file(output, QuantizeError) as part, tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as folder:
        prepared = Path(folder) / "prepared.onnx"
        graph = prepare(path, prepared).graph
        kept = float_layers(graph)
        frames = read_frames(sources, card, limit)
        shown = partial(track, frames.canvases, console=console or Console(quiet=True), transient=True)
        quantize_static(
            str(prepared),
            str(part),
            _Reader(graph.input[0].name, shown("calibrating")),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=QUANTISED_OPS,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Processors without VNNI add two products in int16, which 8-bit weights overflow.
            reduce_range=True,
            nodes_to_exclude=kept,
            calibrate_method=CalibrationMethod.MinMax,
        )
        how = {
            "tool": f"ONNX Runtime {__version__}, quantize_static, MinMax, 7-bit weights, bias correction",
            "frames": len(frames.canvases),
            "sources": frames.sources,
            "float_layers": kept,
        }
        card = replace(card, name=f"{card.name}_int8", deployment={**card.deployment, "int8": how})
        quantised, exact = onnx.load(str(part)), onnx.load(str(prepared))
        correct_biases(quantised, exact, mean_inputs(exact, shown("correcting biases")))
        round_only_for_integers(quantised.graph, QUANTISED_OPS, kept)
        onnx.helper.set_model_props(quantised, {**metadata, CARD_KEY: card.to_json(), PRECISION_KEY: "int8"})
        onnx.checker.check_model(quantised)
        onnx.save(quantised, str(part))
    return card, frames


def read_frames(specs: Sequence[str], card: ModelCard, limit: int) -> CalibrationFrames:
    """Frames letterboxed as in the detector; evenly spaced if all sources are finite.

    Args:
        specs: see `open_source`.
        card: of the model to quantise.
        limit: maximum number of frames, from 1.

    Raises:
        SourceError: there is no such source.
        QuantizeError: no frame can be read.
    """
    names = [without_secrets(spec) for spec in specs]
    canvases: list[NDArray[np.uint8]] = []
    with ExitStack() as stack:
        sources = []
        for spec in specs:
            sources.append(open_source(spec))
            stack.callback(sources[-1].close)
        lengths = [source.length for source in sources]
        step = max(1, math.ceil(sum(filter(None, lengths)) / limit)) if None not in lengths else 1
        seen = 0
        for source in sources:
            while len(canvases) < limit and (frame := source.read()) is not None:
                if seen % step == 0:
                    size = (frame.image.shape[0], frame.image.shape[1])
                    canvases.append(Letterbox.fit(size, card.input_size, card.resize).to_canvas(frame.image))
                seen += 1
        if not canvases:
            reasons = "; ".join(source.message for source in sources if source.message)
            raise QuantizeError(f"not one frame of {', '.join(names)} could be read: {reasons}")
        return CalibrationFrames(canvases, names, sum(source.skipped for source in sources))


class _Reader:
    """The CalibrationDataReader interface of `quantize_static`."""

    def __init__(self, input_name: str, canvases: Iterable[NDArray[np.uint8]]) -> None:
        self._feeds = ({input_name: canvas[np.newaxis]} for canvas in canvases)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)
