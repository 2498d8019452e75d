"""Models in memory once per process, however many cameras they serve."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar
from weakref import WeakValueDictionary

from gaussian_yolo_node.runtime.base import RuntimeOptions, check_readable
from gaussian_yolo_node.runtime.signature import Signature

Item = TypeVar("Item")
Kind = TypeVar("Kind", bound="SharingRuntime")


class Shared(Generic[Item]):
    """Items that live as long as a caller holds them; callers with equal keys get the same one. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: WeakValueDictionary[Hashable, Item] = WeakValueDictionary()

    def get(self, key: Hashable, make: Callable[[], Item]) -> Item:
        """The item of a key; `make` creates it if no caller holds one."""
        with self._lock:
            item = self._items.get(key)
            if item is None:
                item = self._items[key] = make()
            return item


@dataclass(frozen=True, eq=False)
class SharedModel:
    """A model loaded for one canvas and device; all runtimes of the process on the same canvas share it.

    Attributes:
        model: of the runtime's library.
    """

    metadata: Mapping[str, str]
    signature: Signature
    model: Any
    description: str


_models: Shared[SharedModel] = Shared()


class SharingRuntime:
    """A runtime of ONNX files, up to how its library loads and runs them; see `runtime.base.Runtime`.

    Args:
        path: the model.
        options: threads, precision and canvas.
        device: one that the library knows.

    Raises:
        RuntimeUnavailableError: the library is not installed, or cannot compute in the precision.
        ModelError: the file cannot be read, or its inputs and outputs are not those of this package.
    """

    name: str

    def __init__(self, path: Path, options: RuntimeOptions, device: str = "CPU") -> None:
        check_readable(path)
        self._path, self._options, self.device, self.notice = path, options, device, ""
        status = path.stat()
        key = (self.name, path.resolve(), status.st_mtime_ns, status.st_size, replace(options, device=device))
        shared = _models.get(key, lambda: self._load(path, options, device))
        self.metadata = shared.metadata
        self.description = shared.description
        self.input_size = shared.signature.input_size
        self.free_size = shared.signature.free_size
        self.strides = shared.signature.strides
        self.head_shapes = shared.signature.head_shapes
        self._shared: SharedModel | None = shared
        self._prepare(shared)

    @staticmethod
    def _load(path: Path, options: RuntimeOptions, device: str) -> SharedModel:
        raise NotImplementedError

    def _prepare(self, shared: SharedModel) -> None:
        """Make ready what this runtime does not share."""

    def at(self: Kind, input_size: tuple[int, int], device: str = "") -> Kind:
        """See `runtime.base.Runtime.at`."""
        return type(self)(self._path, replace(self._options, input_size=input_size), device or self.device)

    def close(self) -> None:
        """See `runtime.base.Runtime.close`."""
        self._shared = None
