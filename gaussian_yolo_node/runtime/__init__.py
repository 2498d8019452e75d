"""Inference runtimes: a canvas goes in, the network's raw heads come out."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from gaussian_yolo_node.errors import SettingError
from gaussian_yolo_node.runtime.base import (
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

RUNTIMES = ("auto", "openvino", "onnxruntime")

__all__ = [
    "RUNTIMES",
    "InferenceError",
    "Precision",
    "Runtime",
    "RuntimeOptions",
    "RuntimeUnavailableError",
    "open_runtime",
]


def open_runtime(path: Path, runtime: str = "auto", options: RuntimeOptions = RuntimeOptions()) -> Runtime:  # noqa: B008
    """Load a model.

    Args:
        path: an ONNX file as `gaussian-yolo export` writes it.
        runtime: one of RUNTIMES; "auto" takes the first of the others that is installed.
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


def _first_installed() -> str:
    """Found by importing it, because a package may be there and yet not load on this machine."""
    reasons = []
    for name in RUNTIMES[1:]:
        try:
            import_module(name)
        except ImportError as error:
            reasons.append(str(error))
        else:
            return name
    raise RuntimeUnavailableError(
        f"none of the runtimes {' and '.join(RUNTIMES[1:])} can be imported ({'; '.join(reasons)}); install them with "
        "`pip install gaussian_yolo[cpu]`"
    )
