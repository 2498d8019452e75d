"""The driver library of a fake GPU."""

from __future__ import annotations

from typing import Any

from fake_cuda import Gpu, rule


class FakeLibcuda:
    """The functions of libcuda.so.1 that `runtime.tensorrt.cuda_driver` calls, with arguments as ctypes passes them."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def _check(self, call: str) -> int:
        failure = self._gpu.attempt(call)
        return 0 if failure is None else failure.code

    def cuGetErrorString(self, code: Any, words: Any) -> int:
        words._obj.value = self._gpu.words(code.value).encode()
        return 0

    def cuStreamBeginCapture_v2(self, stream: Any, mode: Any) -> int:
        if code := self._check("cuStreamBeginCapture_v2"):
            return code
        rule(mode.value == 1, "a capture that the work of other threads would end")
        state = self._gpu.stream(stream.value)
        state.captured = []
        return 0

    def cuStreamEndCapture(self, stream: Any, graph: Any) -> int:
        state = self._gpu.stream(stream.value)
        rule(state.captured is not None, "the end of a capture that was not begun")
        operations, state.captured = state.captured, None
        if code := self._check("cuStreamEndCapture"):
            return code
        graph._obj.value = self._gpu.new_handle()
        self._gpu.graphs[graph._obj.value] = operations or []
        return 0

    def cuGraphInstantiateWithFlags(self, executable: Any, graph: Any, flags: Any) -> int:
        if code := self._check("cuGraphInstantiateWithFlags"):
            return code
        executable._obj.value = self._gpu.new_handle()
        self._gpu.graphs[executable._obj.value] = list(self._gpu.graphs[graph.value])
        return 0

    def cuGraphDestroy(self, graph: Any) -> int:
        del self._gpu.graphs[graph.value]
        return 0

    def cuGraphExecDestroy(self, graph: Any) -> int:
        running = {operation.run for stream in self._gpu.streams.values() for operation in stream.pending}
        rule(running.isdisjoint(item.run for item in self._gpu.graphs[graph.value]), "a graph destroyed while it runs")
        del self._gpu.graphs[graph.value]
        return self._check("cuGraphExecDestroy")

    def cuGraphLaunch(self, graph: Any, stream: Any) -> int:
        if code := self._check("cuGraphLaunch"):
            return code
        for operation in self._gpu.graphs[graph.value]:
            self._gpu.put(stream.value, operation.name, operation.run)
        return 0

    def cuEventCreate(self, event: Any, flags: Any) -> int:
        if code := self._check("cuEventCreate"):
            return code
        event._obj.value = self._gpu.new_handle()
        self._gpu.events[event._obj.value] = None
        return 0

    def cuEventRecordWithFlags(self, event: Any, stream: Any, flags: Any) -> int:
        if code := self._check("cuEventRecordWithFlags"):
            return code
        capturing = self._gpu.stream(stream.value).captured is not None
        rule(bool(flags.value) == capturing, "an event that is recorded in a graph must be external, and only there")
        number = event.value
        self._gpu.put(stream.value, "event", lambda: self._gpu.record_event(number))
        return 0

    def cuEventElapsedTime(self, milliseconds: Any, first: Any, second: Any) -> int:
        if code := self._check("cuEventElapsedTime"):
            return code
        start, end = self._gpu.events[first.value], self._gpu.events[second.value]
        assert start is not None and end is not None, "events timed that were not reached"
        milliseconds._obj.value = (end - start) * 1e3
        return 0

    def cuEventDestroy_v2(self, event: Any) -> int:
        del self._gpu.events[event.value]
        return self._check("cuEventDestroy_v2")
