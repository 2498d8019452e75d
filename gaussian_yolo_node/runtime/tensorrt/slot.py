"""A frame's way through the GPU: its stream, its memory, its execution context, and the graph that runs them."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.runtime.base import DeviceDetections, InferenceError
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu
from gaussian_yolo_node.runtime.tensorrt.cuda_driver import CudaCallError
from gaussian_yolo_node.runtime.tensorrt.loaded_engine import LoadedEngine
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PluginLibrary, PreprocessParams

_ALIGNMENT = 256  # bytes; what cuMemAlloc aligns to, so that every output begins as if it had its own allocation


@dataclass(frozen=True)
class _Output:
    name: str
    offset: int  # bytes into the memory of all outputs
    shape: tuple[int, ...]
    dtype: type[np.generic]


class Slot:
    """Memory and stream for one frame at a time. Use it only while the GPU is current.

    All work of a frame is in one stream: copy to the GPU, letterbox, network with decoding and suppression, copy back.
    It is recorded once for a frame size and then launched as a whole, for on a small board the many short launches of a
    network cost more processor time than anything else here. Where it cannot be recorded, it is put on the stream
    piece by piece.

    Attributes:
        without_graph: why no graph is launched, empty if one is or none was tried yet.

    Raises:
        InferenceError: no memory, or the GPU failed.
    """

    def __init__(self, gpu: Gpu, engine: LoadedEngine, plugin: PluginLibrary, resize: int) -> None:
        self.without_graph = ""
        self._gpu = gpu
        self._engine = engine
        self._plugin = plugin
        self._resize = resize
        self._frame_shape: tuple[int, ...] = ()
        self._graph = 0
        self._warm = False
        self._events: list[int] = []
        self._context: Any = None
        self._stream: Any = None
        self._frame: Any = None
        self._input: Any = None
        self._results: Any = None
        self._pinned_frame: NDArray[np.uint8] | None = None
        self._pinned_results: NDArray[np.uint8] | None = None
        self._outputs, size = _lay_out(engine.max_detections)
        try:
            with gpu.errors("the network's results"):
                self._stream = gpu.cuda.Stream(_NON_BLOCKING)
                for _ in range(3):  # start, prepared, done
                    self._events.append(gpu.driver.make_event())
                self._input = gpu.cuda.mem_alloc(engine.input_bytes)
                self._results = gpu.cuda.mem_alloc(size)
                self._pinned_results = gpu.pinned(size)
            self._context = engine.make_context()
            self._bind()
        except BaseException:
            self.close()
            raise

    def detect(self, frame_bgr: NDArray[np.uint8]) -> DeviceDetections:
        """Detections of one frame, uint8 [H, W, 3].

        Raises:
            InferenceError: as above.
        """
        try:
            staging_s = self._start(frame_bgr)
        except BaseException:
            self._gpu.release(self._stream.synchronize)  # what was put on the stream still uses the memory
            raise
        return self._finish(staging_s)

    def close(self) -> None:
        """Wait for what is running and free everything; harmless on a slot that is only half made."""
        gpu = self._gpu
        if self._stream is not None:
            gpu.release(self._stream.synchronize)
        self._free_frame()
        self._context = None  # before the memory that is bound to it
        for event in self._events:
            gpu.release(gpu.driver.free_event, event)
        self._events = []
        for memory in (self._input, self._results):
            if memory is not None:
                gpu.release(memory.free)
        self._input = self._results = None
        if self._pinned_results is not None:
            gpu.release(gpu.free_pinned, self._pinned_results)
            self._pinned_results = None
        self._stream = None

    def _start(self, frame_bgr: NDArray[np.uint8]) -> float:
        """Put a frame to work; returns the time of its copy to pinned memory, s."""
        started = perf_counter()
        if frame_bgr.shape != self._frame_shape:
            self._fit(frame_bgr.shape)
        assert self._pinned_frame is not None  # _fit has run
        np.copyto(self._pinned_frame.reshape(self._frame_shape), frame_bgr)
        staging_s = perf_counter() - started
        if not self._warm:
            # TensorRT sets itself up in the first run, which must not be part of a recording.
            with self._gpu.errors("the first run of the network"):
                self._enqueue(capturing=False)
                self._stream.synchronize()
            self._warm = True
        if not self._graph and not self.without_graph:
            self._capture()
        with self._gpu.errors("starting the network"):
            if self._graph:
                self._gpu.driver.launch(self._graph, self._stream.handle)
            else:
                self._enqueue(capturing=False)
        return staging_s

    def _finish(self, staging_s: float) -> DeviceDetections:
        """Wait for the frame and read its detections."""
        with self._gpu.errors("running the network"):
            self._stream.synchronize()
            start, prepared, done = self._events
            preprocess_s = self._gpu.driver.seconds_between(start, prepared)
            inference_s = self._gpu.driver.seconds_between(prepared, done)
        count, boxes, scores, class_ids, sigmas = self._read()
        number = int(count[0])
        if not -1 <= number <= self._engine.max_detections:
            raise InferenceError(
                f"{self._engine.path} gave {number} detections where {self._engine.max_detections} is the most; build "
                "engine and plugin again from one version of this package"
            )
        rows = slice(0, max(number, 0))
        # Copies, for the next frame is written over them.
        return DeviceDetections(
            boxes[0, rows].copy(),
            scores[0, rows].copy(),
            class_ids[0, rows].copy(),
            sigmas[0, rows].copy(),
            number >= 0,
            staging_s + preprocess_s,
            inference_s,
        )

    def _bind(self) -> None:
        addresses = {self._engine.input_name: int(self._input)}
        addresses |= {output.name: int(self._results) + output.offset for output in self._outputs}
        for name, address in addresses.items():
            if not self._context.set_tensor_address(name, address):
                raise self._engine.failure(f"tensor {name} cannot be bound")

    def _fit(self, shape: tuple[int, ...]) -> None:
        """Make room for frames of another size."""
        self._free_frame()
        size = int(np.prod(shape))
        try:
            with self._gpu.errors(f"frames of {shape[1]}x{shape[0]} px"):
                self._frame = self._gpu.cuda.mem_alloc(size)
                self._pinned_frame = self._gpu.pinned(size)
        except InferenceError:
            self._free_frame()
            raise
        self._frame_shape = shape

    def _free_frame(self) -> None:
        # The graph goes first: it holds the addresses of the memory.
        if self._graph:
            self._gpu.release(self._gpu.driver.free_graph, self._graph)
            self._graph = 0
        if self._frame is not None:
            self._gpu.release(self._frame.free)
            self._frame = None
        if self._pinned_frame is not None:
            self._gpu.release(self._gpu.free_pinned, self._pinned_frame)
            self._pinned_frame = None
        self._frame_shape = ()

    def _capture(self) -> None:
        """Record the work of a frame, or note why that cannot be done."""
        gpu, stream = self._gpu, self._stream.handle
        reason = ""
        try:
            gpu.driver.begin_capture(stream)
        except CudaCallError as error:
            self.without_graph = str(error)
            return
        try:
            self._enqueue(capturing=True)
        except (gpu.cuda.Error, CudaCallError, InferenceError) as error:
            reason = str(error)
        try:
            # Always, because only this gets the stream out of recording.
            graph = gpu.driver.end_capture(stream)
        except CudaCallError as error:
            reason = reason or str(error)
        else:
            if reason:
                gpu.driver.free_graph(graph)
            else:
                self._graph = graph
        if reason:
            gpu.check_alive("recording the network")
            self.without_graph = reason

    def _enqueue(self, capturing: bool) -> None:
        gpu, engine = self._gpu, self._engine
        stream = self._stream.handle
        start, prepared, done = self._events
        height, width = self._frame_shape[:2]
        gpu.driver.record(start, stream, capturing)
        gpu.cuda.memcpy_htod_async(self._frame, self._pinned_frame, self._stream)
        params = PreprocessParams(
            height, width, *engine.input_size, self._resize, engine.layout, 0, 1.0
        )  # planes, too, hold grey levels in the order of the canvas: the exported graph scales them itself
        self._plugin.preprocess(params, int(self._frame), width * 3, int(self._input), engine.half, stream)
        gpu.driver.record(prepared, stream, capturing)
        if not self._context.execute_async_v3(stream):
            raise engine.failure("the network cannot be put to work")
        gpu.cuda.memcpy_dtoh_async(self._pinned_results, self._results, self._stream)
        gpu.driver.record(done, stream, capturing)

    def _read(self) -> list[NDArray[Any]]:
        assert self._pinned_results is not None  # until close
        arrays = []
        for output in self._outputs:
            size = int(np.prod(output.shape)) * np.dtype(output.dtype).itemsize
            raw = self._pinned_results[output.offset : output.offset + size]
            arrays.append(raw.view(output.dtype).reshape(output.shape))
        return arrays


_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: not held up by what others put on the default stream


def _lay_out(rows: int) -> tuple[list[_Output], int]:
    """Where the plugin's outputs lie in one piece of memory, and its size in bytes: one copy brings all back."""
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {
        "num_detections": ((1,), np.int32),
        "boxes": ((1, rows, 4), np.float32),
        "scores": ((1, rows), np.float32),
        "class_ids": ((1, rows), np.int32),
        "sigmas": ((1, rows, 4), np.float32),
    }
    outputs, end = [], 0
    for name, (shape, dtype) in shapes.items():
        outputs.append(_Output(name, end, shape, dtype))
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        end += -(-size // _ALIGNMENT) * _ALIGNMENT
    return outputs, end
