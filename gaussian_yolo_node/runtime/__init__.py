"""Inference runtimes: on the CPU from a canvas to the network's raw heads, on a GPU from a frame to detections."""

from __future__ import annotations

import logging
import os
import sys
from importlib import import_module
from pathlib import Path

from gaussian_yolo_node.errors import GaussianYoloError, SettingError, install_line
from gaussian_yolo_node.runtime.base import (
    DetectingRuntime,
    InferenceError,
    Precision,
    Runtime,
    RuntimeOptions,
    RuntimeUnavailableError,
)
from gaussian_yolo_node.runtime.devices import RuntimeKind, open_fastest

# A node in a vehicle must not send telemetry. OpenVINO forks a telemetry process on import, which would outlive a node
# that stops at that moment. Without its telemetry package, OpenVINO uses a built-in stub.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_LOG = logging.getLogger(__name__)

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
    """Load a model that returns raw heads.

    Args:
        path: an ONNX file from `gaussian-yolo export`.
        runtime: one of CPU_RUNTIMES, or "auto" for the best of those that are installed.
        options: threads, precision, canvas and device.

    Raises:
        SettingError: the runtime's name is unknown.
        RuntimeUnavailableError: the runtime is not installed, or does not support the options.
        ModelError: the file is missing, unreadable, or not a model of this package.
    """
    if runtime not in ("auto", *CPU_RUNTIMES):
        raise SettingError(f"there is no runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")
    return open_fastest(path, [_kind(name) for name in (_installed() if runtime == "auto" else [runtime])], options)


def open_device_runtime(
    path: Path,
    runtime: str = "auto",
    options: RuntimeOptions = RuntimeOptions(),  # noqa: B008
) -> DetectingRuntime | None:
    """Load a model on the GPU, if the GPU is requested.

    Args:
        path: a TensorRT engine, or an ONNX file with an engine beside it.
        runtime: one of RUNTIMES. "auto" uses the GPU if there is a GPU, an engine built for it from this model, and
            the required packages. A path to an engine always requests the GPU.
        options: the canvas, and whether to build an engine that is missing or stale.

    Returns:
        The runtime; None if `open_runtime` must load the model.

    Raises:
        RuntimeUnavailableError: the GPU is requested, and there is none or a requirement is missing.
        ModelError: the engine is missing, unreadable, or stale.
        InferenceError: the GPU failed.
    """
    from gaussian_yolo_node.runtime.tensorrt.engine_file import SUFFIX, engine_of

    # An `.engine` path or `tensorrt` is mandatory; `auto` needs an existing engine.
    ordered = path.suffix == SUFFIX or runtime == "tensorrt"
    if not ordered and (runtime != "auto" or not engine_of(path).is_file()):
        return None
    from gaussian_yolo_node.runtime.tensorrt.engines import Engines
    from gaussian_yolo_node.runtime.tensorrt.runtime import TensorRtRuntime

    try:
        engines = Engines(path, rebuild=ordered and options.rebuild_engine)
        ready = engines.at(options.input_size)
    except GaussianYoloError as error:
        if ordered:
            raise
        _LOG.warning("the engine is not used: %s", error)
        return None
    return TensorRtRuntime(engines, ready)


def _kind(name: str) -> RuntimeKind:
    if name == "openvino":
        from gaussian_yolo_node.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime
    from gaussian_yolo_node.runtime.onnxruntime import OnnxRuntime

    return OnnxRuntime


def _installed() -> list[str]:
    """The CPU runtimes from the first that can be imported; an installed one may fail to load on this machine."""
    reasons = []
    for position, name in enumerate(CPU_RUNTIMES):
        try:
            import_module(name)
        except ImportError as error:
            reasons.append(str(error))
        else:
            return list(CPU_RUNTIMES[position:])
    raise RuntimeUnavailableError(
        f"none of the runtimes {' and '.join(CPU_RUNTIMES)} can be imported ({'; '.join(reasons)}); install them: "
        f"{install_line('cpu')}"
    )
