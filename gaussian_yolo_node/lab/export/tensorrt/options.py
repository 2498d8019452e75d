"""Build options of an engine, and the equivalent command."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from pathlib import Path

from gaussian_yolo_node.detector.decode import Criterion
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.lab.export.tensorrt.contract import Candidates
from gaussian_yolo_node.lab.export.tensorrt.precision import EnginePrecision
from gaussian_yolo_node.runtime.base import show_size
from gaussian_yolo_node.settings import Count, Fraction, Natural, check, option

_SPELLED_OUT = ("calibration", "input_size", "variance_vote", "compute_capabilities")  # not as "--name value"


@dataclass(frozen=True)
class BuildOptions:
    """Build options of an engine.

    Attributes:
        precision: "fp32", "fp16" or "int8"; None selects int8 for a quantised model, else fp16.
        calibration: sources of calibration frames, see `open_source`.
        dla: deep-learning accelerator to use, with the GPU for unsupported layers; None for none.
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
    dla: Natural | None = None
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
