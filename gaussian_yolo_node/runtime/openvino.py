"""OpenVINO: the fastest runtime on a CPU, where it uses bf16 if the processor supports it; Intel's GPUs and NPUs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import ModelError, install_line
from gaussian_yolo_node.runtime.base import (
    InferenceError,
    RuntimeOptions,
    RuntimeUnavailableError,
    check_canvas,
    last_words,
    show_precision,
    unreadable,
)
from gaussian_yolo_node.runtime.sharing import SharedModel, SharingRuntime
from gaussian_yolo_node.runtime.signature import Shape, Signature, choose_input_size, read_signature


class OpenVinoRuntime(SharingRuntime):
    """A model compiled by OpenVINO; a device may also be a combination, such as "HETERO:GPU,CPU".

    The heads that `infer` returns are views of the request's output memory, without a copy.
    """

    name = "openvino"

    @staticmethod
    def _load(path: Path, options: RuntimeOptions, device: str) -> SharedModel:
        version = _import().get_version().split("-")[0]
        core = _core()
        precision = _precision(core, options) if device == "CPU" else ""
        model = _read(path)
        metadata = _metadata(model)
        signature = _signature(path, model, metadata, options)
        try:
            compiled = core.compile_model(model, device, _properties(options, precision))
        except RuntimeError as error:
            raise ModelError(
                f"{path} cannot be compiled by OpenVINO for {device} ({last_words(error)}); try the onnxruntime runtime"
            ) from error
        if device != "CPU":
            return SharedModel(metadata, signature, compiled, f"OpenVINO {version} {device}")
        threads = compiled.get_property("INFERENCE_NUM_THREADS")
        shown = f"{show_precision(metadata, precision)}, {threads} thread{'s' if threads != 1 else ''}"
        return SharedModel(metadata, signature, compiled, f"OpenVINO {version} CPU {shown}")

    def _prepare(self, shared: SharedModel) -> None:
        self._tensor_type = _import().Tensor
        self._request = shared.model.create_infer_request()
        self._heads = [self._request.get_tensor(name).data for name in shared.signature.head_names]
        self._canvas: NDArray[np.uint8] | None = None

    @staticmethod
    def devices() -> list[str]:
        """Names of the devices of this machine."""
        return list(_core().available_devices)

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """See `runtime.base.Runtime.infer`."""
        check_canvas(canvas, self.input_size)
        try:
            if canvas is not self._canvas:
                # The request reads the caller's memory, so a caller that refills one canvas needs this only once.
                # OpenVINO cannot share read-only memory, so a read-only canvas is copied each time.
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
        super().close()
        self._heads = []
        self._canvas = self._request = None


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot be imported ({error}); {install_line('cpu')}, or choose another runtime"
        ) from error
    return openvino


@cache
def _core() -> Any:
    """The only `openvino.Core` of the process, which lives as long as the process.

    The CPU plugin of a core installs an alternate signal stack in the thread that loads it, and frees the stack when
    the core is destroyed. If cores are destroyed in their order of creation or in another thread, the thread keeps a
    freed stack. The next Ctrl-C then ends the process with a segmentation fault.
    """
    return _import().Core()


def _read(path: Path) -> Any:
    from openvino.frontend import FrontEndManager

    # Core.read_model would try all its frontends on a broken file, and each writes an error to stderr.
    frontend = FrontEndManager().load_by_framework("onnx")
    try:
        return frontend.convert(frontend.load(str(path)))
    except Exception as error:  # its exceptions have no other common base class
        raise unreadable(path, "OpenVINO", error) from error


def _precision(core: Any, options: RuntimeOptions) -> str:
    capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if options.precision == "bf16" and not capable:
        raise RuntimeUnavailableError("this processor does not compute in bf16; set precision to fp32 or auto")
    return "bf16" if capable and options.precision != "fp32" else "fp32"


def _properties(options: RuntimeOptions, precision: str) -> dict[str, Any]:
    """Settings of the compilation; without a precision, those that every device knows."""
    if not precision:
        return {"PERFORMANCE_HINT": "LATENCY"}
    properties: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": {"bf16": "bf16", "fp32": "f32"}[precision],
        # A pinned worker would wait while camera, decoder or middleware uses its core.
        "ENABLE_CPU_PINNING": False,
    }
    if options.threads:
        properties["INFERENCE_NUM_THREADS"] = options.threads
    return properties


def _signature(path: Path, model: Any, metadata: Mapping[str, str], options: RuntimeOptions) -> Signature:
    """Inputs and outputs, after fixing a free size."""

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
    # OpenVINO stores the ONNX metadata_props under "framework", together with its own entries.
    if not model.has_rt_info("framework"):
        return {}
    return {str(key): str(value.value) for key, value in model.rt_info["framework"].items()}
