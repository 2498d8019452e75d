"""Build options of an engine, and the equivalent commands."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from gaussian_yolo_node.detector.decode import Criterion
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt.contract import Candidates
from gaussian_yolo_node.lab.export.tensorrt.precision import EnginePrecision
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.runtime.tensorrt.plugin_library import LIBRARY
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar
from gaussian_yolo_node.settings import Count, Fraction, Natural, check, option

_SPELLED_OUT = ("calibration", "input_size", "variance_vote", "compute_capabilities")  # not as "--name value"


@dataclass(frozen=True)
class BuildOptions:
    """Build options of an engine.

    Attributes:
        precision: "fp32", "fp16" or "int8"; None selects int8 for a quantised model, else fp16.
        calibration: sources of calibration frames, see `open_source`.
        calibration_frames: maximum number of them, evenly spaced if the sources are finite.
        workspace: maximum scratch memory per layer, MiB; None for TensorRT's default.
        dla: deep-learning accelerator to use, with the GPU for unsupported layers; None for none.
        timing_cache: file of layer timings, read if it exists and written afterwards.
        compute_capabilities: of GPUs to build for ahead of time with TensorRT for RTX, e.g. "86"; empty for this GPU.
        max_batch: maximum images per inference, for a model with a dynamic batch.
        score_threshold: built into the engine; None uses the card's, as for the next two.
        iou_threshold: of non-maximum suppression.
        variance_vote: whether suppressed boxes vote on the kept box.
        criterion: definition of a detection's score.
        max_detections: rows of the outputs.
        plugin: the plugin library; None searches like the runtime.
        save_onnx: file for the graph given to TensorRT, including the plugin; None for none.
        input_size: height and width of the canvas in px, for a model with dynamic sizes; None uses the card's.

    Raises:
        SettingError: a value is out of range.
    """

    precision: EnginePrecision | None = None
    calibration: tuple[str, ...] = ()
    calibration_frames: Count = 128
    workspace: Count | None = None
    dla: Natural | None = None
    timing_cache: Path | None = None
    compute_capabilities: tuple[str, ...] = ()
    max_batch: Count = 4
    score_threshold: Fraction | None = None
    iou_threshold: Fraction | None = None
    variance_vote: bool | None = None
    criterion: Criterion = "gaussian"
    max_detections: Candidates = 300
    plugin: Path | None = None
    save_onnx: Path | None = None
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        check(self, SettingError, option)
        if self.compute_capabilities and self.dla is not None:
            raise SettingError("--dla is TensorRT's and --compute-capability is TensorRT for RTX's; give one of them")


def command_line(model: str | Path, output: Path, options: BuildOptions) -> str:
    """The `build-engine` command for these options."""
    words = ["gaussian-yolo", "build-engine", str(model), "-o", str(output)]
    for source in options.calibration:
        words += ["--calibration", source]
    for entry in fields(options):
        value = getattr(options, entry.name)
        if entry.name not in _SPELLED_OUT and value != entry.default:
            words += [option(entry.name), str(value)]
    if options.input_size is not None:
        words += ["--input-size", show_size(options.input_size)]
    if options.variance_vote is not None:
        words.append("--variance-vote" if options.variance_vote else "--no-variance-vote")
    if options.compute_capabilities:
        words += ["--compute-capability", ",".join(options.compute_capabilities)]
    return shlex.join(words)


def trtexec_line(sidecar: EngineSidecar, output: Path, options: BuildOptions) -> str:
    """The equivalent `trtexec` command, for the graph that `save_onnx` writes."""
    rtx = sidecar.flavor == "tensorrt_rtx"
    graph = options.save_onnx if options.save_onnx is not None else output.with_suffix(".plugin.onnx")
    words = ["tensorrt_rtx" if rtx else "trtexec", f"--onnx={graph}", f"--saveEngine={output}", "--skipInference"]
    if not rtx:
        words.append("--stronglyTyped")
    words.append(f"--staticPlugins={options.plugin or LIBRARY}")
    if sidecar.dynamic_batch:
        height, width = sidecar.card["input_size"]
        for bound, batch in (("min", 1), ("opt", sidecar.batch), ("max", sidecar.batch)):
            words.append(f"--{bound}Shapes=image:{batch}x{height}x{width}x3")
    if options.workspace is not None:
        words.append(f"--memPoolSize=workspace:{options.workspace}M")
    if options.timing_cache is not None:
        words.append(f"--timingCacheFile={options.timing_cache}")
    if options.dla is not None:
        words += [f"--useDLACore={options.dla}", "--allowGPUFallback"]
    if options.compute_capabilities:
        words.append(f"--computeCapabilities={','.join(options.compute_capabilities)}")
    return shlex.join(words)
