"""TensorRT on an NVIDIA GPU: frames go in, detections come out, and nothing but those two crosses the bus.

The engine holds the network and the plugin `GaussianYoloDetect`, which decodes and suppresses; `gaussian-yolo
build-engine` makes it. Needs pycuda, TensorRT and the plugin's library, all of them imported when a model is opened.
"""

from __future__ import annotations

import json
import logging
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.errors import GaussianYoloError, ModelError
from gaussian_yolo_node.runtime.base import (
    CARD_KEY,
    MODEL_HASH_KEY,
    BuiltThresholds,
    DeviceDetections,
    InferenceError,
    RuntimeOptions,
    RuntimeUnavailableError,
    last_words,
)
from gaussian_yolo_node.runtime.tensorrt import loaded_engine
from gaussian_yolo_node.runtime.tensorrt.board import read_board
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu, open_gpu
from gaussian_yolo_node.runtime.tensorrt.engine_file import engine_of, model_hash, read_engine
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION, RESIZES, PluginLibrary, find_plugin
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar
from gaussian_yolo_node.runtime.tensorrt.slot import Slot

_LOG = logging.getLogger(__name__)


class TensorRtRuntime:
    """A model on the GPU; see `runtime.base.DetectingRuntime`.

    Any thread may call, one at a time: a lock sees to it that a frame in work ends before memory is freed. Several
    runtimes of one engine share its weights and have streams, memory and execution contexts of their own.

    Args:
        path: an engine, or an ONNX file with an engine beside it.
        options: whether to build the engine again where it is missing or stale.

    Raises:
        RuntimeUnavailableError: pycuda, TensorRT, the plugin's library, a driver or a GPU are missing.
        ModelError: the engine is missing, unreadable, or stale.
        InferenceError: the GPU failed, or has not enough memory.
    """

    name = "tensorrt"

    def __init__(self, path: Path, options: RuntimeOptions) -> None:
        self._lock = threading.Lock()
        self._slot: Slot | None = None
        self._engine: loaded_engine.LoadedEngine | None = None
        try:
            ready = check_engine(path)
        except ModelError as error:
            if not options.rebuild_engine:
                raise
            _rebuild(path, error)
            ready = check_engine(path)
        self._gpu = ready.gpu
        self._label = f"TensorRT {ready.trt.__version__} {ready.gpu.name} {ready.sidecar.precision}"
        self.built = _thresholds(ready.sidecar)
        self.metadata = _metadata(ready.sidecar)
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


@dataclass(frozen=True)
class Ready:
    """An engine's file and all that it needs, found and fitting."""

    path: Path
    sidecar: EngineSidecar
    gpu: Gpu
    trt: Any
    plugin: PluginLibrary


def check_engine(path: Path) -> Ready:
    """Find what a model's engine needs, without loading it.

    Args:
        path: an engine, or the ONNX file beside which it lies.

    Raises:
        RuntimeUnavailableError: names what is missing and how to install it here.
        ModelError: there is no engine, or it is stale; gives the command that builds it.
    """
    try:
        gpu = open_gpu()
    except RuntimeUnavailableError as error:
        raise RuntimeUnavailableError("; ".join([str(error), *_also_missing(path)])) from error
    sidecar = read_engine(path)
    trt = import_tensorrt(sidecar.flavor)
    engine = engine_of(path)
    reasons = sidecar.stale_reasons(
        tensorrt=trt.__version__,
        compute_capability=gpu.compute_capability,
        model_hash=model_hash(path),
        plugin_version=PLUGIN_VERSION,
    )
    if reasons:
        raise ModelError(f"{engine} is stale: {'; '.join(reasons)}; build it again with `{sidecar.command}`")
    return Ready(engine, sidecar, gpu, trt, PluginLibrary(find_plugin(engine)))


def runs_here(path: Path) -> bool:
    """Whether a model's engine runs on this machine. Where it does not, the log says why."""
    try:
        check_engine(path)
    except GaussianYoloError as error:
        _LOG.warning("the engine is not used: %s", error)
        return False
    return True


def _also_missing(path: Path) -> list[str]:
    """What else there is not, where pycuda or the GPU is not: whoever installs wants to do it once."""
    missing = []
    wanted: tuple[Callable[[], object], ...] = (
        lambda: import_tensorrt("tensorrt"),
        lambda: find_plugin(engine_of(path)),
    )
    for find in wanted:
        try:
            find()
        except RuntimeUnavailableError as error:
            missing.append(str(error))
    return missing


def import_tensorrt(flavor: str) -> Any:
    """TensorRT's Python package.

    Args:
        flavor: "tensorrt", or "tensorrt_rtx" for engines of TensorRT for RTX.

    Raises:
        RuntimeUnavailableError: it is not installed, or does not load; says how to install it on this machine.
    """
    try:
        try:
            return import_module(flavor)
        except ModuleNotFoundError:
            if flavor != "tensorrt_rtx":
                raise
            return import_module("tensorrt_rtx_bindings")  # which that package only passes on
    except ImportError as error:
        line = read_board().install_line(flavor)
        raise RuntimeUnavailableError(
            f"runtime tensorrt needs the package {flavor}, which cannot be imported ({last_words(error)}); install it "
            f"with `{line}`"
        ) from error


def _rebuild(path: Path, reason: ModelError) -> None:
    """Build an engine as it was built before, or with the builder's defaults if there is none that tells how."""
    engine = engine_of(path)
    try:
        command = read_engine(path).command
    except ModelError:
        if path == engine:
            raise reason from None
        command = shlex.join(["gaussian-yolo", "build-engine", str(path), "-o", str(engine)])
    _LOG.warning("%s: building it now, which takes minutes", reason)
    # A process of its own gives back all the GPU memory that a build takes.
    done = subprocess.run([sys.executable, "-m", "gaussian_yolo_node.commands", *shlex.split(command)[1:]], check=False)
    if done.returncode:
        raise ModelError(f"{engine} could not be built; run `{command}` to see why") from reason


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
