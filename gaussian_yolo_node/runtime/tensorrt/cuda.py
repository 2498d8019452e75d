"""The GPU as the TensorRT runtime uses it: pycuda's memory, streams and errors on the primary context.

TensorRT and the plugin work on CUDA's primary context of the device, so that is the one taken. It is made current only
for the length of a call, in whichever thread calls: a node loads a model in one thread, runs it in another and closes
it in a third.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaussian_yolo_node.runtime.base import (
    DeviceLostError,
    DeviceMemoryError,
    InferenceError,
    RuntimeUnavailableError,
    last_words,
)
from gaussian_yolo_node.runtime.tensorrt.board import read_board
from gaussian_yolo_node.runtime.tensorrt.cuda_driver import CudaCallError, CudaDriver, load_driver

_LOG = logging.getLogger(__name__)


class Gpu:
    """The first GPU that CUDA_VISIBLE_DEVICES leaves. `with gpu:` makes it current in this thread.

    Attributes:
        cuda: the module pycuda.driver.
        driver: what pycuda lacks.
        name: of the device.
        compute_capability: its digits, "87".

    Raises:
        RuntimeUnavailableError: there is no driver or no GPU.
    """

    def __init__(self, cuda: Any) -> None:
        self.cuda = cuda
        try:
            cuda.init()
            device = cuda.Device(0)
            # Kept as long as the process: pycuda lets go of a context only in the thread that took it, and TensorRT
            # holds on to this one anyway.
            self._context = device.retain_primary_context()
            self.driver: CudaDriver = load_driver()
        except (cuda.Error, OSError) as error:
            raise RuntimeUnavailableError(
                f"there is no GPU to use ({last_words(error)}): {read_board().install_line('driver')}"
            ) from error
        self.name: str = device.name()
        major, minor = device.compute_capability()
        self.compute_capability = f"{major}{minor}"

    def __enter__(self) -> Gpu:
        try:
            self._context.push()
        except self.cuda.Error as error:
            raise DeviceLostError(
                f"the GPU {self.name} cannot be reached ({last_words(error)}); start again"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._context.pop()

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turn errors of CUDA into ours, while the GPU is current.

        Args:
            doing: what is being done, for messages: "running the network".

        Raises:
            DeviceMemoryError: there is not enough memory.
            DeviceLostError: nothing works any more, or it is not known whether anything does.
            InferenceError: anything else.
        """
        try:
            yield
        except self.cuda.MemoryError as error:
            raise DeviceMemoryError(
                f"the GPU {self.name} has no memory left for {doing}{self._room()}; close other programs or cameras "
                "on it, or take a smaller model"
            ) from error
        except (self.cuda.Error, CudaCallError) as error:
            raise self._failure(doing, error) from error

    def check_alive(self, doing: str) -> None:
        """Raise DeviceLostError if an earlier failure has left the GPU unusable."""
        try:
            # An error that ended the context comes again when nothing was asked for.
            self.cuda.Context.synchronize()
        except self.cuda.Error as error:
            raise DeviceLostError(
                f"the GPU {self.name} was lost while {doing} ({last_words(error)}); start this program again, and if "
                "it comes back look at `dmesg` for NVRM or nvgpu"
            ) from error

    def pinned(self, size: int) -> NDArray[np.uint8]:
        """Host memory that the GPU copies from and to by itself, uint8 [size]; free it with `free_pinned`."""
        memory: NDArray[np.uint8] = self.cuda.pagelocked_empty(size, np.uint8)
        return memory

    def free_pinned(self, memory: NDArray[np.uint8]) -> None:
        """Free what `pinned` gave; views of it must not be used any more."""
        base: Any = memory.base
        base.free()

    def memory(self) -> tuple[int, int]:
        """Bytes that are free, and all there are; of all programs on the GPU, which must be current."""
        free, total = self.cuda.mem_get_info()
        return int(free), int(total)

    def release(self, free: Callable[..., Any], *arguments: Any) -> None:
        """Call a function that frees something. It fails on a lost GPU, and then the system frees with the process."""
        try:
            free(*arguments)
        except (self.cuda.Error, CudaCallError) as error:
            _LOG.debug("not freed on %s: %s", self.name, error)

    def _failure(self, doing: str, error: Exception) -> InferenceError:
        try:
            self.check_alive(doing)
        except DeviceLostError as lost:
            return lost
        return InferenceError(f"the GPU {self.name} failed while {doing} ({last_words(error)})")

    def _room(self) -> str:
        try:
            free, total = self.memory()
        except self.cuda.Error:
            return ""
        return f" ({free / 2**20:.0f} of {total / 2**20:.0f} MiB are free)"


def import_pycuda() -> Any:
    """The module pycuda.driver.

    Raises:
        RuntimeUnavailableError: it is not installed, or does not load; says how to install it on this machine.
    """
    try:
        return import_module("pycuda.driver")
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"runtime tensorrt needs pycuda, which cannot be imported ({last_words(error)}); install it with "
            f"`{read_board().install_line('pycuda')}`"
        ) from error


@cache
def open_gpu() -> Gpu:
    """The process's GPU.

    Raises:
        RuntimeUnavailableError: pycuda, driver or GPU are missing.
    """
    return Gpu(import_pycuda())
