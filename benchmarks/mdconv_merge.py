#!/usr/bin/env python3
"""Find the kernel size up to which an MDConv is faster as one zero-padded convolution, for each runtime.

Exports a MixNet detector with MDConvs up to 0 (none), 5, 7, 9 and 11 px merged, and runs all files interleaved, so that
other load on the machine affects all of them. `lab.export.onnx.MERGE_UP_TO` holds the result.

    python benchmarks/mdconv_merge.py [mixnet_s] [--size 256x832] [--precision fp32]
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer

from gaussian_yolo_node.commands.detect import Precision
from gaussian_yolo_node.lab.export.built_in import export_built_in
from gaussian_yolo_node.lab.export.onnx import ExportOptions
from gaussian_yolo_node.runtime import CPU_RUNTIMES, RuntimeOptions, RuntimeUnavailableError, open_runtime
from gaussian_yolo_node.runtime.base import parse_size

MERGE_UP_TO = (0, 5, 7, 9, 11)


def main(
    name: Annotated[str, typer.Argument(help="Built-in detector with MDConvs.")] = "mixnet_s",
    size: Annotated[str, typer.Option(metavar="HxW", help="Canvas, px.")] = "256x832",
    precision: Annotated[Precision, typer.Option()] = Precision.auto,
    threads: Annotated[int, typer.Option(min=0, help="Processor threads; 0 takes all cores.")] = 0,
    rounds: Annotated[int, typer.Option(min=5, help="Images for each file.")] = 60,
) -> None:
    """Time a detector with an increasing number of merged MDConvs."""
    canvas_size = parse_size(size)
    canvas = np.random.default_rng(0).integers(0, 256, (*canvas_size, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        paths = {largest: Path(folder) / f"{largest}.onnx" for largest in MERGE_UP_TO}
        for largest, path in paths.items():
            export_built_in(name, path, canvas_size, ExportOptions(merge_up_to=largest))
        for runtime in CPU_RUNTIMES:
            try:
                opened = {
                    largest: open_runtime(path, runtime, RuntimeOptions(threads, precision.value))
                    for largest, path in paths.items()
                }
            except RuntimeUnavailableError as error:
                print(f"{runtime}: {error}")
                continue
            times: dict[int, list[float]] = {largest: [] for largest in opened}
            for turn in range(-3, rounds):
                for largest, model in opened.items():
                    started = perf_counter()
                    model.infer(canvas)
                    if turn >= 0:
                        times[largest].append((perf_counter() - started) * 1e3)
            print(f"{name} {size}, {opened[0].description}, {rounds} images, in turn")
            for largest, values in times.items():
                # Median of the ratios per round, because the machine's speed changes between rounds.
                ratio = float(np.median(np.array(values) / times[0]))
                merged = f"up to {largest}x{largest}" if largest else "none"
                print(f"  merged {merged:12} median {np.median(values):6.2f} ms   {ratio:.3f} of unmerged")


if __name__ == "__main__":
    typer.run(main)
