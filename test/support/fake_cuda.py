"""A fake GPU: the parts of pycuda.driver that the runtime calls, with checks of CUDA's rules.

Work on a stream is executed only when it is waited for, so reading, refilling or freeing memory too early is detected.
A broken rule raises `BrokenRule`, which no code of the package catches. `Gpu.fail` injects failures of real hardware.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRIMARY = "primary context"


class BrokenRule(BaseException):
    """The code under test broke a rule of CUDA."""


def rule(holds: bool, text: str) -> None:
    if not holds:
        raise BrokenRule(text)


@dataclass
class Memory:
    """Device or pinned memory; `data` is its contents for kernels."""

    address: int
    data: NDArray[np.uint8]
    pinned: bool = False


@dataclass
class Operation:
    """An operation on a stream: its action, and the objects that must still exist when it runs."""

    run: Callable[[], None]
    name: str


@dataclass
class StreamState:
    pending: list[Operation] = field(default_factory=list)
    captured: list[Operation] | None = None


@dataclass
class Failure:
    words: str
    code: int
    calls_before: int
    times: int
    sticky: bool


class Gpu:
    """The state of the fake GPU."""

    def __init__(self) -> None:
        self.memory: dict[int, Memory] = {}
        self.streams: dict[int, StreamState] = {}
        self.graphs: dict[int, list[Operation]] = {}
        self.events: dict[int, float | None] = {}
        self.calls: list[str] = []
        self.dead = ""
        self.broken: list[str] = []  # rules broken in destructors, which cannot raise exceptions
        self._failures: dict[str, Failure] = {}
        self._handles = iter(range(0x1000, 1 << 62, 0x100000))
        self._clock = 0.0
        self._current = threading.local()
        self._error_words: dict[int, str] = {}

    def fail(
        self, call: str, words: str, *, code: int = 1, after: int = 0, times: int = 1 << 30, sticky: bool = False
    ) -> None:
        """Make calls of that name fail `times` times, after the first `after`; `sticky` kills the GPU."""
        self._failures[call] = Failure(words, code, after, times, sticky)
        self._error_words[code] = words

    def mend(self) -> None:
        """Remove injected failures; a dead GPU stays dead."""
        self._failures.clear()

    def attempt(self, call: str) -> Failure | None:
        """Record a call; returns its injected failure."""
        self.calls.append(call)
        rule(bool(self.context_stack), f"{call} with no context current in this thread")
        if self.dead:
            return Failure(self.dead, 700, 0, 1, True)
        failure = self._failures.get(call)
        if failure is None:
            return None
        if failure.calls_before:
            failure.calls_before -= 1
            return None
        if not failure.times:
            return None
        failure.times -= 1
        if failure.sticky:
            self.dead = failure.words
        return failure

    @property
    def context_stack(self) -> list[str]:
        """The context stack of this thread."""
        if not hasattr(self._current, "stack"):
            self._current.stack = []
        stack: list[str] = self._current.stack
        return stack

    def new_handle(self) -> int:
        return next(self._handles)

    def allocate(self, size: int, pinned: bool = False) -> Memory:
        self.refuse_while_capturing("an allocation")
        memory = Memory(self.new_handle(), np.full(size, 0xCD, np.uint8), pinned)
        self.memory[memory.address] = memory
        return memory

    def free(self, memory: Memory) -> None:
        rule(self.memory.pop(memory.address, None) is memory, "memory freed twice")
        memory.data[:] = 0xDD

    def at(self, address: int, size: int) -> NDArray[np.uint8]:
        """The bytes at an address, for a kernel or copy."""
        for memory in self.memory.values():
            offset = address - memory.address
            if 0 <= offset < len(memory.data):
                rule(offset + size <= len(memory.data), "reached beyond the end of an allocation")
                return memory.data[offset : offset + size]
        raise BrokenRule("memory used after it was freed")

    def host(self, array: NDArray[Any]) -> tuple[Memory, int]:
        """The pinned memory that contains an array, and the offset in it."""
        address = array.ctypes.data
        for memory in self.memory.values():
            offset = address - memory.data.ctypes.data
            if memory.pinned and 0 <= offset < len(memory.data):
                return memory, offset
        raise BrokenRule("an asynchronous copy to or from memory that is not pinned, or was freed")

    def put(self, handle: int, name: str, run: Callable[[], None]) -> None:
        """Put an operation on a stream, or into the graph that the stream records."""
        stream = self.stream(handle)
        (stream.pending if stream.captured is None else stream.captured).append(Operation(run, name))

    def stream(self, handle: int) -> StreamState:
        rule(handle in self.streams, "a stream used after it was destroyed")
        return self.streams[handle]

    def synchronize(self, handle: int) -> None:
        stream = self.stream(handle)
        rule(stream.captured is None, "a wait for a stream that is being captured")
        while stream.pending:
            operation = stream.pending.pop(0)
            failure = self.attempt(operation.name)
            if failure is not None:
                stream.pending.clear()
                return
            self._clock += 0.001
            operation.run()

    def record_event(self, event: int) -> None:
        rule(event in self.events, "an event used after it was destroyed")
        self.events[event] = self._clock

    def refuse_while_capturing(self, what: str) -> None:
        rule(all(stream.captured is None for stream in self.streams.values()), f"{what} while a stream is captured")

    def assert_clean(self) -> None:
        """Assert that nothing is left allocated, and that everything was released in the right order and context."""
        assert not self.broken
        assert not self.memory, f"{len(self.memory)} allocations were not freed"
        assert not self.graphs and not self.events and not self.streams
        assert not self.context_stack, "a context was left current"

    def expect_current(self, what: str) -> None:
        """Record a broken rule if the context is not current; for destructors."""
        if not self.dead and not self.context_stack:
            self.broken.append(f"{what} destroyed with no context current")

    def words(self, code: int) -> str:
        return self._error_words.get(code, "unknown error")


def make_pycuda(gpu: Gpu) -> ModuleType:
    """A module like pycuda.driver."""
    cuda: Any = ModuleType("pycuda.driver")

    class Error(Exception):
        pass

    class OutOfMemory(Error):
        pass

    class LogicError(Error):
        pass

    def check(call: str) -> None:
        failure = gpu.attempt(call)
        if failure is not None:
            kind = OutOfMemory if failure.words == "out of memory" else LogicError
            raise kind(f"{call} failed: {failure.words}")

    class Context:
        def push(self) -> None:
            gpu.context_stack.append(PRIMARY)
            if "cuCtxPushCurrent" in gpu._failures:
                gpu.context_stack.pop()
                raise LogicError("cuCtxPushCurrent failed: " + gpu._failures["cuCtxPushCurrent"].words)

        @staticmethod
        def pop() -> None:
            rule(bool(gpu.context_stack), "a context popped that is not current")
            gpu.context_stack.pop()

        @staticmethod
        def synchronize() -> None:
            gpu.refuse_while_capturing("a wait for the device")
            for handle in list(gpu.streams):
                gpu.synchronize(handle)
            check("cuCtxSynchronize")

    class Device:
        def __init__(self, number: int) -> None:
            if "cuDeviceGet" in gpu._failures:
                raise LogicError("cuDeviceGet failed: " + gpu._failures["cuDeviceGet"].words)

        def retain_primary_context(self) -> Context:
            return Context()

        def name(self) -> str:
            return "Pretend Orin"

        def compute_capability(self) -> tuple[int, int]:
            return 8, 7

        @staticmethod
        def count() -> int:
            return 1

    class Allocation:
        def __init__(self, size: int) -> None:
            check("cuMemAlloc")
            self._memory = gpu.allocate(size)

        def __int__(self) -> int:
            return self._memory.address

        def free(self) -> None:
            check("cuMemFree")
            gpu.free(self._memory)

    class HostAllocation:
        def __init__(self, size: int) -> None:
            check("cuMemHostAlloc")
            self._memory = gpu.allocate(size, pinned=True)
            self.__array_interface__ = self._memory.data.__array_interface__

        def free(self) -> None:
            check("cuMemFreeHost")
            gpu.free(self._memory)

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            check("cuStreamCreate")
            self.handle = gpu.new_handle()
            gpu.streams[self.handle] = StreamState()

        def synchronize(self) -> None:
            gpu.synchronize(self.handle)
            check("cuStreamSynchronize")

        def __del__(self) -> None:
            if hasattr(self, "handle"):
                gpu.expect_current("a stream")
                if gpu.streams.pop(self.handle).pending and not gpu.dead:
                    gpu.broken.append("a stream destroyed with work on it")

    def to_device(dest: Any, src: NDArray[np.uint8], stream: Stream) -> None:
        check("cuMemcpyHtoDAsync")
        memory, offset = gpu.host(src)
        address, size = int(dest), src.nbytes

        def run() -> None:
            rule(memory.address in gpu.memory, "pinned memory freed before it was copied from")
            gpu.at(address, size)[:] = memory.data[offset : offset + size]

        gpu.put(stream.handle, "copy to device", run)

    def to_host(dest: NDArray[np.uint8], src: Any, stream: Stream) -> None:
        check("cuMemcpyDtoHAsync")
        memory, offset = gpu.host(dest)
        address, size = int(src), dest.nbytes

        def run() -> None:
            rule(memory.address in gpu.memory, "pinned memory freed before it was copied to")
            memory.data[offset : offset + size] = gpu.at(address, size)

        gpu.put(stream.handle, "copy to host", run)

    def init() -> None:
        if "cuInit" in gpu._failures:
            raise LogicError("cuInit failed: " + gpu._failures["cuInit"].words)

    cuda.Error, cuda.MemoryError, cuda.LogicError = Error, OutOfMemory, LogicError
    cuda.Context, cuda.Device, cuda.Stream = Context, Device, Stream
    cuda.DeviceAllocation, cuda.PagelockedHostAllocation = Allocation, HostAllocation
    cuda.init, cuda.mem_alloc = init, lambda size: Allocation(size)
    cuda.get_driver_version = lambda: 12060
    cuda.pagelocked_empty = lambda size, dtype: np.asarray(HostAllocation(size), dtype)
    cuda.memcpy_htod_async, cuda.memcpy_dtoh_async = to_device, to_host
    cuda.mem_get_info = lambda: (64 * 2**20, 8 * 2**30)
    return cuda
