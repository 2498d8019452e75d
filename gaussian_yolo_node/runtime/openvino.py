"""OpenVINO on the CPU: the fastest of the runtimes there, in bf16 where the processor has it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime.base import (
    InferenceError,
    RuntimeOptions,
    RuntimeUnavailableError,
    Shape,
    Signature,
    check_canvas,
    check_readable,
    choose_input_size,
    last_words,
    read_signature,
    show_precision,
    unreadable,
)


class OpenVinoRuntime:
    """A model compiled by OpenVINO; see `runtime.base.Runtime` for the attributes.

    The heads that `infer` returns are views of the request's output memory: no copy is made.

    Raises:
        RuntimeUnavailableError: OpenVINO is not installed, or bf16 was asked of a processor without it.
        ModelError: the file cannot be read, or its inputs and outputs are not those of this package.
    """

    name = "openvino"

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        check_readable(path)
        try:
            import openvino
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"OpenVINO cannot be imported ({error}); install it with `pip install gaussian_yolo[cpu]` or "
                "choose another runtime"
            ) from error
        core = _core()
        precision = _precision(core, options)
        model = _read(path)
        self.metadata: Mapping[str, str] = _metadata(model)
        signature = _signature(path, model, self.metadata, options)
        self.input_size = signature.input_size
        self.free_size = signature.free_size
        self.strides = signature.strides
        self.head_shapes = signature.head_shapes
        try:
            compiled = core.compile_model(model, "CPU", _properties(options, precision))
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be compiled by OpenVINO ({last_words(error)}); try the onnxruntime runtime"
            ) from error
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        version = openvino.get_version().split("-")[0]
        shown = show_precision(self.metadata, precision)
        self.description = f"OpenVINO {version} CPU {shown}, {threads} thread{'s' if threads != 1 else ''}"
        self._tensor_type = openvino.Tensor
        self._request = compiled.create_infer_request()
        self._heads = [self._request.get_tensor(name).data for name in signature.head_names]
        self._canvas: NDArray[np.uint8] | None = None

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """See `runtime.base.Runtime.infer`."""
        check_canvas(canvas, self.input_size)
        try:
            if canvas is not self._canvas:
                # The request reads the caller's memory, so a caller that refills one canvas pays for this once.
                # OpenVINO shares no memory that is read-only: that is copied each time.
                shared = canvas.flags.writeable
                self._request.set_input_tensor(self._tensor_type(canvas[np.newaxis], shared_memory=shared))
                self._canvas = canvas if shared else None
            self._request.infer({}, share_outputs=True)
        except RuntimeError as error:
            raise InferenceError(
                f"OpenVINO failed on a frame ({last_words(error)}); try runtime onnxruntime"
            ) from error
        return list(self._heads)

    def close(self) -> None:
        """See `runtime.base.Runtime.close`."""
        self._heads = []
        self._canvas = None
        self._request = None


@cache
def _core() -> Any:
    """The process's one core, which lives as long as the process.

    A core's CPU plugin gives the thread that loads it a stack for signal handlers, and takes it down with itself. Cores
    that end in the order in which they began, or in another thread, leave the thread with a stack that is no more: the
    next Ctrl-C ends the process with a segmentation fault.
    """
    import openvino

    return openvino.Core()


def _read(path: Path) -> Any:
    from openvino.frontend import FrontEndManager

    # Core.read_model would try every format it knows on a broken file, and each writes its own complaint to stderr.
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(path)))
    except Exception as error:  # its exceptions share no base class but this
        raise unreadable(path, "OpenVINO", error) from error


def _precision(core: Any, options: RuntimeOptions) -> str:
    capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if options.precision == "bf16" and not capable:
        raise RuntimeUnavailableError("this processor does not compute in bf16; set precision to fp32 or auto")
    return "bf16" if capable and options.precision != "fp32" else "fp32"


def _properties(options: RuntimeOptions, precision: str) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        # Pinned workers wait for their core while a camera, a decoder or the middleware has it.
        "ENABLE_CPU_PINNING": False,
    }
    if options.threads:
        properties["INFERENCE_NUM_THREADS"] = options.threads
    return properties


def _signature(path: Path, model: Any, metadata: Mapping[str, str], options: RuntimeOptions) -> Signature:
    """Inputs and outputs, after a free size is fixed."""

    def shape_of(port: Any) -> Shape:
        partial = port.get_partial_shape()
        if partial.rank.is_dynamic:
            return ()
        return [None if size.is_dynamic else size.get_length() for size in partial]

    inputs = model.inputs
    names = [port.get_any_name() for port in model.outputs]
    size = choose_input_size(path, shape_of(inputs[0]), names, metadata, options) if len(inputs) == 1 else None
    if size is not None:
        model.reshape({inputs[0]: [1, *size, 3]})
    input_type = inputs[0].get_element_type().to_dtype().name if inputs else "nothing"
    outputs = {port.get_any_name(): shape_of(port) for port in model.outputs}
    return read_signature(path, input_type, [shape_of(port) for port in inputs], outputs, size)


def _metadata(model: Any) -> dict[str, str]:
    # OpenVINO files the ONNX metadata_props under "framework", beside entries of its own.
    if not model.has_rt_info("framework"):
        return {}
    return {str(key): str(value.value) for key, value in model.rt_info["framework"].items()}
