"""The command that makes a TensorRT engine of a model file."""

from __future__ import annotations

import re
import shlex
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gaussian_yolo_node.cli_models import parse_batch
from gaussian_yolo_node.errors import SettingError

if TYPE_CHECKING:
    from gaussian_yolo_node.engine.builder import BuildOptions
    from gaussian_yolo_node.engine.sidecar import EngineSidecar


class EnginePrecision(str, Enum):
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


def parse_capabilities(text: str | None) -> tuple[str, ...]:
    """Compute capabilities from "86,89" or "8.6,8.9".

    Raises:
        SettingError: the text is something else.
    """
    if text is None:
        return ()
    names = [name.strip().replace(".", "") for name in text.split(",")]
    if not all(re.fullmatch(r"\d{2,3}", name) for name in names):
        raise SettingError(f"--compute-capability is {text!r}; give numbers such as 86,89")
    return tuple(names)


def build_engine(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Name of a shipped model, or path of an ONNX file with a card.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Engine to write. Beside MODEL.onnx, MODEL.engine is found by itself."),
    ],
    precision: Annotated[
        EnginePrecision | None,
        typer.Option(
            help="fp16 needs nvidia-modelopt; int8 a model that `quantize` wrote, or --calibration.",
            show_default="int8 if the model is quantised, else fp32",
        ),
    ] = None,
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FRAMES",
            help="Source of frames like those to come, as `detect` takes it, to quantise by; may be given again.",
        ),
    ] = None,
    workspace: Annotated[
        int, typer.Option(metavar="MB", help="Most memory for intermediate results, MiB; 0 leaves it to TensorRT.")
    ] = 0,
    dla: Annotated[
        int | None, typer.Option(metavar="N", help="Deep-learning accelerator to use; the rest runs on the GPU.")
    ] = None,
    timing_cache: Annotated[
        Path | None, typer.Option(metavar="F", help="Measurements that make the next build faster; made if missing.")
    ] = None,
    batch: Annotated[
        str, typer.Option(metavar="N|dynamic", help="Images of one inference; dynamic is 1 to 8. `detect` takes 1.")
    ] = "1",
    compute_capability: Annotated[
        str | None,
        typer.Option(
            metavar="86,89", help="GPUs to build for, by TensorRT for RTX; none need be here.", show_default="this GPU"
        ),
    ] = None,
    plugin: Annotated[
        Path | None,
        typer.Option(metavar="LIB", help="libgaussian_yolo_plugin.so.", show_default="found as `detect` does"),
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(help="To build in; it can be raised later, not lowered.", show_default="the model's")
    ] = None,
    iou_threshold: Annotated[float | None, typer.Option(help="To build in.", show_default="the model's")] = None,
    variance_vote: Annotated[
        bool | None, typer.Option("--variance-vote/--no-variance-vote", help="To build in.", show_default="the model's")
    ] = None,
    max_detections: Annotated[int, typer.Option(min=1, max=1000, help="Most detections of an image.")] = 300,
    keep_onnx: Annotated[
        Path | None, typer.Option(metavar="F", help="Keep the graph that TensorRT gets, for trtexec.")
    ] = None,
) -> None:
    """Build a TensorRT engine of a model, on the machine that is to run it (needs TensorRT and the onnx package).

    Prints the trtexec line that does the same.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gaussian_yolo_node.detector.model import resolve_model
    from gaussian_yolo_node.engine import builder

    options = builder.BuildOptions(
        precision=precision.value if precision is not None else None,
        calibration=tuple(calibration or ()),
        workspace_mib=workspace,
        dla=dla,
        timing_cache=timing_cache,
        batch=parse_batch(batch),
        compute_capabilities=parse_capabilities(compute_capability),
        plugin=plugin,
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        variance_vote=variance_vote,
        max_detections=max_detections,
        keep_onnx=keep_onnx,
    )
    path = resolve_model(model)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("preparing", total=None)

        def report(phase: str, done: int, steps: int) -> None:
            progress.update(task, description=phase, completed=done, total=steps)

        sidecar = builder.build_engine(path, output, options, report)
    size = output.stat().st_size / 1e6
    print(
        f"built: {output}, {size:.1f} MB, {sidecar.model}, {sidecar.precision}, batch {sidecar.batch or 'dynamic'}, "
        f"{sidecar.flavor} {sidecar.tensorrt}, SM {sidecar.compute_capability}"
    )
    print(f"as: {trtexec_line(output, options, sidecar)}")
    if keep_onnx is None:
        print("where network.onnx is what --keep-onnx keeps")


def trtexec_line(output: Path, options: BuildOptions, sidecar: EngineSidecar) -> str:
    """The command of TensorRT's own tool that builds the same engine of the graph that `keep_onnx` keeps."""
    from gaussian_yolo_node.engine.builder import LARGEST_BATCH
    from gaussian_yolo_node.runtime.plugin_library import LIBRARY

    rtx = sidecar.flavor == "tensorrt_rtx"
    words = [
        "tensorrt_rtx" if rtx else "trtexec",
        f"--onnx={options.keep_onnx or 'network.onnx'}",
        f"--saveEngine={output}",
    ]
    words.append(f"--dynamicPlugins={options.plugin or LIBRARY}")
    words.append("--skipInference")
    if options.dla is not None:
        words += [f"--useDLACore={options.dla}", "--allowGPUFallback", "--fp16"]
        words += ["--int8"] if sidecar.precision == "int8" else []
    elif not rtx:
        words.append("--stronglyTyped")
    if options.batch is None:
        height, width = sidecar.card["input_size"]
        sizes = {"min": 1, "opt": 1, "max": LARGEST_BATCH}
        words += [f"--{name}Shapes=image:{size}x3x{height}x{width}" for name, size in sizes.items()]
    if options.workspace_mib:
        words.append(f"--memPoolSize=workspace:{options.workspace_mib}M")
    if options.timing_cache is not None:
        words.append(f"--timingCacheFile={options.timing_cache}")
    if options.compute_capabilities:
        words.append(f"--computeCapabilities={','.join(options.compute_capabilities)}")
    return shlex.join(words)
