"""Which device runs a model: the processor, or a GPU or NPU that OpenVINO or ONNX Runtime can use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from time import perf_counter
from typing import Protocol

import numpy as np

from gaussian_yolo_node.errors import GaussianYoloError
from gaussian_yolo_node.runtime.base import DetectingRuntime, Runtime, RuntimeOptions, RuntimeUnavailableError

_log = logging.getLogger(__name__)

# Beginnings of the runtimes' own names of devices. A name in none of these groups (such as ONNX Runtime's "Azure") is
# used only if it is asked for.
GROUPS = {"gpu": ("GPU", "CUDA", "TENSORRT", "ROCM", "MIGRAPHX"), "npu": ("NPU", "QNN", "VITISAI")}
_TIMED_RUNS = 5


class RuntimeKind(Protocol):
    """A runtime's class."""

    name: str

    def __call__(self, path: Path, options: RuntimeOptions, device: str = "CPU") -> Runtime: ...

    def devices(self) -> list[str]: ...


def open_fastest(path: Path, kinds: Sequence[RuntimeKind], options: RuntimeOptions) -> Runtime:
    """Load a model on the device of the options; if several fit, on the one that runs it fastest.

    A device that is there but fails is replaced by the processor, with a warning.

    Args:
        path: the model.
        kinds: the runtimes, the best one on a processor first.
        options: name the device.

    Raises:
        RuntimeUnavailableError: this machine has no such device.
        GaussianYoloError: the processor cannot run the model either.
    """
    wanted = options.device.upper()
    chosen = [] if wanted == "CPU" else _choose(wanted, kinds)
    opened: list[tuple[float, Runtime]] = []
    reasons = []
    for kind, name in chosen:
        try:
            runtime = kind(path, options, name)
            opened.append((time_s(runtime, _TIMED_RUNS), runtime))
        except GaussianYoloError as error:
            reasons.append(f"device {name} fails: {error}")
    for reason in reasons:
        _log.warning("%s", reason)
    if not opened or wanted == "AUTO":
        runtime = kinds[0](path, options)
        runtime.notice = "; ".join([*reasons, "running on the CPU"]) if reasons else ""
        if not opened:
            return runtime
        opened.append((time_s(runtime, _TIMED_RUNS), runtime))
    _, fastest = min(opened, key=lambda timed: timed[0])
    for _, runtime in opened:
        if runtime is not fastest:
            runtime.close()
    return fastest


def time_s(runtime: Runtime | DetectingRuntime, runs: int) -> float:
    """Time of the network, s: the lower quartile of some runs, which a short disturbance does not change.

    On a device that returns detections, decoding and suppression are part of it.
    """
    run_grey(runtime)
    return float(np.percentile([run_grey(runtime) for _ in range(runs)], 25))


def run_grey(runtime: Runtime | DetectingRuntime) -> float:
    """Run the network once, on a grey canvas; returns its time, s. The first time, the runtime prepares itself."""
    canvas = np.full((*runtime.input_size, 3), 128, np.uint8)
    if isinstance(runtime, DetectingRuntime):
        return runtime.detect(canvas).inference_s
    started = perf_counter()
    runtime.infer(canvas)
    return perf_counter() - started


def _choose(wanted: str, kinds: Sequence[RuntimeKind]) -> list[tuple[RuntimeKind, str]]:
    """Runtimes and devices, without the processor, that fit a name in capitals; none for "AUTO" without a GPU or NPU.

    Raises:
        RuntimeUnavailableError: none fits any other name.
    """
    if wanted == "AUTO" and not _may_have_accelerator(kinds):
        return []
    devices = [(kind, name) for kind in kinds for name in _devices(kind)]
    starts = GROUPS.get(wanted.lower(), ())
    if wanted == "AUTO":
        starts = tuple(start for group in GROUPS.values() for start in group)
    if starts:
        chosen = [(kind, name) for kind, name in devices if name.upper().startswith(starts)]
    else:
        chosen = [(kind, name) for kind, name in devices if name.upper() == wanted]
        if ":" in wanted:  # a combination of OpenVINO's, such as HETERO:GPU,CPU
            chosen = [(kind, wanted) for kind in kinds if kind.name == "openvino"]
    if not chosen and wanted != "AUTO":
        there = ", ".join(dict.fromkeys(name for _, name in devices))
        raise RuntimeUnavailableError(
            f"device {wanted.lower()!r} is not on this machine, or its runtime is not installed; choose auto, cpu or "
            f"one of: {there}"
        )
    return chosen


def _may_have_accelerator(kinds: Sequence[RuntimeKind]) -> bool:
    """Whether it is worth asking; the import of ONNX Runtime takes long, so its package's name decides."""
    if any(kind.name == "openvino" and len(_devices(kind)) > 1 for kind in kinds):
        return True
    if not any(kind.name == "onnxruntime" for kind in kinds):
        return False
    builds = (str(package.metadata["Name"]).lower() for package in distributions())
    return any(name.startswith("onnxruntime-") for name in builds)  # such as onnxruntime-gpu


def _devices(kind: RuntimeKind) -> list[str]:
    try:
        return kind.devices()
    except RuntimeUnavailableError:  # not installed
        return []
