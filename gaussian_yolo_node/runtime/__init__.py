"""Inference runtimes: a canvas goes in, the network's raw heads come out; or, on a GPU, a frame and its detections."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.runtime.base import (
    DetectingRuntime,
    InferenceError,
    Precision,
    Runtime,
    RuntimeOptions,
    RuntimeUnavailableError,
)

# A node in a vehicle does not phone home. OpenVINO would fork a process for it as soon as it is imported, and that
# process would outlive a node that is stopped then; without its telemetry package it uses a stub of its own.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

CPU_RUNTIMES = ("openvino", "onnxruntime")
RUNTIMES = ("auto", *CPU_RUNTIMES, "tensorrt")

__all__ = [
    "CPU_RUNTIMES",
    "RUNTIMES",
    "DetectingRuntime",
    "InferenceError",
    "Precision",
    "Runtime",
    "RuntimeOptions",
    "RuntimeUnavailableError",
    "open_device_runtime",
    "open_runtime",
]


def open_runtime(path: Path, runtime: str = "auto", options: RuntimeOptions = RuntimeOptions()) -> Runtime:  # noqa: B008
    """Load a model on the CPU.

    Args:
        path: an ONNX file as `gaussian-yolo export` writes it.
        runtime: one of CPU_RUNTIMES, or "auto", which takes the first of them that is installed.
        options: threads and precision.

    Raises:
        SettingError: there is no runtime of that name.
        RuntimeUnavailableError: the runtime is not installed, or cannot do what the options ask.
        ModelError: the file is missing, unreadable, or no model of this package.
    """
    name = _first_installed() if runtime == "auto" else runtime
    if name == "openvino":
        from gaussian_yolo_node.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime(path, options)
    if name == "onnxruntime":
        from gaussian_yolo_node.runtime.onnxruntime import OnnxRuntime

        return OnnxRuntime(path, options)
    raise SettingError(f"there is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")


def open_device_runtime(
    path: Path,
    runtime: str = "auto",
    options: RuntimeOptions = RuntimeOptions(),  # noqa: B008
) -> DetectingRuntime | None:
    """Load a model on the GPU, if that is what is asked for.

    Args:
        path: a TensorRT engine, or an ONNX file with an engine beside it.
        runtime: one of RUNTIMES; "auto" takes the GPU if there are one, an engine that was built for it from this
            model, and the packages that run it. A path to an engine can mean nothing else.
        options: whether to build a stale engine again.

    Returns:
        The runtime; None if this is work for `open_runtime`.

    Raises:
        RuntimeUnavailableError: the GPU was asked for and there is none, or something that it needs is missing.
        ModelError: the engine is missing, unreadable, or stale.
        InferenceError: the GPU failed.
    """
    from gaussian_yolo_node.runtime.tensorrt.engine_file import SUFFIX, engine_of

    # A path to an engine and the runtime's own name are orders; all else is a wish that an engine must be there for.
    ordered = path.suffix == SUFFIX or runtime == "tensorrt"
    if not ordered and (runtime != "auto" or not engine_of(path).is_file()):
        return None
    from gaussian_yolo_node.runtime.tensorrt.runtime import TensorRtRuntime, runs_here

    if not ordered and not runs_here(path):
        return None
    return TensorRtRuntime(path, options)


def _first_installed() -> str:
    """Found by importing it, because a package may be there and yet not load on this machine."""
    reasons = []
    for name in CPU_RUNTIMES:
        try:
            import_module(name)
        except ImportError as error:
            reasons.append(str(error))
        else:
            return name
    raise RuntimeUnavailableError(
        f"none of the runtimes {' and '.join(CPU_RUNTIMES)} can be imported ({'; '.join(reasons)}); install them with "
        "`pip install gaussian_yolo[cpu]`"
    )
