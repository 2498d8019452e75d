"""A model file in int8: quantised after training by ONNX Runtime's tool, with ranges observed on frames.

The file stays an ONNX graph, with QuantizeLinear and DequantizeLinear pairs that OpenVINO and ONNX Runtime turn into
integer kernels: weights int8 for each output channel, activations uint8 for each tensor. Weights use 7 of their 8 bits,
so that integers are the same on every processor, and with them the sigmas that were calibrated on one of them; biases
take back what that coarser rounding shifts on average.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.model import CARD_KEY, ModelCard
from gaussian_yolo_node.frames import open_source, without_password
from gaussian_yolo_node.lab.export.bias_correction import correct_biases, mean_inputs
from gaussian_yolo_node.lab.export.quantize_graph import QuantizeError, float_layers, prepare, round_only_for_integers
from gaussian_yolo_node.runtime.base import PRECISION_KEY

# The rest computes in float: the scaling of the picture, and gates. Without Add every residual would go through float.
QUANTISED_OPS = ["Add", "Clip", "Concat", "Conv", "LeakyRelu", "MaxPool", "Relu", "Resize"]


@dataclass(frozen=True)
class CalibrationFrames:
    """Frames on a model's canvas.

    Attributes:
        canvases: uint8 [H, W, 3] BGR each.
        sources: where they came from, passwords starred out.
        skipped: how many more could not be read.
    """

    canvases: list[NDArray[np.uint8]]
    sources: list[str]
    skipped: int


def quantize_model(
    model: str | Path,
    sources: Sequence[str],
    output: Path,
    *,
    limit: int,
    console: Console | None = None,
) -> tuple[ModelCard, CalibrationFrames]:
    """Write the int8 version of a model; a failure leaves what was at `output`.

    The first convolution and the heads stay in float. Sums over pixels, which use the whole of uint8, overflow the
    int16 that processors without VNNI add in; and a head's rounding would go straight into boxes and sigmas.

    Args:
        model: a path, or the name of a shipped model.
        sources: as `open_source` takes them. Their frames should be like those to come, and none to be judged on.
        output: the ONNX file to write.
        limit: most frames to observe, from 1.
        console: where to show progress, None for nowhere.

    Returns:
        The card in the file, whose `deployment` tells how it was quantised, and the frames it was calibrated with.

    Raises:
        QuantizeError: the model is quantised already or has nothing to quantise, no frame can be read, or the file
            cannot be written.
        ModelError: the model is missing or damaged, or has no card that fits it.
        SourceError: there is no such source.
        RuntimeUnavailableError: ONNX Runtime is not installed.
    """
    import onnx

    with Detector.open(model, "onnxruntime") as detector:  # says what is wrong with a file or its card
        path, card = detector.model_path, detector.card
    from onnxruntime import __version__
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    metadata = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    if not output.absolute().parent.is_dir():
        raise QuantizeError(f"{output} cannot be written: its folder does not exist; make it first")
    try:
        # Beside the target, so that replacing it is one step whatever happens.
        with tempfile.TemporaryDirectory(prefix=".quantize-", dir=output.absolute().parent) as folder:
            prepared, part = Path(folder) / "prepared.onnx", Path(folder) / "model.onnx"
            graph = prepare(path, prepared).graph
            kept = float_layers(graph)
            frames = read_frames(sources, card, limit)
            shown = track(frames.canvases, "calibrating", console=console or Console(quiet=True), transient=True)
            quantize_static(
                str(prepared),
                str(part),
                _Reader(graph.input[0].name, shown),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=QUANTISED_OPS,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                # Processors without VNNI add two products in int16, which weights of 8 bits overflow.
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
            shown = track(frames.canvases, "correcting biases", console=console or Console(quiet=True), transient=True)
            correct_biases(quantised, exact, mean_inputs(exact, shown))
            round_only_for_integers(quantised.graph, QUANTISED_OPS, kept)
            onnx.helper.set_model_props(quantised, {**metadata, CARD_KEY: card.to_json(), PRECISION_KEY: "int8"})
            onnx.checker.check_model(quantised)
            onnx.save(quantised, str(part))
            os.replace(part, output)
    except OSError as error:
        raise QuantizeError(f"{output} cannot be written: {error.strerror or error}") from error
    return card, frames


def read_frames(specs: Sequence[str], card: ModelCard, limit: int) -> CalibrationFrames:
    """Frames letterboxed as the detector does; where all sources have an end, spread evenly over them.

    Args:
        specs: as `open_source` takes them.
        card: of the model that is to see the frames.
        limit: most frames to take, from 1.

    Raises:
        SourceError: there is no such source.
        QuantizeError: not one frame can be read.
    """
    names = [without_password(spec) for spec in specs]
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
            trouble = "; ".join(source.message for source in sources if source.message)
            raise QuantizeError(f"not one frame of {', '.join(names)} could be read: {trouble}")
        return CalibrationFrames(canvases, names, sum(source.skipped for source in sources))


class _Reader:
    """What `quantize_static` asks of a CalibrationDataReader."""

    def __init__(self, input_name: str, canvases: Iterable[NDArray[np.uint8]]) -> None:
        self._feeds = ({input_name: canvas[np.newaxis]} for canvas in canvases)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)
