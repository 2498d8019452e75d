"""TensorRT on an NVIDIA GPU: frames go in, detections come out, and nothing but those two crosses the bus.

The engine holds the network and the plugin `GaussianYoloDetect`, which decodes and suppresses; `gaussian-yolo
build-engine` makes it. Needs pycuda, TensorRT and the plugin's library, all of them imported when a model is opened.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.runtime.base import (
    CARD_KEY,
    MODEL_HASH_KEY,
    BuiltThresholds,
    DeviceDetections,
    InferenceError,
)
from gaussian_yolo_node.runtime.tensorrt import loaded_engine
from gaussian_yolo_node.runtime.tensorrt.engines import Engines, Ready
from gaussian_yolo_node.runtime.tensorrt.plugin_library import RESIZES
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar
from gaussian_yolo_node.runtime.tensorrt.slot import Slot


class TensorRtRuntime:
    """A model on the GPU; see `runtime.base.DetectingRuntime`.

    Any thread may call, one at a time: a lock sees to it that a frame in work ends before memory is freed. Several
    runtimes of one engine share its weights and have streams, memory and execution contexts of their own.

    Args:
        engines: of the model, one for each canvas.
        ready: the one of them to run.

    Raises:
        ModelError: the engine is unreadable.
        InferenceError: the GPU failed, or has not enough memory.
    """

    name = "tensorrt"

    def __init__(self, engines: Engines, ready: Ready) -> None:
        self._lock = threading.Lock()
        self._slot: Slot | None = None
        self._engine: loaded_engine.LoadedEngine | None = None
        self._engines = engines
        self._gpu = ready.gpu
        self._label = f"TensorRT {ready.trt.__version__} {ready.gpu.name} {ready.sidecar.precision}"
        self.built = _thresholds(ready.sidecar)
        self.metadata = _metadata(ready.sidecar)
        self.canvases = engines.canvases
        try:
            with self._gpu:
                self._engine = loaded_engine.acquire(ready.path, ready.trt, ready.plugin, self._gpu)
                self.input_size = self._engine.input_size
                resize = RESIZES[str(ready.sidecar.card.get("resize", "bilinear"))]
                self._slot = Slot(self._gpu, self._engine, ready.plugin, resize)
        except BaseException:
            self.close()
            raise

    @property
    def description(self) -> str:
        """Versions, device, precision, and whether frames are run as one CUDA graph."""
        reason = self._slot.without_graph if self._slot is not None else ""
        return f"{self._label}, no CUDA graph ({reason})" if reason else f"{self._label}, CUDA graph"

    @property
    def free_size(self) -> bool:
        """Whether there are engines for several canvases."""
        return len(self.canvases) > 1

    def at(self, input_size: tuple[int, int]) -> TensorRtRuntime:
        """See `runtime.base.DetectingRuntime.at`."""
        return TensorRtRuntime(self._engines, self._engines.at(input_size))

    def detect(self, frame_bgr: NDArray[np.uint8]) -> DeviceDetections:
        """See `runtime.base.DetectingRuntime.detect`."""
        with self._lock:
            if self._slot is None:
                raise InferenceError("the model was closed; open it again")
            with self._gpu:
                return self._slot.detect(frame_bgr)

    def close(self) -> None:
        """See `runtime.base.DetectingRuntime.close`."""
        with self._lock:
            if self._engine is None:
                return
            with self._gpu:
                # Execution contexts before the engine they belong to, as TensorRT wants it.
                if self._slot is not None:
                    self._slot.close()
                    self._slot = None
                engine, self._engine = self._engine, None
                loaded_engine.release(engine)


def _thresholds(sidecar: EngineSidecar) -> BuiltThresholds:
    card = sidecar.card
    return BuiltThresholds(
        float(card["score_threshold"]),
        float(card["iou_threshold"]),
        bool(card["variance_vote"]),
        f"build the engine again for others: `{sidecar.command}` with the option changed",
        sidecar.criterion,
    )


def _metadata(sidecar: EngineSidecar) -> Mapping[str, str]:
    return {CARD_KEY: json.dumps(sidecar.card), MODEL_HASH_KEY: sidecar.model_hash}
