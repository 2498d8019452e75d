"""Convert a graph to a precision; a strongly typed network uses the types in the graph."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console

from gaussian_yolo_node.detector.model import ModelCard
from gaussian_yolo_node.lab.export.tensorrt.contract import EngineError
from gaussian_yolo_node.lab.export.tensorrt.half import outside, to_half
from gaussian_yolo_node.lab.export.tensorrt.int8_graph import to_symmetric
from gaussian_yolo_node.runtime.base import PRECISION_KEY, RuntimeUnavailableError, last_words

if TYPE_CHECKING:
    import onnx

EnginePrecision = Literal["fp32", "fp16", "int8"]
_AUTOCAST_FRAMES = 4  # nvidia-modelopt keeps all activations of each frame in memory


def default_precision(model: onnx.ModelProto) -> EnginePrecision:
    """int8 for a quantised model, else fp16."""
    return "int8" if _is_quantised(model) else "fp16"


def with_precision(
    model: onnx.ModelProto,
    path: Path,
    card: ModelCard,
    precision: EnginePrecision,
    calibration: Sequence[str],
    limit: int,
    console: Console | None,
    float_depthwise: bool = False,
) -> onnx.ModelProto:
    """The model in the given precision; `model` may be changed.

    Args:
        model: read from `path`.
        path: the model's file.
        card: of the model.
        precision: "fp32" changes nothing. "fp16" converts all but image scaling and the heads to half; with
            calibration frames, nvidia-modelopt also keeps layers with large values in float. "int8" converts a
            quantised model for TensorRT, or quantises a float one with calibration frames.
        calibration: sources of frames, see `open_source`.
        limit: maximum number of frames.
        console: for progress output; None for none.
        float_depthwise: whether int8 leaves depthwise convolutions in float.

    Raises:
        EngineError: the model does not support the precision.
        RuntimeUnavailableError: a required package is not installed.
        QuantizeError: the model cannot be quantised, or no frame can be read.
        SourceError: there is no such source.
    """
    if _is_quantised(model):
        if precision != "int8":
            raise EngineError(f"{path} is quantised, so it is built with int8; give the float model for {precision}")
        if calibration:
            raise EngineError(f"{path} is quantised already, so --calibration changes nothing; leave it out")
        to_symmetric(model, float_depthwise)
        return model
    if precision == "fp32":
        if calibration:
            raise EngineError("--calibration is for int8 and fp16, and fp32 observes no ranges; leave it out")
        return model
    if precision == "fp16":
        if calibration:
            return _autocast(model, path, card, calibration, limit)
        to_half(model, path)
        return model
    if not calibration:
        raise EngineError(
            f"int8 needs frames to observe ranges on, since {path} is a float model; give them with --calibration, or "
            "give a quantised model"
        )
    model = _quantise(path, calibration, limit, console)
    to_symmetric(model, float_depthwise)
    return model


def _is_quantised(model: onnx.ModelProto) -> bool:
    return any(entry.key == PRECISION_KEY for entry in model.metadata_props)


def _quantise(path: Path, calibration: Sequence[str], limit: int, console: Console | None) -> onnx.ModelProto:
    import onnx

    from gaussian_yolo_node.lab.export.quantize import quantize_model

    with tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as folder:
        quantised = Path(folder) / "int8.onnx"
        quantize_model(path, calibration, quantised, limit=limit, console=console)
        return onnx.load(str(quantised))


def _autocast(
    model: onnx.ModelProto, path: Path, card: ModelCard, calibration: Sequence[str], limit: int
) -> onnx.ModelProto:
    from onnx import helper

    from gaussian_yolo_node.lab.export.quantize import read_frames

    try:
        autocast = import_module("modelopt.onnx.autocast")
    except ImportError as error:
        raise RuntimeUnavailableError(
            "fp16 with --calibration needs nvidia-modelopt, which cannot be imported "
            f"({last_words(error)}); install it with `python3 -m pip install 'nvidia-modelopt[onnx]'`, or leave "
            "--calibration out"
        ) from error
    frames = read_frames(calibration, card, min(limit, _AUTOCAST_FRAMES))
    stays = [re.escape(node.name) + "$" for node in outside(model.graph, path) if node.name]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    name = model.graph.input[0].name
    with tempfile.TemporaryDirectory(prefix="gaussian-yolo-") as folder:
        for index, canvas in enumerate(frames.canvases):
            feeds: dict[str, Any] = {name: canvas[np.newaxis]}
            np.savez(Path(folder) / f"{index:06d}.npz", **feeds)
        try:
            mixed = autocast.convert_to_mixed_precision(
                str(path),
                low_precision_type="fp16",
                keep_io_types=True,
                calibration_data=folder,
                nodes_to_exclude=stays,
            )
        except Exception as error:
            raise EngineError(
                f"nvidia-modelopt cannot cast {path} to fp16 ({last_words(error)}); leave --calibration out"
            ) from error
    helper.set_model_props(mixed, metadata)
    result: onnx.ModelProto = mixed
    return result
