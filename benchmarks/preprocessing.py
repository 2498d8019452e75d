#!/usr/bin/env python3
"""Time the letterboxing of a 1242x375 frame, compared with the float blob that networks without image input need.

python benchmarks/preprocessing.py --limit-ms 1.5
"""

from __future__ import annotations

from time import perf_counter
from typing import Annotated

import cv2
import numpy as np
import typer
from numpy.typing import NDArray

from gaussian_yolo_node.detector.letterbox import PAD_VALUE, Letterbox

FRAME = (375, 1242)
CANVASES = ((256, 832), (320, 1024))


def main(
    limit_ms: Annotated[float, typer.Option(help="Exit 1 if a median is above this; 0 sets no limit.")] = 0.0,
    repeats: Annotated[int, typer.Option(min=10, help="Frames to time.")] = 1000,
    threads: Annotated[int, typer.Option(min=0, help="OpenCV's threads; 0 leaves its default.")] = 0,
) -> None:
    """Time the letterboxing of one frame."""
    if threads:
        cv2.setNumThreads(threads)
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    print(f"frame {FRAME[1]}x{FRAME[0]}; {repeats} frames, OpenCV {cv2.__version__}, {cv2.getNumThreads()} threads")
    slowest = 0.0
    for size in CANVASES:
        letterbox = Letterbox.fit(FRAME, size)
        canvas = np.empty((*size, 3), np.uint8)
        ours, blobs = [], []
        for turn in range(-(repeats // 10), repeats):  # interleaved, so that other load affects both
            started = perf_counter()
            letterbox.to_canvas(frame, out=canvas)
            between = perf_counter()
            float_blob(frame, letterbox)
            if turn >= 0:
                ours.append((between - started) * 1e3)
                blobs.append((perf_counter() - between) * 1e3)
        medians = [float(np.median(times)) for times in (ours, blobs)]
        slowest = max(slowest, medians[0])
        for name, times, median in zip(("letterbox", "float blob"), (ours, blobs), medians, strict=True):
            p99 = np.percentile(times, 99)
            shown = f"{name} to {size[1]}x{size[0]}"
            print(f"{shown:24} median {median:6.3f} ms   p99 {p99:6.3f} ms   {median / medians[0]:5.2f} of letterbox")
    if limit_ms and slowest > limit_ms:
        print(f"letterbox is above the limit of {limit_ms} ms")
        raise typer.Exit(1)


def float_blob(frame: NDArray[np.uint8], letterbox: Letterbox) -> NDArray[np.float32]:
    """Baseline: float32 [1, 3, H, W], RGB, 0..1, built in Python."""
    height, width = letterbox.scaled_size
    top, left = (letterbox.canvas_size[0] - height) // 2, (letterbox.canvas_size[1] - width) // 2
    canvas = np.full((*letterbox.canvas_size, 3), PAD_VALUE, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(frame, (width, height))
    rgb = cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)
    return np.ascontiguousarray((rgb.astype(np.float32) / 255).transpose(2, 0, 1)[np.newaxis])


if __name__ == "__main__":
    typer.run(main)
