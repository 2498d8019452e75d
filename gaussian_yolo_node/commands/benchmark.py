"""The command `benchmark`: measure the speed of a model on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gaussian_yolo_node.commands import flags


def benchmark(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Name of a shipped model, path of an ONNX file with a card, or of an engine.",
            show_default="the default model",
        ),
    ] = None,
    runtime: flags.Runtime = "auto",
    frames: Annotated[int, typer.Option(min=1, metavar="N", help="Frames to measure.")] = 200,
    source: Annotated[
        str | None, typer.Option(help="Where frames come from, as for `detect`; read beforehand.", show_default="noise")
    ] = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Size of the noise, px.")] = "720x1280",
    input_size: flags.InputSize = None,
    threads: flags.Threads = 0,
    rebuild_engine: flags.RebuildEngine = False,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Write the figures as JSON.")] = None,
) -> None:
    """Time a model on this machine: percentiles per stage, frames per second, memory.

    Example: gaussian-yolo benchmark csp_nano_driving --input-size 256x832
    """
    from rich.console import Console

    from gaussian_yolo_node.commands.benchmark_run import make_frames, print_result, read_frames, run_benchmark
    from gaussian_yolo_node.detector.model import DEFAULT_MODEL
    from gaussian_yolo_node.frames import open_source
    from gaussian_yolo_node.runtime import RuntimeOptions
    from gaussian_yolo_node.runtime.base import parse_size

    if source is None:
        pictures = make_frames(parse_size(size))
    else:
        opened = open_source(source)
        try:
            pictures = read_frames(opened, frames)
        finally:
            opened.close()
    options = RuntimeOptions(threads, rebuild_engine=rebuild_engine, input_size=flags.parse_input_size(input_size))
    result = run_benchmark(model or DEFAULT_MODEL, runtime, options, pictures, frames)
    print_result(result, Console())
    if json_path is not None:
        result.save(json_path)
