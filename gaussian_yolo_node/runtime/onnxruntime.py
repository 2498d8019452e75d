"""ONNX Runtime: the most portable runtime, in fp32; NVIDIA's GPUs where its GPU build is installed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import install_line
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
from gaussian_yolo_node.runtime.signature import Shape, choose_input_size, read_signature

# This provider is called "CPU" here, as OpenVINO does.
_CPU = "CPUExecutionProvider"


class OnnxRuntime(SharingRuntime):
    """A model loaded by ONNX Runtime; it does not compute in bf16."""

    name = "onnxruntime"

    @staticmethod
    def _load(path: Path, options: RuntimeOptions, device: str) -> SharedModel:
        if options.precision == "bf16":
            raise RuntimeUnavailableError(
                "ONNX Runtime does not compute in bf16 on a CPU; set precision to fp32 or auto, or choose openvino"
            )
        onnxruntime = _import()
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.intra_op_num_threads = options.threads or len(os.sched_getaffinity(0))
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # A spinning worker would occupy a core that camera, decoder and middleware need between two frames.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = _session(path, settings, device)
        metadata = dict(session.get_modelmeta().custom_metadata_map)
        inputs = session.get_inputs()
        names = [tensor.name for tensor in session.get_outputs()]
        shape = _fixed(inputs[0].shape) if len(inputs) == 1 else []
        size = choose_input_size(path, shape, names, metadata, options)
        if size is not None:
            # With a fixed size, the optimiser can plan memory once.
            for name, side in zip(inputs[0].shape[1:3], size, strict=True):
                if isinstance(name, str):
                    settings.add_free_dimension_override_by_name(name, side)
            session = _session(path, settings, device)
        signature = read_signature(
            path,
            {"tensor(uint8)": "uint8"}.get(inputs[0].type, inputs[0].type) if inputs else "nothing",
            [_fixed(tensor.shape) for tensor in inputs],
            {tensor.name: _fixed(tensor.shape) for tensor in session.get_outputs()},
            size,
        )
        threads = settings.intra_op_num_threads
        shown = f"CPU {show_precision(metadata, 'fp32')}, {threads} thread{'s' if threads != 1 else ''}"
        description = f"ONNX Runtime {onnxruntime.__version__} {shown if device == 'CPU' else device}"
        return SharedModel(metadata, signature, session, description)

    def _prepare(self, shared: SharedModel) -> None:
        self._input_name = shared.model.get_inputs()[0].name
        self._head_names = list(shared.signature.head_names)

    @staticmethod
    def devices() -> list[str]:
        """The providers of the installed build, with "CPU" for the processor."""
        return ["CPU" if name == _CPU else name for name in _import().get_available_providers()]

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """See `runtime.base.Runtime.infer`."""
        check_canvas(canvas, self.input_size)
        assert self._shared is not None
        try:
            heads: list[NDArray[np.float32]] = self._shared.model.run(
                self._head_names, {self._input_name: canvas[np.newaxis]}
            )
        except Exception as error:  # its exceptions have no other common base class
            raise InferenceError(
                f"ONNX Runtime failed on a frame ({last_words(error)}); try runtime openvino"
            ) from error
        return heads


def _import() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"ONNX Runtime cannot be imported ({error}); {install_line('cpu')}, or choose another runtime"
        ) from error
    return onnxruntime


def _session(path: Path, settings: Any, device: str) -> Any:
    # What a device cannot run, the processor does.
    providers = [_CPU] if device == "CPU" else [device, _CPU]
    try:
        session = _import().InferenceSession(str(path), settings, providers=providers)
    except Exception as error:  # its exceptions have no other common base class
        raise unreadable(path, "ONNX Runtime", error) from error
    # A provider whose libraries are missing is left out with a line in the log only.
    if session.get_providers()[0] != providers[0]:
        raise RuntimeUnavailableError(f"ONNX Runtime cannot use {device}; check its libraries and driver")
    return session


def _fixed(shape: list[int | str | None]) -> Shape:
    return [size if isinstance(size, int) else None for size in shape]
