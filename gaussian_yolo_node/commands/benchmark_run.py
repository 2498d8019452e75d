"""Implementation of `gaussian-yolo benchmark`: the time per frame on this machine, stage by stage."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gaussian_yolo_node.detector.detector import Detector
from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.files import write_whole
from gaussian_yolo_node.frames import Source
from gaussian_yolo_node.runtime import DetectingRuntime, RuntimeOptions

WARM_UP = 20  # frames; clocks rise and caches fill during them
MOST_IN_MEMORY = 64  # frames of a source; a longer benchmark repeats them
STAGES = ("preprocess", "inference", "postprocess", "total")


@dataclass(frozen=True)
class Latency:
    """Latency of one stage, ms."""

    median: float
    p90: float
    p99: float
    max: float


@dataclass(frozen=True)
class BenchmarkResult:
    """Result of a benchmark.

    Attributes:
        model: name on the card.
        model_hash: first digits of its SHA-256.
        runtime: its description.
        frame_size: (height, width) of the first frame, px.
        input_size: size of the canvas.
        frames: number of measured frames.
        warm_up: number of frames run before, which were not measured.
        detections: mean per frame.
        open_s: time until the model was ready, including its first run, s.
        latency_ms: by stage; "total" is from frame to detections, one frame at a time.
        fps: frames per second, one frame after the other.
        peak_memory_mib: of this process on the host.
        device_memory_mib: of all programs on the GPU; None without a GPU.
    """

    model: str
    model_hash: str
    runtime: str
    frame_size: tuple[int, int]
    input_size: tuple[int, int]
    frames: int
    warm_up: int
    detections: float
    open_s: float
    latency_ms: dict[str, Latency]
    fps: float
    peak_memory_mib: float
    device_memory_mib: float | None

    def save(self, path: Path) -> None:
        """Write the fields as JSON. Raises WriteError if that fails."""
        write_whole(path, json.dumps(asdict(self), indent=1) + "\n")


def read_frames(source: Source, count: int) -> list[NDArray[np.uint8]]:
    """The first frames of a source, at most `count` and MOST_IN_MEMORY.

    Raises:
        SourceError: the source fails.
        SettingError: it has no frame.
    """
    frames: list[NDArray[np.uint8]] = []
    while len(frames) < min(count, MOST_IN_MEMORY) and (frame := source.read()) is not None:
        frames.append(frame.image)
    if not frames:
        raise SettingError("the source has no frame that can be read; give another --source")
    return frames


def make_frames(size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Noise of a camera's size (height, width), for measurements that do not depend on the picture."""
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (*size, 3), np.uint8) for _ in range(4)]


def run_benchmark(
    model: str, runtime: str, options: RuntimeOptions, frames: Sequence[NDArray[np.uint8]], count: int
) -> BenchmarkResult:
    """Open a model and time `count` frames, cycling through `frames`.

    Raises:
        GaussianYoloError: the model cannot be opened or run.
    """
    started = perf_counter()
    with Detector.open(model, runtime, options=options) as detector:
        open_s = perf_counter() - started
        for frame in islice(cycle(frames), WARM_UP):
            detector(frame)
        times = np.empty((count, len(STAGES)))
        detections = 0
        for row, frame in zip(times, islice(cycle(frames), count), strict=True):
            began = perf_counter()
            detections += len(detector(frame))
            total = perf_counter() - began
            stages = detector.last_timing
            row[:] = stages.preprocess_s, stages.inference_s, stages.postprocess_s, total
        return BenchmarkResult(
            model=detector.card.name,
            model_hash=detector.model_hash,
            runtime=detector.runtime.description,
            frame_size=(frames[0].shape[0], frames[0].shape[1]),
            input_size=detector.input_size,
            frames=count,
            warm_up=WARM_UP,
            detections=detections / count,
            open_s=open_s,
            latency_ms={stage: _latency(column) for stage, column in zip(STAGES, times.T * 1e3, strict=True)},
            fps=count / times[:, -1].sum(),
            peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,  # Linux counts KiB
            device_memory_mib=_device_memory(detector),
        )


def print_result(result: BenchmarkResult, console: Console) -> None:
    """Print a table with a line before and after it."""
    height, width = result.frame_size
    canvas = "x".join(map(str, result.input_size))
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"{result.model} ({result.model_hash}) on {result.runtime}: frames of {height}x{width} px, canvas {canvas} px")
    table = Table()
    table.add_column("stage, ms")
    for heading in ("median", "p90", "p99", "max"):
        table.add_column(heading, justify="right")
    for stage, latency in result.latency_ms.items():
        table.add_row(stage, *(f"{value:.2f}" for value in astuple(latency)))
    console.print(table)
    device = f", {result.device_memory_mib:.0f} MiB of the GPU in use" if result.device_memory_mib is not None else ""
    say(
        f"{result.fps:.1f} fps; {result.frames} frames after {result.warm_up}; ready in "
        f"{result.open_s:.2f} s; {result.detections:.1f} detections a frame; {result.peak_memory_mib:.0f} MiB{device}"
    )


def _latency(times: NDArray[np.float64]) -> Latency:
    median, p90, p99 = np.percentile(times, (50, 90, 99))
    return Latency(float(median), float(p90), float(p99), float(times.max()))


def _device_memory(detector: Detector) -> float | None:
    if not isinstance(detector.runtime, DetectingRuntime):
        return None
    from gaussian_yolo_node.runtime.tensorrt.cuda import open_gpu

    with open_gpu() as gpu:
        free, total = gpu.memory()
    return (total - free) / 2**20
