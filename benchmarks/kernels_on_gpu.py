#!/usr/bin/env python3
"""Time the plugin's kernels on this machine's GPU, compared with numpy and OpenCV on its CPU.

Each kernel chain is recorded as a CUDA graph and run many times in a row. A figure is the mean of a row, the minimum
over several rows. Needs nvcc and a GPU, but not TensorRT.

    python benchmarks/kernels_on_gpu.py
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Annotated

import numpy as np
import typer
from postprocessing import ANCHORS, CANVAS, STRIDES, THRESHOLD, make_heads

from gaussian_yolo_node.detector.decode import decode
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.nms import nms

# The ctypes wrappers of the kernels are in the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "test"))

FRAME = (375, 1242)
ROWS = 5


def main(runs: Annotated[int, typer.Option(min=1, help="Of the graph in a row.")] = 500) -> None:
    """Time decoding and suppression, and the letterbox."""
    from plugin_kernels import (  # type: ignore[import-not-found]
        Call,
        FrameCall,
        GpuKernels,
        build_for_gpu,
        gpu_missing,
    )
    from postprocessing_cases import Options  # type: ignore[import-not-found]

    if gpu_missing():
        sys.exit(f"error: {gpu_missing()}")
    with tempfile.TemporaryDirectory() as folder:
        kernels = GpuKernels(build_for_gpu(Path(folder) / "kernels.so"))
    heads = make_heads(np.random.default_rng(0))
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    letterbox = Letterbox.fit(FRAME, CANVAS)
    print(f"heads of {CANVAS[0]}x{CANVAS[1]}, 300 candidates; a frame of {FRAME[1]}x{FRAME[0]}; {runs} runs")
    for dtype in (np.float32, np.float16):
        given = [head.astype(dtype) for head in heads]
        for vote in (False, True):
            call = Call(given, ANCHORS, STRIDES, Options(THRESHOLD, variance_vote=vote))
            name = f"decode + nms{' with variance vote' if vote else ''}, {dtype.__name__} heads"
            print(f"{name:48} {min(kernels.time_detect(call, runs) for _ in range(ROWS)):8.1f} us")
        framed = FrameCall(frame, letterbox, dtype, scale=1 / 255)
        name = f"letterbox to {dtype.__name__} planes"
        print(f"{name:48} {min(kernels.time_preprocess(framed, runs) for _ in range(ROWS)):8.1f} us")
    for name, plain in {
        "numpy: decode + nms": lambda: nms(decode(heads, ANCHORS, STRIDES, THRESHOLD)),
        "OpenCV: letterbox to a uint8 canvas": lambda: letterbox.to_canvas(frame),
    }.items():
        print(f"{name:48} {_median(plain):8.1f} us")


def _median(run: Callable[[], object]) -> float:
    """Median time of a call on the CPU, microseconds."""
    times = []
    for _ in range(200):
        started = perf_counter()
        run()
        times.append(1e6 * (perf_counter() - started))
    return float(np.median(times))


if __name__ == "__main__":
    typer.run(main)
