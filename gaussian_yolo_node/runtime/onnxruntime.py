"""ONNX Runtime on the CPU, in fp32; the most portable runtime."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.runtime.base import (
    InferenceError,
    RuntimeOptions,
    RuntimeUnavailableError,
    Shape,
    check_canvas,
    check_readable,
    choose_input_size,
    last_words,
    read_signature,
    show_precision,
    unreadable,
)


class OnnxRuntime:
    """A model loaded by ONNX Runtime; see `runtime.base.Runtime` for the attributes.

    Raises:
        RuntimeUnavailableError: ONNX Runtime is not installed, or bf16 is requested.
        ModelError: the file cannot be read, or its inputs and outputs are not those of this package.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        check_readable(path)
        if options.precision == "bf16":
            raise RuntimeUnavailableError(
                "ONNX Runtime does not compute in bf16 on a CPU; set precision to fp32 or auto, or choose openvino"
            )
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"ONNX Runtime cannot be imported ({error}); install it with `pip install gaussian_yolo[cpu]` or "
                "choose another runtime"
            ) from error
        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.intra_op_num_threads = options.threads or len(os.sched_getaffinity(0))
        settings.inter_op_num_threads = 1
        settings.log_severity_level = 3
        # A spinning worker would occupy a core that camera, decoder and middleware need between two frames.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = _load(path, settings)
        self.metadata: Mapping[str, str] = dict(session.get_modelmeta().custom_metadata_map)
        inputs = session.get_inputs()
        names = [tensor.name for tensor in session.get_outputs()]
        shape = _fixed(inputs[0].shape) if len(inputs) == 1 else []
        size = choose_input_size(path, shape, names, self.metadata, options)
        if size is not None:
            # With a fixed size, the optimiser can plan memory once.
            for name, side in zip(inputs[0].shape[1:3], size, strict=True):
                if isinstance(name, str):
                    settings.add_free_dimension_override_by_name(name, side)
            session = _load(path, settings)
        signature = read_signature(
            path,
            {"tensor(uint8)": "uint8"}.get(inputs[0].type, inputs[0].type) if inputs else "nothing",
            [_fixed(tensor.shape) for tensor in inputs],
            {tensor.name: _fixed(tensor.shape) for tensor in session.get_outputs()},
            size,
        )
        self._session = session
        self.input_size = signature.input_size
        self.free_size = signature.free_size
        self.strides = signature.strides
        self.head_shapes = signature.head_shapes
        threads = settings.intra_op_num_threads
        shown = show_precision(self.metadata, "fp32")
        self.description = (
            f"ONNX Runtime {onnxruntime.__version__} CPU {shown}, {threads} thread{'s' if threads != 1 else ''}"
        )
        self._input_name = inputs[0].name
        self._head_names = list(signature.head_names)

    def infer(self, canvas: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """See `runtime.base.Runtime.infer`."""
        check_canvas(canvas, self.input_size)
        try:
            heads: list[NDArray[np.float32]] = self._session.run(
                self._head_names, {self._input_name: canvas[np.newaxis]}
            )
        except Exception as error:  # its exceptions have no other common base class
            raise InferenceError(
                f"ONNX Runtime failed on a frame ({last_words(error)}); try runtime openvino"
            ) from error
        return heads

    def close(self) -> None:
        """See `runtime.base.Runtime.close`."""
        self._session = None


def _load(path: Path, settings: Any) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no other common base class
        raise unreadable(path, "ONNX Runtime", error) from error


def _fixed(shape: list[int | str | None]) -> Shape:
    return [size if isinstance(size, int) else None for size in shape]
