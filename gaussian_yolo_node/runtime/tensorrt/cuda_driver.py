"""What the runtime needs of CUDA's driver library and pycuda has no names for: graphs, and events inside them.

CUDA Driver API, sections "Stream Management", "Graph Management" and "Event Management". Handles are plain integers; a
CUDA context must be current, as for pycuda's own calls.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile does not end the capture
_EXTERNAL = 1  # CU_EVENT_RECORD_EXTERNAL: in a capture, the event becomes a node of the graph and can be timed


class CudaCallError(Exception):
    """A call of the driver library failed; the message has its name and CUDA's words."""


class CudaDriver:
    """The driver library's functions.

    Args:
        library: libcuda.so.1, as ctypes loads it.
    """

    def __init__(self, library: Any) -> None:
        self._library = library

    def begin_capture(self, stream: int) -> None:
        """Record what is put on a stream instead of running it, until `end_capture`."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), ctypes.c_int(_THREAD_LOCAL))

    def end_capture(self, stream: int) -> int:
        """A graph, ready to launch, of what was recorded. The stream runs things again, also after a failure."""
        graph = ctypes.c_void_p()
        self._call("cuStreamEndCapture", ctypes.c_void_p(stream), ctypes.byref(graph))
        executable = ctypes.c_void_p()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
        finally:
            self._call("cuGraphDestroy", graph)
        assert executable.value is not None  # the call succeeded
        return executable.value

    def launch(self, graph: int, stream: int) -> None:
        """Put all that a graph holds on a stream."""
        self._call("cuGraphLaunch", ctypes.c_void_p(graph), ctypes.c_void_p(stream))

    def free_graph(self, graph: int) -> None:
        """Destroy a graph that is not running."""
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    def make_event(self) -> int:
        """A new event that can be timed."""
        event = ctypes.c_void_p()
        self._call("cuEventCreate", ctypes.byref(event), ctypes.c_uint(0))
        assert event.value is not None
        return event.value

    def record(self, event: int, stream: int, capturing: bool) -> None:
        """Note the time at which a stream comes to this place."""
        flags = ctypes.c_uint(_EXTERNAL if capturing else 0)
        self._call("cuEventRecordWithFlags", ctypes.c_void_p(event), ctypes.c_void_p(stream), flags)

    def seconds_between(self, first: int, second: int) -> float:
        """Time between two events that have both been reached."""
        milliseconds = ctypes.c_float()
        self._call("cuEventElapsedTime", ctypes.byref(milliseconds), ctypes.c_void_p(first), ctypes.c_void_p(second))
        return milliseconds.value / 1e3

    def free_event(self, event: int) -> None:
        """Destroy an event."""
        self._call("cuEventDestroy_v2", ctypes.c_void_p(event))

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise CudaCallError(f"{name} failed: the driver is older than CUDA 11.4") from None
        code = function(*arguments)
        if code:
            words = ctypes.c_char_p()
            self._library.cuGetErrorString(ctypes.c_int(code), ctypes.byref(words))
            raise CudaCallError(f"{name} failed: {(words.value or b'unknown error').decode()}")


@cache
def load_driver() -> CudaDriver:
    """The driver of this machine.

    Raises:
        OSError: there is none.
    """
    return CudaDriver(ctypes.CDLL("libcuda.so.1"))
