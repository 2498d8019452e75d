"""The engines of a model, one for each canvas: which of them run on this machine, and building again those that do not.

One engine has one canvas, for a recorded CUDA graph, int8 ranges, a DLA and the plugin all need fixed shapes. Several
canvases in one engine would be several profiles, which share nothing but the weights and can only be built together.
"""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gaussian_yolo_node.errors import GaussianYoloError, ModelError
from gaussian_yolo_node.runtime.base import RuntimeUnavailableError, last_words, show_size
from gaussian_yolo_node.runtime.tensorrt.board import read_board
from gaussian_yolo_node.runtime.tensorrt.cuda import Gpu, open_gpu
from gaussian_yolo_node.runtime.tensorrt.engine_file import (
    engine_at,
    engine_of,
    engines_by_canvas,
    model_hash,
    read_engine,
)
from gaussian_yolo_node.runtime.tensorrt.plugin_library import PLUGIN_VERSION, PluginLibrary, find_plugin
from gaussian_yolo_node.runtime.tensorrt.rebuilding import rebuild
from gaussian_yolo_node.runtime.tensorrt.sidecar import EngineSidecar

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """An engine's file and all that it needs, found and fitting."""

    path: Path
    sidecar: EngineSidecar
    gpu: Gpu
    trt: Any
    plugin: PluginLibrary


class Engines:
    """NAME.engine of a model, and NAME.HxW.engine for each other canvas.

    Args:
        path: an engine, or the ONNX file beside which it lies.
        rebuild: build engines that are missing or stale, when they are asked for.

    Attributes:
        canvases: (height, width) in px of those that run here, by number of pixels; of those that do not, the log says
            why.

    Raises:
        RuntimeUnavailableError: names what is missing and how to install it here.
        ModelError: there is no NAME.engine, or it is stale; gives the command that builds it.
    """

    def __init__(self, path: Path, rebuild: bool = False) -> None:
        self._rebuild = rebuild
        self._main = self._ready(lambda: check_engine(path), engine_of(path), _build_command(path))
        sizes = {self._main.sidecar.input_size}
        for size in engines_by_canvas(self._main.path):
            try:
                if not rebuild:
                    self.at(size)
            except GaussianYoloError as error:
                _LOG.warning("the engine is not used: %s", error)
            else:
                sizes.add(size)
        self.canvases = tuple(sorted(sizes, key=math.prod))

    def at(self, input_size: tuple[int, int] | None = None) -> Ready:
        """The engine for a canvas of (height, width) px; NAME.engine for None.

        Raises:
            RuntimeUnavailableError: as above.
            ModelError: there is none, or it is stale or built otherwise; gives the command that builds it.
        """
        main = self._main
        if input_size in (None, main.sidecar.input_size):
            return main
        engine = engine_at(main.path, input_size)
        command = main.sidecar.command_at(engine, input_size)

        def check() -> Ready:
            if not engine.is_file():
                raise ModelError(
                    f"{main.path} was built for a canvas of {show_size(main.sidecar.input_size)} px, and there is no "
                    f"engine for {show_size(input_size)}; build it with `{command}`"
                )
            ready = check_engine(engine)
            reasons = main.sidecar.differences(ready.sidecar)
            if ready.sidecar.input_size != input_size:
                reasons.append(f"its canvas is {show_size(ready.sidecar.input_size)}")
            if reasons:
                raise ModelError(
                    f"{engine} does not fit {main.path}: {'; '.join(reasons)}; build it again with `{command}`"
                )
            return ready

        return self._ready(check, engine, command)

    def _ready(self, check: Callable[[], Ready], engine: Path, command: str) -> Ready:
        try:
            return check()
        except ModelError as error:
            if not self._rebuild or not command:
                raise
            _LOG.warning("%s: building it now, which takes minutes", error)
            rebuild(command, engine)
            return check()


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
        raise RuntimeUnavailableError("; ".join([str(error), *_also_missing()])) from error
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
    return Ready(engine, sidecar, gpu, trt, PluginLibrary(find_plugin()))


def _also_missing() -> list[str]:
    """What else is missing if pycuda or the GPU is, so that the user installs everything at once."""
    missing = []
    wanted: tuple[Callable[[], object], ...] = (lambda: import_tensorrt("tensorrt"), find_plugin)
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


def _build_command(path: Path) -> str:
    """Builds an engine as it was built before, or with the builder's defaults; empty if nothing tells how."""
    engine = engine_of(path)
    try:
        return read_engine(path).command
    except ModelError:
        default = shlex.join(["gaussian-yolo", "build-engine", str(path), "-o", str(engine)])
        return default if path != engine else ""
