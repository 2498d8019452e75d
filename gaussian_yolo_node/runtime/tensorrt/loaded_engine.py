"""A TensorRT engine on the GPU, shared by all runtimes of the process that use the file."""

from __future__ import annotations

import threading
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

from gaussian_yolo_node.errors import ModelError
from gaussian_yolo_node.runtime.base import DeviceMemoryError, InferenceError
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu
from gaussian_yolo_node.runtime.tensorrt.plugin_library import CANVAS, PLANES, PluginLibrary

_KEPT_MESSAGES = 6  # of TensorRT's, the last; the first of a failure is often far from its cause
_NO_MEMORY = "memory"  # is in all of TensorRT's words for that
_MAKE_ROOM = "close other programs or cameras on the GPU, or take a smaller model"

OUTPUTS = ("num_detections", "boxes", "scores", "class_ids", "sigmas")


class LoadedEngine:
    """An engine whose weights are on the GPU; `make_context` gives what runs it.

    Attributes:
        path: its file.
        input_name: name of the input tensor.
        input_size: (height, width) of the canvas in px.
        input_bytes: of the input tensor for one image.
        layout: CANVAS (uint8 [1, H, W, 3]) or PLANES ([1, 3, H, W]).
        half: whether planes hold half rather than float.
        max_detections: rows of the outputs.

    Raises:
        ModelError: the file is no engine of this package, or not for one image at a time.
    """

    def __init__(self, path: Path, trt: Any, plugin: PluginLibrary) -> None:
        self.path = path
        self._log = log_class(trt)()
        register_plugins(trt, plugin.path)
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            messages = _bracketed(self._log.take())
            if _NO_MEMORY in messages.lower():
                raise DeviceMemoryError(f"{path} does not fit into the GPU's memory{messages}; {_MAKE_ROOM}")
            raise ModelError(
                f"{path} cannot be loaded by TensorRT {trt.__version__}{messages}; build it again on this machine with "
                "`gaussian-yolo build-engine`"
            )
        try:
            self._read_tensors(trt)
        except BaseException:
            self.close()  # while the GPU is current, and not when the exception is let go of
            raise

    def make_context(self) -> Any:
        """A new execution context for one image. It must be let go of before the engine is.

        Raises:
            DeviceMemoryError: there is no memory for the network's intermediate results.
            InferenceError: TensorRT fails otherwise.
        """
        context = self._engine.create_execution_context()
        if context is None:
            messages = _bracketed(self._log.take())
            kind = DeviceMemoryError if _NO_MEMORY in messages.lower() else InferenceError
            raise kind(f"{self.path} cannot be made ready to run{messages}; {_MAKE_ROOM}")
        if not self._fixed_batch:
            shape = (1, *tuple(self._engine.get_tensor_shape(self.input_name))[1:])
            if not context.set_input_shape(self.input_name, shape):
                del context  # while the GPU is current, and not when the exception is let go of
                raise self.failure("one image at a time is not in the range that it was built for")
        return context

    def failure(self, what: str) -> InferenceError:
        """The error for a call that TensorRT refused, with what it logged."""
        return InferenceError(
            f"{self.path}: {what}{_bracketed(self._log.take())}; build the engine again on this machine"
        )

    def close(self) -> None:
        """Take the engine off the GPU, in TensorRT's order."""
        self._engine = None
        self._runtime = None

    def _read_tensors(self, trt: Any) -> None:
        path = self.path
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        if len(inputs) != 1 or set(names) - set(inputs) != set(OUTPUTS):
            raise ModelError(
                f"{path} has the tensors {', '.join(names)} where one input and {', '.join(OUTPUTS)} are needed; build "
                "it with `gaussian-yolo build-engine`"
            )
        self.input_name = inputs[0]
        shape = tuple(self._engine.get_tensor_shape(self.input_name))
        kind = self._engine.get_tensor_dtype(self.input_name)
        self.half = kind == trt.DataType.HALF
        if len(shape) == 4 and shape[3] == 3 and kind == trt.DataType.UINT8:
            self.layout, self.input_size, width = CANVAS, (shape[1], shape[2]), 1
        elif len(shape) == 4 and shape[1] == 3 and kind in (trt.DataType.FLOAT, trt.DataType.HALF):
            self.layout, self.input_size, width = PLANES, (shape[2], shape[3]), 2 if self.half else 4
        else:
            raise ModelError(
                f"{path} takes {kind} {list(shape)} where uint8 [1, height, width, 3] is needed; build it again with "
                "`gaussian-yolo build-engine`"
            )
        if shape[0] not in (1, -1) or min(self.input_size) < 1:
            raise ModelError(
                f"{path} takes {list(shape)}, and this runtime one image of a fixed size at a time; export the model "
                "with batch 1 and build it again"
            )
        self._fixed_batch = shape[0] == 1
        self.input_bytes = 3 * self.input_size[0] * self.input_size[1] * width
        self.max_detections = int(self._engine.get_tensor_shape("boxes")[1])


_LOCK = threading.Lock()
_SHARED: dict[tuple[Path, int], tuple[LoadedEngine, int]] = {}  # of a file and its time of change: users


def acquire(path: Path, trt: Any, plugin: PluginLibrary, gpu: Gpu) -> LoadedEngine:
    """The engine of a file, loaded at its first use; give it back with `release`. The GPU must be current.

    Raises:
        ModelError: as `LoadedEngine`.
        InferenceError: the GPU fails, or has not enough memory.
    """
    key = (path.resolve(), path.stat().st_mtime_ns)
    with _LOCK:
        engine, users = _SHARED.get(key, (None, 0))
        if engine is None:
            with gpu.errors(f"loading {path}"):
                engine = LoadedEngine(path, trt, plugin)
        _SHARED[key] = (engine, users + 1)
        return engine


def release(engine: LoadedEngine) -> None:
    """Give an engine back; the last to do so takes it off the GPU, which must be current."""
    with _LOCK:
        for key, (shared, users) in _SHARED.items():
            if shared is engine:
                if users > 1:
                    _SHARED[key] = (shared, users - 1)
                else:
                    del _SHARED[key]
                    engine.close()
                return


@cache
def register_plugins(trt: Any, library: Path) -> None:
    """Make TensorRT know a library's plugins, once a process: a second registration would be refused.

    Raises:
        ModelError: TensorRT does not take them.
    """
    if trt.get_plugin_registry().load_library(str(library)) is None:
        raise ModelError(
            f"TensorRT {trt.__version__} does not take the plugins of {library}; build the library again for this "
            "version of TensorRT"
        )


@cache
def log_class(trt: Any) -> type[Any]:
    """TensorRT's logger as a class of ours, made late because the package is imported late."""

    class Log(trt.ILogger):  # type: ignore[misc]
        """Keeps the last errors, for TensorRT's calls themselves only say that they failed."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=_KEPT_MESSAGES)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self._errors.append(" ".join(message.split()))

        def take(self) -> str:
            """What was logged since the last time, on one line; empty if nothing was."""
            messages = list(dict.fromkeys(self._errors))
            self._errors.clear()
            return "; ".join(messages)

    return Log


def _bracketed(messages: str) -> str:
    return f" ({messages})" if messages else ""
