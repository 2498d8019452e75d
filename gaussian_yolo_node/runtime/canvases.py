"""One model on several canvases, each loaded once."""

from __future__ import annotations

import threading

from gaussian_yolo_node.runtime.base import DetectingRuntime, InferenceError, Runtime
from gaussian_yolo_node.runtime.devices import run_grey


class LoadedCanvases:
    """The canvases that a model is loaded for. Thread-safe, so that one can be loaded while another runs.

    Args:
        runtime: the model on its first canvas; it is owned from now on.
    """

    def __init__(self, runtime: Runtime | DetectingRuntime) -> None:
        self._loading = threading.Lock()
        self._runtimes = {runtime.input_size: runtime}

    def at(self, size: tuple[int, int]) -> Runtime | DetectingRuntime:
        """The model on a canvas of (height, width) px. One that has to be loaded is run once: the first run is slow.

        Raises:
            ModelError: the model cannot be loaded with that canvas.
            InferenceError: it cannot be run, or was closed.
        """
        with self._loading:
            if not self._runtimes:
                raise InferenceError("the model was closed; open it again")
            if size not in self._runtimes:
                loaded = next(iter(self._runtimes.values())).at(size)
                try:
                    run_grey(loaded)
                except BaseException:
                    loaded.close()
                    raise
                self._runtimes[size] = loaded
            return self._runtimes[size]

    def keep_only(self, runtime: Runtime | DetectingRuntime) -> None:
        """Release all canvases but one."""
        with self._loading:
            for size in [size for size, other in self._runtimes.items() if other is not runtime]:
                self._runtimes.pop(size).close()

    def close(self) -> None:
        """Release all canvases; the model cannot be used afterwards."""
        with self._loading:
            while self._runtimes:
                self._runtimes.popitem()[1].close()
