"""A fake TensorRT on a fake GPU: engines that run a model in ONNX Runtime.

An engine file is JSON with the model's path and the built-in thresholds. Execution reads the input from the fake GPU's
memory and writes the plugin's outputs there, decoded by the package's numpy code, so that the runtime's results can be
compared with the CPU path value by value.
"""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from enum import Enum, IntEnum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from fake_cuda import Gpu, rule
from numpy.typing import NDArray

from gaussian_yolo_node.detector.decode import NonFiniteOutputError, decode
from gaussian_yolo_node.detector.detections import Detections
from gaussian_yolo_node.detector.letterbox import Letterbox
from gaussian_yolo_node.detector.model import ModelCard, read_card
from gaussian_yolo_node.detector.nms import nms
from gaussian_yolo_node.runtime import RuntimeOptions, open_runtime

VERSION = "10.3.0"
OUTPUTS = ("num_detections", "boxes", "scores", "class_ids", "sigmas")
FP32 = RuntimeOptions(1, "fp32")


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    UINT8 = 2
    INT32 = 3


class TensorIOMode(Enum):
    INPUT = 1
    OUTPUT = 2


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


def write_engine(path: Path, model: Path, **changes: Any) -> None:
    """Write an engine file; `changes` override fields such as `layout`, `batch`, `max_detections` or `input_size`."""
    fields = {"model": str(model), "layout": "canvas", "batch": 1, "max_detections": 300, "outputs": OUTPUTS}
    path.write_text(json.dumps(fields | changes))


def make_tensorrt(gpu: Gpu) -> Any:
    """A module like tensorrt."""
    trt: Any = ModuleType("tensorrt")

    class ILogger:
        pass

    ILogger.Severity = Severity  # type: ignore[attr-defined]

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            failure = gpu.attempt("deserialize")
            try:
                fields = json.loads(data)
            except ValueError:
                self._logger.log(Severity.WARNING, "this is a warning")
                self._logger.log(Severity.ERROR, "Serialization assertion\n magicTag failed.")
                return None
            if failure is not None:
                self._logger.log(Severity.ERROR, failure.words)
                return None
            return Engine(gpu, fields, self._logger)

    class Registry:
        def __init__(self) -> None:
            self.loaded: list[str] = []

        def load_library(self, path: str) -> object | None:
            rule(path not in self.loaded, "a library of plugins loaded twice")
            self.loaded.append(path)
            return object() if "refused" not in path else None

    registry = Registry()
    trt.__version__ = VERSION
    trt.ILogger, trt.Runtime, trt.DataType, trt.TensorIOMode = ILogger, Runtime, DataType, TensorIOMode
    trt.get_plugin_registry = lambda: registry
    return trt


class Engine:
    """Like ICudaEngine; its weights are an allocation on the GPU."""

    def __init__(self, gpu: Gpu, fields: dict[str, Any], logger: Any) -> None:
        self.fields = fields
        self.contexts: weakref.WeakSet[Context] = weakref.WeakSet()
        self._gpu = gpu
        self._logger = logger
        self._weights = gpu.allocate(1024)
        size = tuple(fields["input_size"]) if "input_size" in fields else None
        network = open_runtime(Path(fields["model"]), "onnxruntime", replace(FP32, input_size=size))
        self.network: Any = network
        self.card: ModelCard = read_card(network.metadata, Path(fields["model"]))

    def __del__(self) -> None:
        if self.contexts:
            self._gpu.broken.append("an engine destroyed before its execution contexts")
        self._gpu.expect_current("an engine")
        self._gpu.free(self._weights)

    @property
    def num_io_tensors(self) -> int:
        return 1 + len(self.fields["outputs"])

    def get_tensor_name(self, index: int) -> str:
        return str(["image", *self.fields["outputs"]][index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == "image" else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return {"canvas": DataType.UINT8, "float": DataType.FLOAT, "half": DataType.HALF, "int32": DataType.INT32}[
            self.fields["layout"]
        ]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, rows = self.fields["batch"], self.fields["max_detections"]
        if name == "image":
            height, width = self.network.input_size
            return (batch, height, width, 3) if self.fields["layout"] == "canvas" else (batch, 3, height, width)
        return {"boxes": (batch, rows, 4)}[name]

    def create_execution_context(self) -> Context | None:
        failure = self._gpu.attempt("create_execution_context")
        if failure is not None:
            self._logger.log(Severity.ERROR, failure.words)
            return None
        return Context(self, self._gpu, self._logger)


class Context:
    """Like IExecutionContext; its intermediate results are an allocation on the GPU."""

    def __init__(self, engine: Engine, gpu: Gpu, logger: Any) -> None:
        engine.contexts.add(self)
        self._engine = weakref.proxy(engine)
        self._gpu = gpu
        self._logger = logger
        self._memory = gpu.allocate(2048)
        self._addresses: dict[str, int] = {}
        self._batch = engine.fields["batch"]
        self._stream = 0
        self._ran = False

    def __del__(self) -> None:
        self._gpu.expect_current("an execution context")
        self._gpu.free(self._memory)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return bool(self._engine.fields.get("profile", True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return name in ("image", *self._engine.fields["outputs"])

    def execute_async_v3(self, stream: int) -> bool:
        failure = self._gpu.attempt("enqueue")
        if failure is not None:
            self._logger.log(Severity.ERROR, failure.words)
            return False
        rule(self._batch == 1, "a context run before its input has a shape")
        state = self._gpu.stream(stream)
        if state.captured is not None:
            rule(self._ran, "a network captured before it ran once")
        rule(self._stream in (0, stream), "an execution context used in two streams")
        self._stream = stream
        self._ran = True
        self._gpu.put(stream, "network", self._run)
        return True

    def _run(self) -> None:
        engine, card = self._engine, self._engine.card
        height, width = engine.network.input_size
        canvas = self._gpu.at(self._addresses["image"], height * width * 3).reshape(height, width, 3)
        rows = engine.fields["max_detections"]
        try:
            heads = engine.network.infer(canvas.copy())
            score = engine.fields.get("score_threshold", card.score_threshold)
            found = decode(heads, card.anchor_sizes, card.strides, score)
            kept = nms(found, card.iou_threshold, rows, card.variance_vote)
            count = len(kept)
        except NonFiniteOutputError:
            kept, count = Detections.empty(), -1
        self._write("num_detections", np.array([engine.fields.get("count", count)], np.int32))
        for name in OUTPUTS[1:]:
            values = getattr(kept, name)
            padded = np.zeros((rows, *values.shape[1:]), values.dtype)
            padded[: len(values)] = values
            self._write(name, padded)

    def _write(self, name: str, values: NDArray[Any]) -> None:
        self._gpu.at(self._addresses[name], values.nbytes)[:] = np.frombuffer(values.tobytes(), np.uint8)


class FakePlugin:
    """Like libgaussian_yolo_plugin.so in ctypes; its kernel is the package's letterbox."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def gy_preprocess(self, params: Any, frame: Any, pitch: Any, output: Any, half: Any, stream: Any) -> int:
        failure = self._gpu.attempt("gy_preprocess")
        if failure is not None:
            return failure.code
        sizes = params._obj
        shape = (sizes.frame_height, sizes.frame_width)
        canvas_size = (sizes.canvas_height, sizes.canvas_width)
        resize = ("bilinear", "align_corners")[sizes.resize]
        source, target = frame.value, output.value
        rule(pitch.value == shape[1] * 3 and sizes.layout == 0, "only packed frames and uint8 canvases are pretended")

        def run() -> None:
            picture = self._gpu.at(source, shape[0] * shape[1] * 3).reshape(*shape, 3)
            canvas = Letterbox.fit(shape, canvas_size, resize).to_canvas(np.ascontiguousarray(picture))  # type: ignore[arg-type]
            self._gpu.at(target, canvas.nbytes)[:] = canvas.ravel()

        self._gpu.put(stream.value, "letterbox", run)
        return 0
